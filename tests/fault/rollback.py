#!/usr/bin/env python3
"""rollback.py - backups, rollback and clones, checked against histories that the clients recorded.

A backup under load must be the dataset of one moment, a rollback to a time what the history says of that time, and a
clone must go its own way.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import bisect
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from flip import read_by_dump  # noqa: E402
from model import read_state  # noqa: E402
from server import Lost, NotStarted, Server, checkpoint, make_backup, now_ms  # noqa: E402

TOOL_S_MAX = 60
HISTORY_S = 1.5  # and the pauses
MOMENTS = 2      # before, between and behind two checkpoints
COUNTERS = 10
LOADERS = 3
BACKUPS = 4
CLOCK_SLACK_MS = 50  # the server may read its clock once a turn


def time_text(unix_s):
    """A moment as `ckv rollback --to` takes it."""
    return "%.3f" % unix_s


class Fail(Exception):
    """What is wrong."""


def need(condition, text):
    if not condition:
        raise Fail(text)


class Bench:
    """A parent directory for the directories of one test, the servers on them, and the tools."""

    def __init__(self, ckv):
        self.ckv = ckv
        self.parent = tempfile.mkdtemp(prefix="ckv-rollback-")
        self.servers = []

    def path(self, name):
        return os.path.join(self.parent, name)

    def server(self, name, fsync="everysec"):
        server = Server(self.ckv, self.path(name), fsync)
        self.servers.append(server)
        server.start()
        return server

    def tool(self, *words, status=0):
        """Runs a subcommand; its output."""
        done = subprocess.run([self.ckv, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              timeout=TOOL_S_MAX, errors="replace")
        if (done.returncode != 0) if status is None else (done.returncode == status):
            return done.stdout + done.stderr
        raise Fail("`ckv %s` ended with status %d: %s" % (" ".join(words), done.returncode,
                                                         (done.stdout + done.stderr)[-1000:]))

    def backups(self, name):
        """The ids of a directory's backups."""
        try:
            found = os.listdir(os.path.join(self.path(name), "backups"))
        except FileNotFoundError:
            return set()
        return {entry for entry in found if os.path.exists(os.path.join(self.path(name), "backups", entry, "MANIFEST"))}

    def new_backup(self, name, action):
        """What action makes: its id."""
        before = self.backups(name)
        action()
        made = self.backups(name) - before
        need(len(made) == 1, "one backup was made, and there are %d more" % len(made))
        return made.pop()

    def dump(self, name):
        """A directory's dataset, by `ckv dump`."""
        outcome = read_by_dump(self.ckv, self.path(name))
        need(outcome.state is not None, "ckv dump %s: %s %s" % (name, outcome.wrong, outcome.said))
        return {place: value.data for place, value in outcome.state.items()}

    def served(self, server, dbs=(0, 1)):
        connection = server.connect()
        state = read_state(connection, dbs)
        connection.close()
        return {place: value.data for place, value in state.items()}

    def start_and_read(self, name):
        """The dataset by a server that starts on the directory; it must be what the dump has."""
        dumped = self.dump(name)
        server = self.server(name)
        served = self.served(server)
        server.kill()
        need(served == dumped, "the server has other data than `ckv dump`: " + difference(dumped, served))
        return served

    def close(self):
        for server in self.servers:
            server.kill()
        shutil.rmtree(self.parent, ignore_errors=True)


def difference(expected, actual):
    places = [place for place in sorted(set(expected) | set(actual)) if expected.get(place) != actual.get(place)]
    return "%d keys differ, such as %s" % (len(places), "; ".join("%r: %.60r, not %.60r" % (
        place, actual.get(place), expected.get(place)) for place in places[:3]))


# ---- a history: step n does everything of step_commands(n)

def step_commands(n):
    """Each step in one transaction, and in keys of every type."""
    number = b"%d" % n
    commands = [(b"MULTI",), (b"SELECT", b"0"), (b"RPUSH", b"log", number), (b"INCRBY", b"steps", b"1"),
                (b"SET", b"last:%d" % (n % 7), number), (b"HSET", b"hash", b"f%d" % (n % 50), number),
                (b"ZADD", b"zset", number, b"m%d" % (n % 30)), (b"SADD", b"set", b"s%d" % (n % 400))]
    if n % 5 == 4:
        commands.append((b"DEL", b"last:%d" % (n % 7)))
    return commands + [(b"SELECT", b"1"), (b"SET", b"other", number), (b"EXEC",)]


