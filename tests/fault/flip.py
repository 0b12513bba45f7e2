#!/usr/bin/env python3
"""flip.py - damages a small data directory in every way there is, one at a time: each byte of each file changed, each
file cut to each length, each missing. The server (or `ckv dump`, which loads a directory in the same way) must then
have the right data or refuse with a message, and never wrong data; it must not crash, nor change what it refuses.

What a crash in the middle of a write would leave is no damage: a journal that ends within a batch is right with what
came before that batch, if the program says so. In a directory whose server was stopped, and not killed, no changed byte
may pass for that. A file and a kind of damage are a test.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import collections
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from faults import CHANGES, DBS, SEED, Session, script  # noqa: E402
from model import Comparison, Model, read_state  # noqa: E402
from server import NotStarted, STOP_S_MAX, Server, checkpoint, is_redis, now_ms, sanitizer_report  # noqa: E402
from resp import Incomplete, parse  # noqa: E402  (server.py knows where it is)

PROGRAM_S_MAX = 30
FAILURES_SHOWN = 5
CHUNK = 100
KINDS = ("bit", "byte", "length", "missing")
ENVIRONMENT = {"ASAN_OPTIONS": "exitcode=99:detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}

Damage = collections.namedtuple("Damage", "path kind at")


class Template:
    """The directory, and what its journal's last steps did: states[k] is the dataset after k of them, and sizes[k] how
    long the last segment was then."""

    def __init__(self, program, parent, checkpoints, closed):
        self.closed = closed
        self.directory = os.path.join(parent, "data")
        options = () if is_redis(program) else ("--journal-keep", "0")
        self.server = Server(program, self.directory, "always", options)
        self.server.start()
        self.session = Session()
        self.session.connect(self.server)
        self.states, self.sizes = [], []
        self.fill(checkpoints)
        self.end()
        self.session.connection.close()
        self.server = self.session = None  # so that it can go to other processes
        self.files = self.list_files()

    def fill(self, checkpoints):
        self.steps(script(SEED, large="L" * 400))
        for at in range(checkpoints):
            self.steps([[(b"SET", b"k:%d:%d" % (at, n), b"%d" % n * 5)] for n in range(12)])
            said = checkpoint(self.session.connection)
            if said:
                raise AssertionError("BGSAVE: " + said)
        self.remember()
        for step in script(CHANGES, p="tail", large="M" * 300):
            self.steps([step])
            if step[0][0] != b"SELECT":
                self.remember()

    def end(self):
        """Without a checkpoint, so that the journal's last segment has something."""
        if self.closed:
            self.session.connection.socket.sendall(b"SHUTDOWN NOSAVE\r\n")
            if not self.server.ended_within(STOP_S_MAX):
                raise AssertionError("SHUTDOWN: it doesn't end")
        self.server.kill()

    def steps(self, steps):
        for step in steps:
            error = self.session.send(step)
            if error:
                raise AssertionError("%r: %r" % (step, error))

    def remember(self):
        self.states.append(copy.deepcopy(self.session.model.keys))
        self.sizes.append(self.journal_size())

    def list_files(self):
        """Paths of the files that hold data, below the directory."""
        found = []
        for folder, _, names in os.walk(self.directory):
            found += [os.path.relpath(os.path.join(folder, name), self.directory) for name in names
                      if not name.endswith((".sock", ".lock", "log"))]
        return sorted(found)

    def last_segment(self):
        segments = [name for name in self.list_files() if name.startswith(("journal/", "appendonlydir/"))
                    and not name.endswith((".manifest", ".rdb", ".tmp"))]
        return segments[-1] if segments else ""

    def journal_size(self):
        name = self.last_segment()
        return os.path.getsize(os.path.join(self.directory, name)) if name else 0

    def allowed(self, damage):
        """Which of the states are right, the best first."""
        last = len(self.states) - 1
        if damage.path != self.last_segment():
            return [last]
        if damage.kind == "missing":
            return []
        if damage.kind == "length":
            return [max((k for k, size in enumerate(self.sizes) if size <= damage.at), default=0)]
        return [last, last - 1] if damage.at >= self.sizes[-2] and not self.closed else [last]


