#!/usr/bin/env python3
"""nth.py - makes the N-th file operation of a server fail, for every N, and ends the server at every one.

A run: a server starts on a small directory, writes, makes a checkpoint and a backup, stops, and starts again, with one
fault in it. After each: no crash, no acknowledged write lost, an error that names what failed, and two seconds later
everything works again. Each run is a test.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import collections
import copy
import errno
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from faults import CHANGES, HEAL_S_MAX, Plan, Session, names_fault, script, seed_directory  # noqa: E402
from server import Lost, NotStarted, Server, checkpoint, is_redis, make_backup  # noqa: E402

ROOM = "create,write,truncate,allocate,rename,mkdir"
FAILURES_SHOWN = 6
ENDING_S_MAX = 0.5
MISSES_IN_A_ROW = 3  # the number of operations differs a little from run to run

Kind = collections.namedtuple("Kind", "name settings")
KINDS = [
    Kind("eio", {"mode": "once", "errno": errno.EIO}),
    Kind("enospc", {"mode": "once", "errno": errno.ENOSPC, "calls": ROOM}),
    Kind("read", {"mode": "once", "errno": errno.EIO, "calls": "read,open,map"}),
    Kind("short", {"mode": "short", "calls": "write"}),
    Kind("kill", {"mode": "kill"}),
    Kind("tear", {"mode": "tear", "calls": "write"}),
]
# What may fail without a word, once, since nobody loses anything by it:
SILENT = (
    "map",       # GDBM then reads
    "unlink",    # what isn't needed any more is removed by a later checkpoint, backup or start
    "allocate",  # room ahead in the journal: less is asked for at once, and if there's none either, writes are refused
    "truncate",  # room given back of a finished journal segment: some of the disk is wasted until that goes
)


class Run:
    """One run with one fault."""

    def __init__(self, args, template, session, fsync, number, kind):
        self.args, self.kind, self.number = args, kind, number
        self.parent = tempfile.mkdtemp(prefix="ckv-nth-")
        self.directory = os.path.join(self.parent, "data")
        shutil.copytree(template, self.directory, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
        self.plan = Plan(args.library, self.directory, os.path.join(self.parent, "trace"), at=number, **kind.settings)
        self.server = Server(args.ckv, self.directory, fsync, env=self.plan.env)
        self.session = Session(copy.deepcopy(session.model))
        self.problems = []
        self.said = ""
        self.start_operations = number  # so many belong to the start

    def problem(self, text):
        if text:
            self.problems.append(text)

    def ends_by_kill(self):
        return self.kind.settings["mode"] in ("kill", "tear") and self.number > 0

    # ---- the faulty part

    def faulty(self):
        try:
            self.server.start()
        except NotStarted as error:
            self.said += error.said
            if not self.died_as_planned() and error.status != 1:
                self.problem("it did not start: " + str(error))
            return
        self.start_operations = len(self.plan.lines())
        try:
            self.work()
        except (Lost, ConnectionError) as error:
            self.server.ended_within(ENDING_S_MAX)
            if not self.died_as_planned():
                self.problem("%s; exit status %s; it said:\n%s" % (error, self.server.process.poll(),
                                                                   self.server.said()[-2000:]))
            return
        self.stop()

    def died_as_planned(self):
        return self.ends_by_kill() and self.server.process.poll() == -signal.SIGKILL and self.plan.fault() is not None

    def work(self):
        self.session.connect(self.server)
        self.write("one")
        self.until_done("BGSAVE", checkpoint)
        self.write("two")
        if not is_redis(self.args.ckv):
            self.until_done("BACKUP CREATE", make_backup)
        self.write("three")

    def write(self, name):
        for step in script(CHANGES, p=name):
            self.problem(self.session.insist(step))

    def until_done(self, name, action):
        """A checkpoint or backup may fail while the fault is there, and then not again."""
        end = time.monotonic() + HEAL_S_MAX
        while True:
            error = action(self.session.connection)
            if not error:
                return
            self.session.errors.append(error)
            if time.monotonic() > end:
                self.problem("%s still fails after %.1f s: %s" % (name, HEAL_S_MAX, error))
                return
            time.sleep(0.02)

    def stop(self):
        status = self.server.stop()
        if status == 0 or self.died_as_planned():
            return
        if status != 1 or self.plan.fault() is None:
            self.problem("it stopped with status %s; it said:\n%s" % (status, self.server.said()[-2000:]))

    # ---- afterwards

    def healthy(self):
        """A start without faults has everything, and all works; and once more after that."""
        self.server.env = None
        for again in (False, True):
            try:
                self.server.start()
                self.problem(self.session.check(self.server))
                if not again and not self.problems:
                    self.session.connect(self.server)
                    self.write("four")
                    self.problem(checkpoint(self.session.connection))
                    self.server.kill()
            except (NotStarted, Lost) as error:
                self.problem("afterwards, %s start: %s" % ("second" if again else "first", error))
            if self.problems:
                return

    def is_finished_segment(self, path):
        names = os.listdir(os.path.join(self.directory, "journal"))
        segments = sorted(name for name in names if name.endswith(".ckj"))
        return os.path.dirname(path) == "journal" and os.path.basename(path) not in segments[-1:]

    def check_named(self, fault):
        operation, path = fault
        # Read while the server runs: only to find out what can be removed. And the directories are made only if they
        # aren't there, which they are.
        quiet = operation in ("read", "open") and self.number > self.start_operations
        quiet = quiet or fault in (("mkdir", "."), ("mkdir", "journal"))
        # The mark at the end of a finished segment: it's another sign that the next one is there, and only that. (A
        # start that can't read what it has to load refuses, and says so.)
        quiet = quiet or operation in ("read", "open", "write") and self.is_finished_segment(path)
        if self.ends_by_kill() or self.kind.name == "short" or operation in SILENT or quiet:
            return
        said = self.said + "\n".join(self.session.errors)
        if not names_fault(said, operation, path, self.plan.error_text()):
            self.problem("nothing names %s of %s, nor says \"%s\"; it said:\n%s" % (
                operation, path, self.plan.error_text(), said[-1500:]))

    def run(self):
        """(what failed or None, problems)"""
        try:
            self.faulty()
            self.said += self.server.said()
            self.server.kill()
            fault = self.plan.fault()
            self.healthy()
            if fault:
                self.check_named(fault)
            return fault, self.problems
        except (OSError, AssertionError) as error:
            return None, self.problems + ["%s: %s" % (type(error).__name__, error)]
        finally:
            self.server.kill()
            shutil.rmtree(self.parent, ignore_errors=True)


class Campaign:
    """All runs of one kind of fault in one fsync mode."""

    def __init__(self, args, template, session, fsync, kind):
        self.args, self.template, self.session, self.fsync, self.kind = args, template, session, fsync, kind
        self.passed = self.failed = 0
        self.faults = collections.Counter()

    def one(self, number):
        return number, Run(self.args, self.template, self.session, self.fsync, number, self.kind).run()

    def total(self):
        """How many operations an untouched run has."""
        run = Run(self.args, self.template, self.session, self.fsync, 0, self.kind)
        fault, problems = None, []
        try:
            lines = []
            finish = run.healthy
            run.healthy = lambda: (lines.extend(run.plan.lines()), finish())
            fault, problems = run.run()
        finally:
            for problem in problems:
                print("FAIL  an untouched run: " + problem)
        return 0 if problems or fault else len(lines)

    def note(self, number, fault, problems):
        if fault:
            self.faults[fault[0]] += 1
        if not problems:
            self.passed += 1
            return
        self.failed += 1
        if self.failed > FAILURES_SHOWN:
            return
        print("FAIL  %s, fsync %s, operation %d (%s): %s" % (
            self.kind.name, self.fsync, number, " ".join(fault) if fault else "none", "\n  ".join(problems)))

    def run(self, rng):
        total = self.total()
        if total == 0:
            self.failed += 1
            return
        numbers = range(1, total + MISSES_IN_A_ROW)
        if self.args.sample:
            numbers = sorted(rng.sample(range(1, total + 1), min(total, self.args.sample)))
        with ThreadPoolExecutor(self.args.jobs) as pool:
            for number, (fault, problems) in pool.map(self.one, numbers):
                self.note(number, fault, problems)
        print("%-6s fsync %-8s %d of %d operations: %d passed, %d failed (%s)" % (
            self.kind.name, self.fsync, len(numbers), total, self.passed, self.failed,
            ", ".join("%d %s" % (count, name) for name, count in sorted(self.faults.items()))), flush=True)


def campaigns(args, rng):
    passed = failed = 0
    for fsync in args.fsync.split(","):
        parent = tempfile.mkdtemp(prefix="ckv-nth-")
        try:
            template = os.path.join(parent, "data")
            session = seed_directory(Server(args.ckv, template, fsync))
            for kind in KINDS:
                if kind.name in args.kinds.split(","):
                    campaign = Campaign(args, template, session, fsync, kind)
                    campaign.run(rng)
                    passed, failed = passed + campaign.passed, failed + campaign.failed
        finally:
            shutil.rmtree(parent, ignore_errors=True)
    return passed, failed


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--library", default="build/iofault.so", metavar="PATH", help="iofault.so")
    options.add_argument("--sample", type=int, default=0, help="so many operations of each kind; default: all")
    options.add_argument("--kinds", default=",".join(kind.name for kind in KINDS))
    options.add_argument("--fsync", default="always,no")
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    args = options.parse_args()
    print("seed %d" % args.seed, flush=True)
    passed, failed = campaigns(args, random.Random(args.seed))
    print("%d passed, %d failed" % (passed, failed))
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