def state_after(steps):
    """The dataset after so many steps."""
    if steps == 0:
        return {}
    state = {(0, b"log"): [b"%d" % n for n in range(steps)], (0, b"steps"): b"%d" % steps,
             (0, b"hash"): {b"f%d" % (n % 50): b"%d" % n for n in range(steps)},
             (0, b"zset"): {b"m%d" % (n % 30): float(n) for n in range(steps)},
             (0, b"set"): {b"s%d" % (n % 400) for n in range(steps)}, (1, b"other"): b"%d" % (steps - 1)}
    for n in range(max(0, steps - 40), steps):
        state[(0, b"last:%d" % (n % 7))] = b"%d" % n
        if n % 5 == 4:
            del state[(0, b"last:%d" % (n % 7))]
    return state


def steps_of(state):
    """After how many steps a dataset is the history's; Fail if after none."""
    steps = int(state.get((0, b"steps"), b"0"))
    need(state == state_after(steps), "not a state of the history (%d steps): %s" % (
        steps, difference(state_after(steps), state)))
    return steps


class History:
    """Steps with the times at which they were sent and answered."""

    def __init__(self, connection):
        self.connection = connection
        self.sent, self.answered = [], []

    def step(self):
        commands = step_commands(len(self.sent))
        self.sent.append(now_ms())
        replies = self.connection.calls(commands)
        need(isinstance(replies[-1], list), "EXEC was answered with %r" % (replies[-1],))
        self.answered.append(now_ms())

    def run(self, seconds, pause=0.004):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()
            time.sleep(pause)

    def moment(self):
        """A moment around which nothing is done, so that it's known to the step what there was: in ms."""
        time.sleep(2 * CLOCK_SLACK_MS / 1000)
        moment_ms = now_ms()
        time.sleep(2 * CLOCK_SLACK_MS / 1000)
        return moment_ms

    def steps_at(self, moment_ms):
        """How many steps had been done."""
        steps = bisect.bisect_right(self.answered, moment_ms - CLOCK_SLACK_MS)
        need(steps == bisect.bisect_right(self.sent, moment_ms + CLOCK_SLACK_MS), "the clock was set under the test")
        return steps


# ---- the tests

def test_rollback_to_times(bench):
    server = bench.server("data")
    history = History(server.connect())
    moments = []
    for part in range(3):
        if part > 0:
            need(not checkpoint(server.connect()), "no checkpoint")
        for _ in range(MOMENTS):
            history.run(HISTORY_S / 3 / MOMENTS)
            moments.append(history.moment())
        history.run(0.05)
    server.kill()  # else there'd be a checkpoint behind all moments
    total = len(history.sent)
    need(steps_of(bench.dump("data")) == total, "the killed server's directory does not have all of the history")
    for moment_ms in moments:
        rollback_to(bench, history, moment_ms)
    # A copy of the journal has the times of its original.
    bench.tool("clone", "--now", bench.path("clone"), "--dir", bench.path("data"))
    for moment_ms in reversed(moments[-MOMENTS:]):
        check_rollback(bench, "clone", history, moment_ms)


def check_rollback(bench, name, history, moment_ms):
    """To a moment: how many steps there were."""
    bench.tool("rollback", "--to", time_text(moment_ms / 1000), "--dir", bench.path(name))
    steps, expected = steps_of(bench.start_and_read(name)), history.steps_at(moment_ms)
    need(steps == expected, "%s, rolled back to %.3f, has %d steps, not %d" % (name, moment_ms / 1000, steps, expected))
    return steps