def damaged(content, damage):
    """A file's bytes after the damage."""
    if damage.kind == "length":
        return content[:damage.at]
    mask = 0xff if damage.kind == "byte" else 1 << damage.at * 5 % 8
    changed = bytearray(content)
    changed[damage.at] ^= mask
    return bytes(changed)


# ---- reading a directory

class Outcome:
    """What a program made of a directory: a state, a refusal, or something that must not be."""

    def __init__(self, state=None, said="", wrong=""):
        self.state, self.said, self.wrong = state, said, wrong


def ended_badly(status, said):
    if sanitizer_report(said):
        return "a sanitizer's report"
    if status < 0 or status >= 99:
        return "it crashed with status %d" % status
    return "" if said.strip() else "it refused with status %d without a word" % status


def state_of_dump(data):
    """The dataset that a dump's commands make."""
    model, at = Model(), 0
    while at < len(data):
        items, at = parse(data, at)
        model.run([item[1:] for item in items], 0, 0)
    return model.keys


def read_by_dump(program, directory):
    try:
        done = subprocess.run([program, "dump", directory], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=PROGRAM_S_MAX, env=dict(os.environ, **ENVIRONMENT))
    except subprocess.TimeoutExpired:
        return Outcome(wrong="it does not end within %d s" % PROGRAM_S_MAX)
    said = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        return Outcome(said=said, wrong=ended_badly(done.returncode, said))
    if sanitizer_report(said):
        return Outcome(said=said, wrong="a sanitizer's report")
    try:
        return Outcome(state=state_of_dump(done.stdout), said=said)
    except (Incomplete, AttributeError, ValueError) as error:
        return Outcome(said=said, wrong="its output is no dump: %s %s" % (type(error).__name__, error))


def read_by_server(program, directory):
    server = Server(program, directory, "no", env=ENVIRONMENT)
    try:
        server.start()
        connection = server.connect()
        state = read_state(connection, DBS)
        connection.close()
        return Outcome(state=state, said=server.said())
    except NotStarted as error:
        status = error.status if error.status is not None else -1
        return Outcome(said=error.said, wrong=ended_badly(status, error.said))
    finally:
        server.kill()
        os.unlink(server.log_path)


READERS = {"dump": read_by_dump, "server": read_by_server}


# ---- judging

def agree(expected, state):
    model = Model()
    model.keys = expected
    now = now_ms()
    return not Comparison(model, state, now, now).wrong


def describe(expected, state):
    model = Model()
    model.keys = expected
    return Comparison(model, state, now_ms(), now_ms()).describe()


def judge(template, damage, outcome, original_said):
    """("right" or "shorter" or "refused" or "wrong", explanation)"""
    if outcome.wrong:
        return "wrong", outcome.wrong + ": " + outcome.said[-1500:]
    if outcome.state is None:
        return "refused", outcome.said
    allowed = template.allowed(damage)
    for k in allowed:
        if agree(template.states[k], outcome.state):
            if k == len(template.states) - 1:
                return "right", ""
            told = outcome.said.strip() != original_said.strip() or damage.at in template.sizes
            return ("shorter", "") if told else ("wrong", "it drops the journal's end without a word")
    earlier = [k for k, state in enumerate(template.states) if agree(state, outcome.state)]
    return "wrong", "other data%s: %s; it said: %s" % (
        " (that of %d steps of %d)" % (earlier[-1], len(template.states) - 1) if earlier else "",
        describe(template.states[(allowed or [-1])[0]], outcome.state), outcome.said[-500:])


def snapshot(directory):
    """What tells whether a directory was changed."""
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            if not name.endswith((".sock", ".lock")):
                found[os.path.join(folder, name)] = (status.st_size, status.st_mtime_ns)
    return found


def hurt(directory, damage, content):
    path = os.path.join(directory, damage.path)
    if damage.kind == "missing":
        os.unlink(path)
    else:
        with open(path, "wb") as file:
            file.write(damaged(content, damage))


def examine(job):
    """Tries some damages in a copy of the directory: [(damage, verdict, explanation)]."""
    template, program, by, damages = job
    parent = tempfile.mkdtemp(prefix="ckv-flip-")
    directory = os.path.join(parent, "data")
    results = []
    try:
        fresh_copy(template, directory)
        usual = READERS[by](program, directory).said if by == "dump" else ""
        for damage in damages:
            if by == "server":
                fresh_copy(template, directory)
            results.append((damage, *examine_one(template, program, by, directory, damage, usual)))
    finally:
        shutil.rmtree(parent, ignore_errors=True)
    return results