def rollback_to(bench, history, moment_ms):
    """On a copy: to that moment and back."""
    name = "to-%d" % moment_ms
    shutil.copytree(bench.path("data"), bench.path(name), ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    kept = bench.new_backup(name, lambda: check_rollback(bench, name, history, moment_ms))
    server = bench.server(name)
    go_on = History(server.connect())
    go_on.sent = list(range(history.steps_at(moment_ms)))
    go_on.run(0.05)
    server.kill()
    need(steps_of(bench.start_and_read(name)) == len(go_on.sent), "what is written after a rollback does not last")
    bench.tool("check", bench.path(name))
    bench.tool("rollback", kept, "--dir", bench.path(name))
    need(steps_of(bench.start_and_read(name)) == len(history.sent), "the rollback is not undone by its own backup")


def test_rollback_out_of_reach(bench):
    """A time that the journal does not cover is refused, and nothing changes."""
    server = bench.server("data")
    history = History(server.connect())
    history.run(0.2)
    server.kill()
    for moment in (time_text(1000000000), "nonsense"):
        said = bench.tool("rollback", "--to", moment, "--dir", bench.path("data"), status=None)
        need(said.strip(), "it is refused without a word")
    need(steps_of(bench.start_and_read("data")) == len(history.sent), "a refused rollback changed the data")
    said = bench.tool("rollback", "no-such-backup", "--dir", bench.path("data"), status=None)
    need("no-such-backup" in said, "the refusal does not name the backup: " + said)


def test_rollback_of_a_running_server(bench):
    """It goes on with the data of then, and back again, and clients stay connected."""
    server = bench.server("data")
    history = History(server.connect())
    history.run(0.2)
    least = len(history.sent)
    identity = bench.new_backup("data", lambda: bench.tool("backup", "create", "--dir", bench.path("data")))
    history.run(0.2)
    most = len(history.sent)
    kept = bench.new_backup("data", lambda: bench.tool("rollback", identity, "--dir", bench.path("data")))
    need(history.connection.call("PING") == b"+PONG", "a client is not served after a rollback")
    need(steps_of(bench.served(server)) == least, "rolled back, it does not have what it had at the backup")
    history.sent = history.sent[:least]
    history.run(0.1)
    need(steps_of(bench.served(server)) == len(history.sent), "what is written after a rollback is not there")
    bench.tool("rollback", kept, "--dir", bench.path("data"))
    need(steps_of(bench.served(server)) == most, "the rollback is not undone by its own backup")
    server.kill()
    need(steps_of(bench.start_and_read("data")) == most, "after a kill it does not have what it was rolled back to")


class Loader(threading.Thread):
    """Raises its counters in a fixed order, pipelined, as fast as it can."""

    def __init__(self, connection, prefix):
        super().__init__(daemon=True)
        self.connection, self.prefix = connection, prefix
        self.sent = self.answered = 0
        self.ended = False
        self.problem = ""

    def run(self):
        try:
            while not self.ended:
                self.turn()
        except Exception as error:
            self.problem = "%s: %s" % (type(error).__name__, error)

    def turn(self):
        batch = [(b"INCRBY", b"%s:%d" % (self.prefix, (self.sent + n) % COUNTERS), b"1") for n in range(37)]
        self.sent += len(batch)
        for reply in self.connection.calls(batch):
            if not reply.startswith(b":"):
                self.problem = repr(reply)
            self.answered += 1


def check_counters(state, prefix, least, most, about):
    """The counters must be a prefix of the order in which they were raised."""
    values = [int(state.get((0, b"%s:%d" % (prefix, n)), b"0")) for n in range(COUNTERS)]
    total = sum(values)
    expected = [total // COUNTERS + (n < total % COUNTERS) for n in range(COUNTERS)]
    need(values == expected, "%s: counters %r are no state of one moment" % (about, values))
    need(least <= total <= most, "%s: %d steps, not %d to %d" % (about, total, least, most))


def back_up(bench, server, at):
    """By the program and by the command in turn."""
    if at % 2 == 0:
        bench.tool("backup", "create", "--dir", bench.path("data"))
        return
    connection = server.connect()
    error = make_backup(connection)
    connection.close()
    need(not error, "BACKUP CREATE: " + error)


def test_backup_under_load(bench):
    server = bench.server("data")
    fill(server, 20000)
    loaders = [Loader(server.connect_tcp(), b"loader%d" % n) for n in range(LOADERS)]
    for loader in loaders:
        loader.start()
    made = []
    for at in range(BACKUPS):
        time.sleep(0.2)
        least = [loader.answered for loader in loaders]
        identity = bench.new_backup("data", lambda at=at: back_up(bench, server, at))
        made.append((identity, least, [loader.sent for loader in loaders]))
    for loader in loaders:
        loader.ended = True
        loader.join(10)
        need(not loader.problem, "under load: " + loader.problem)
    check_list(bench, [identity for identity, _, _ in made])
    for identity, least, most in made:
        bench.tool("clone", identity, bench.path(identity), "--dir", bench.path("data"))
        check_backup(bench.start_and_read(identity), loaders, least, most, "clone of " + identity)
    server.kill()
    for identity, least, most in made:
        bench.tool("rollback", identity, "--dir", bench.path("data"))
        check_backup(bench.start_and_read("data"), loaders, least, most, "rollback to " + identity)


def check_list(bench, identities):
    listed = bench.tool("backup", "list", "--dir", bench.path("data"))
    for identity in identities:
        need(identity in listed, "`ckv backup list` does not show %s:\n%s" % (identity, listed))
        bench.tool("backup", "verify", identity, "--dir", bench.path("data"))


def check_backup(state, loaders, least, most, about):
    need(sum(1 for _, key in state if key.startswith(b"fill:")) == 20000, about + ": keys are missing")
    for loader, low, high in zip(loaders, least, most):
        check_counters(state, loader.prefix, low, high, about)


def fill(server, count):
    connection = server.connect()
    for at in range(0, count, 1000):
        connection.calls([(b"SET", b"fill:%d" % n, b"%064d" % n) for n in range(at, at + 1000)])
    connection.close()


def instance_of(bench, name):
    with open(os.path.join(bench.path(name), "MANIFEST")) as manifest:
        return next(line for line in manifest if line.startswith("instance"))


def test_clone_goes_its_own_way(bench):
    server = bench.server("data")
    history = History(server.connect())
    history.run(0.3)
    bench.tool("clone", "--now", bench.path("clone"), "--dir", bench.path("data"))
    split = len(history.sent)
    clone = bench.server("clone")
    need(steps_of(bench.served(clone)) == split, "the clone does not have what its original had")
    other = clone.connect()
    need(other.calls([(b"DEL", b"log"), (b"SET", b"only-clone", b"1")]) == [b":1", b"+OK"], "the clone refuses writes")
    history.run(0.2)
    for one in (server, clone):
        need(not checkpoint(one.connect()), "no checkpoint")
        one.kill()
    need(steps_of(bench.start_and_read("data")) == len(history.sent), "the original changed by its clone")
    expected = dict(state_after(split))
    del expected[(0, b"log")]
    expected[(0, b"only-clone")] = b"1"
    state = bench.start_and_read("clone")
    need(state == expected, "the clone: " + difference(expected, state))
    need(instance_of(bench, "data") != instance_of(bench, "clone"), "the clone has its original's identity")


def test_check_tells_damage(bench):
    server = bench.server("data")
    History(server.connect()).run(0.2)
    need(not checkpoint(server.connect()), "no checkpoint")
    server.kill()
    bench.tool("check", bench.path("data"))
    path = next(os.path.join(bench.path("data"), name) for name in os.listdir(bench.path("data"))
                if name.endswith(".gdbm"))
    with open(path, "r+b") as file:
        content = bytearray(file.read())
        at = content.index(b"only") if b"only" in content else content.index(b"last:")
        content[at] ^= 1
        file.seek(0)
        file.write(content)
    said = bench.tool("check", bench.path("data"), status=None)
    need(os.path.basename(path) in said, "`ckv check` does not name the damaged file: " + said)


def test_backup_delete(bench):
    server = bench.server("data")
    fill(server, 100)
    one, two = [bench.new_backup("data", lambda: bench.tool("backup", "create", "--dir", bench.path("data")))
                for _ in range(2)]
    bench.tool("backup", "delete", one, "--dir", bench.path("data"))
    need(bench.backups("data") == {two}, "`ckv backup delete` left %r" % bench.backups("data"))
    bench.tool("backup", "delete", one, "--dir", bench.path("data"), status=None)


TESTS = [test_rollback_to_times, test_rollback_out_of_reach, test_rollback_of_a_running_server,
         test_backup_under_load, test_clone_goes_its_own_way, test_check_tells_damage, test_backup_delete]


def run(test, ckv):
    """Whether it passed."""
    bench = Bench(ckv)
    said = ""
    try:
        test(bench)
    except Fail as failure:
        said = str(failure)
    except (Lost, NotStarted, OSError, subprocess.TimeoutExpired) as error:
        said = "%s: %s (%s)" % (type(error).__name__, error, traceback.extract_tb(error.__traceback__)[1].line)
    finally:
        bench.close()
    print("%s  %s%s" % ("FAIL" if said else "ok  ", test.__name__[5:].replace("_", " "), said and ": " + said),
          flush=True)
    return not said


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--only", default="", help="tests whose names have this text")
    args = options.parse_args()
    results = [run(test, args.ckv) for test in TESTS if args.only in test.__name__]
    print("%d passed, %d failed" % (sum(results), len(results) - sum(results)))
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())