def fresh_copy(template, directory):
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(template.directory, directory, ignore=shutil.ignore_patterns("*.sock", "*.lock"))


def examine_one(template, program, by, directory, damage, usual):
    with open(os.path.join(template.directory, damage.path), "rb") as file:
        content = file.read()
    hurt(directory, damage, content)
    before = snapshot(directory)
    outcome = READERS[by](program, directory)
    verdict, explanation = judge(template, damage, outcome, usual)
    if (by == "dump" or verdict == "refused") and snapshot(directory) != before:
        verdict, explanation = "wrong", "it changed the directory (and was otherwise %s)" % verdict
    if by == "dump":
        fresh_copy(template, directory) if verdict == "wrong" else repair(directory, damage, content)
    return verdict, explanation


def repair(directory, damage, content):
    with open(os.path.join(directory, damage.path), "wb") as file:
        file.write(content)


# ---- all of them

def all_damages(template, path, kind, sample, rng):
    size = os.path.getsize(os.path.join(template.directory, path))
    places = range(1) if kind == "missing" else range(size)
    if sample and len(places) > sample:
        places = sorted(rng.sample(places, sample))
    return [Damage(path, kind, at) for at in places]


def report(path, kind, results):
    """Prints one test: whether it passed."""
    counts = collections.Counter(verdict for _, verdict, _ in results)
    bad = [result for result in results if result[1] == "wrong"]
    print("%s  %-8s %s: %d cases: %s" % ("FAIL" if bad else "ok  ", kind, path, len(results), ", ".join(
        "%d %s" % (count, verdict) for verdict, count in sorted(counts.items()))), flush=True)
    for damage, _, explanation in bad[:FAILURES_SHOWN]:
        print("  at %d: %s" % (damage.at, explanation.replace("\n", "\n    ")))
    return not bad


def run_template(args, rng, checkpoints, closed):
    parent = tempfile.mkdtemp(prefix="ckv-flip-")
    passed = failed = 0
    try:
        template = Template(args.ckv, parent, checkpoints, closed)
        print("a %s server's directory with %d checkpoint%s: %s" % (
            "stopped" if closed else "killed", checkpoints, "s" if checkpoints > 1 else "", ", ".join(
            "%s (%d)" % (path, os.path.getsize(os.path.join(template.directory, path))) for path in template.files)))
        with ProcessPoolExecutor(args.jobs) as pool:
            for path in template.files:
                for kind in args.kinds.split(","):
                    damages = all_damages(template, path, kind, args.sample, rng)
                    chunks = [damages[at:at + CHUNK] for at in range(0, len(damages), CHUNK)]
                    jobs = [(template, args.ckv, args.by, chunk) for chunk in chunks]
                    good = report(path, kind, [one for part in pool.map(examine, jobs) for one in part])
                    passed, failed = passed + good, failed + (not good)
    finally:
        shutil.rmtree(parent, ignore_errors=True)
    return passed, failed


def has_dump(program):
    """Whether the program has the subcommand dump."""
    done = subprocess.run([program, "dump", "--help"], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          timeout=PROGRAM_S_MAX) if not is_redis(program) else None
    return done is not None and done.returncode == 0


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH", help="may be one with sanitizers")
    options.add_argument("--by", choices=sorted(READERS), help="what loads; default: dump")
    options.add_argument("--sample", type=int, default=0, help="so many places of each file and kind; default: all")
    options.add_argument("--kinds", default=",".join(KINDS))
    options.add_argument("--checkpoints", default="1,2", help="directories with so many checkpoints")
    options.add_argument("--endings", default="kill,stop", help="how the server that wrote them ended")
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--seed", type=int, default=1)
    args = options.parse_args()
    args.by = args.by or ("dump" if has_dump(args.ckv) else "server")
    rng = random.Random(args.seed)
    passed = failed = 0
    for checkpoints in args.checkpoints.split(","):
        for ending in args.endings.split(","):
            more = run_template(args, rng, int(checkpoints), ending == "stop")
            passed, failed = passed + more[0], failed + more[1]
    print("%d passed, %d failed" % (passed, failed))
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
