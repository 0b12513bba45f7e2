#!/usr/bin/env python3
"""run.py - the unmodified test suite of Redis 3.2.13 against ckv, each test judged by its class in tests.tsv.

  compat/upstream/run.py [--ckv build/ckv] [FILE...]
  compat/upstream/run.py --target HOST:PORT [--auth PASSWORD] [--force] [FILE...]

FILE is one of the suite's files, such as unit/type/string; without any, all are run.

With --target, the tests run against a server that is up already, with no command beyond the published matrix (the
shims in shims.tcl see to that). THIS EMPTIES THE SERVER, so one that holds keys is refused unless --force is given.

Where the suite comes from: see find_suite.py. What the classes mean: see judge.py. What is needed: tclsh 8.6 and ps.
The last line is `N passed, N failed, N skipped`. Exit status: 0 nothing failed, 1 something did, 2 could not run.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import concurrent.futures
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import find_suite
import judge
import results
import target

TABLE = os.path.join(HERE, "tests.tsv")
# These take longest: they go first.
LONGEST = ("unit/type/list-3", "integration/replication-psync", "unit/obuf-limits", "unit/dump", "unit/expire")
# Redis takes any password; ckv's have two halves.
SERVER = """#!/bin/sh
sed 's/^requirepass \\(.*\\)/requirepass crs-upstream:\\1/' "$1" >"$1.ckv"
exec '%s' "$1.ckv" --admin-plane all --pidfile ''
"""


# ---------------------------------------------------------------- a file of the suite

class Suite:
    """The suite in a directory, and the server to run it against: ckv's path, or (host, port, password) of one that
    is up."""

    def __init__(self, directory, up, options):
        self.tests = os.path.join(directory, "tests")
        self.ckv, self.up = os.path.abspath(options.ckv), up
        self.seed, self.seconds_max = options.seed, options.seconds

    def files(self):
        with open(os.path.join(self.tests, "test_helper.tcl"), encoding="utf-8", errors="replace") as f:
            listed = re.search(r"set ::all_tests \{(.*?)\}", f.read(), re.DOTALL)
        return listed.group(1).split() if listed else []

    def source(self, file):
        try:
            with open(os.path.join(self.tests, file + ".tcl"), encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def build_tree(self, scratch):
        """What the suite expects around it: tests/, with a tests/tmp to write to, and src/redis-server."""
        os.makedirs(os.path.join(scratch, "tests", "tmp"))
        os.makedirs(os.path.join(scratch, "src"))
        for name in os.listdir(self.tests):
            if name != "tmp":
                os.symlink(os.path.join(self.tests, name), os.path.join(scratch, "tests", name))
        server = os.path.join(scratch, "src", "redis-server")
        with open(server, "w", encoding="utf-8") as f:
            f.write(SERVER % self.ckv)
        os.chmod(server, 0o755)

    def run(self, file, skip):
        """Runs a file, in its own process group: (lines of client.tcl, note on how it ended)."""
        with tempfile.TemporaryDirectory(prefix="ckv-upstream-") as scratch:
            self.build_tree(scratch)
            outcomes, reasons, log = (os.path.join(scratch, name) for name in ("outcomes", "skip", "log"))
            with open(reasons, "w", encoding="utf-8") as f:
                f.writelines("%s\t%s\n" % item for item in skip.items())
            with open(log, "w", encoding="utf-8") as f:
                client = subprocess.Popen(self.command(file, outcomes, reasons), cwd=scratch, stdin=subprocess.DEVNULL,
                                          stdout=f, stderr=f, start_new_session=True)
                note = self.wait(client)
            lines = []
            if os.path.exists(outcomes):
                with open(outcomes, encoding="utf-8", errors="replace") as f:
                    lines = [[judge.unescape(field) for field in line.rstrip("\n").split("\t")] for line in f]
            if not lines or lines[-1] != ["end"]:
                with open(log, encoding="utf-8", errors="replace") as f:
                    note = (note or "ended early") + ": " + f.read()[-1000:]
            return lines, note

    def command(self, file, outcomes, reasons):
        """What runs a file, in its tree."""
        words = ["tclsh", os.path.join(HERE, "client.tcl"), file, outcomes, reasons, str(self.seed)]
        return words + (list(map(str, self.up)) if self.up else [])

    def wait(self, client):
        """Until the client is done or its time is over; then a note on that."""
        clients.add(client.pid)
        note = ""
        try:
            if client.wait(self.seconds_max) != 0:
                note = "tclsh ended with status %d" % client.returncode
        except subprocess.TimeoutExpired:
            note = "not done after %d s: stopped" % self.seconds_max
        end_group(client.pid)
        clients.discard(client.pid)
        client.wait()
        return note


# The process groups of the clients that run; their servers are in them.
clients = set()


def end_group(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def interrupted(number, _frame):
    for group in list(clients):
        end_group(group)
    os._exit(128 + number)


# ---------------------------------------------------------------- judging a file

class Run:
    def __init__(self, suite, table):
        self.suite, self.table = suite, table
        self.judge = judge.Judge(on_target=suite.up is not None)

    def rows(self, file):
        return [row for (name, _), row in self.table.items() if name == file]

    def skips(self, file):
        """{name: reason} of the tests whose bodies are not to be run."""
        if self.suite.up:
            reasons = {row.name: judge.why_not_on_target(row, bool(self.suite.up[2])) for row in self.rows(file)}
            return {name: reason for name, reason in reasons.items() if reason}
        return {row.name: row.what for row in self.rows(file) if row.cls == "not-applicable"}

    def file(self, file):
        """(results, notes, seconds) of a file."""
        start = time.monotonic()
        rows = self.rows(file)
        skip = self.skips(file)
        if self.suite.up and len(skip) == len(rows):
            found, notes = [self.skipped(row, skip[row.name]) for row in rows], []
        elif rows and all(row.cls == "not-applicable" for row in rows):
            found, notes = self.static(file, rows), []
        else:
            found, notes = self.judged(file, rows, skip)
        return found, notes, time.monotonic() - start

    @staticmethod
    def skipped(row, reason):
        return judge.result(row.file, row.name, row.cls, "skipped", detail=reason)

    def static(self, file, rows):
        """A file in which nothing is applicable is not run; that its tests are there can be read off."""
        missing = judge.missing_titles(rows, self.suite.source(file))
        return [judge.result(row.file, row.name, row.cls, "failed", detail="is not in the file")
                if row in missing else self.skipped(row, row.what) for row in rows]

    def judged(self, file, rows, skip):
        """A file that is run: its tests' outcomes against their rows, and the rows that no test came for."""
        lines, note = self.suite.run(file, skip)
        notes = [line[1] for line in lines if line[0] == "setup"] + ([note] if note else [])
        found, ran, history = [], set(), ""
        for line in lines:
            if line[0] == "setup":
                history += line[1] + "\n"
            elif line[0] == "test":
                outcome = judge.Outcome(line[1:])
                ran.add(outcome.name)
                found.append(self.one(file, outcome, history))
                history += "".join(refusal + "\n" for refusal in outcome.refused)
        found += [self.absent(row, skip, history) for row in rows if row.name not in ran]
        return found, notes

    def one(self, file, outcome, history):
        row = self.table.get((file, outcome.name))
        if row is None:
            return judge.result(file, outcome.name, "run", "failed", detail="has no row in the class table")
        if self.suite.up and outcome.outcome == "skipped":
            return self.skipped(row, outcome.message)
        return self.judge.result(row, outcome, history)

    def absent(self, row, skip, history):
        """A row whose test did not run. Of one that waits, the file may not get that far yet."""
        if self.suite.up and row.name in skip:
            return self.skipped(row, skip[row.name])
        if row.cls == "waits":
            return self.judge.result(row, judge.Outcome([row.name, "failed", "did not run", 0, 0, "", ""]), history)
        return judge.result(row.file, row.name, row.cls, "failed", detail="did not run")


# ---------------------------------------------------------------- all of them

def counts(found):
    return tuple(sum(row.status == status for row in found) for status in ("passed", "failed", "skipped"))


def report(file, found, notes, seconds, verbose):
    print("%-44s %4d passed %3d failed %3d skipped %7d assertions %6.1f s" %
          (file, *counts(found), sum(row.checks for row in found), seconds))
    failures = [row for row in found if row.status == "failed"]
    for row in failures:
        print("FAIL  %s: %s [%s]: %s" % (row.group, row.name, row.kind, row.detail[:600]))
    if failures or verbose:
        for note in notes:
            print("      note: %s" % note[:600])
    sys.stdout.flush()


def report_classes(found, seconds):
    print("\nclass            passed  failed skipped  assertions")
    for kind in results.CLASSES:
        of_class = [row for row in found if row.kind == kind]
        print("%-14s %8d %7d %7d %11d" % (kind, *counts(of_class), sum(row.checks for row in of_class)))
    print("%.0f s" % seconds)


def run_all(run, files, jobs, verbose):
    """Every file, several at a time; the results in the files' order."""
    start = time.monotonic()
    order = sorted(files, key=lambda file: LONGEST.index(file) if file in LONGEST else len(LONGEST))
    done = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(run.file, file): file for file in order}
        for future in concurrent.futures.as_completed(waiting):
            file = waiting[future]
            done[file], notes, seconds = future.result()
            report(file, done[file], notes, seconds, verbose)
    found = [row for file in files for row in done[file]]
    report_classes(found, time.monotonic() - start)
    return found


# ---------------------------------------------------------------- the command line

def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckv", default="build/ckv", help="the server to test (default: build/ckv)")
    parser.add_argument("--target", metavar="HOST:PORT", help="test a server that is up already; EMPTIES IT")
    parser.add_argument("--auth", default="", metavar="PASSWORD", help="its password, as AUTH takes it")
    parser.add_argument("--force", action="store_true", help="even if it holds keys")
    parser.add_argument("--results", metavar="DIR", help="write DIR/upstream.tsv")
    parser.add_argument("--if-found", action="store_true",
                        help="a suite that is nowhere to be had is no error, but one skipped test")
    parser.add_argument("--table", default=TABLE, help="the class table (default: tests.tsv beside this)")
    parser.add_argument("--jobs", type=int, default=2, help="files at a time (default: 2; a target: 1)")
    parser.add_argument("--seconds", type=int, default=400, help="that a file may take (default: 400)")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 30), help="of the tests' random numbers")
    parser.add_argument("--verbose", action="store_true", help="notes on what happened outside of tests, too")
    parser.add_argument("files", nargs="*", metavar="FILE")
    return parser.parse_args()


def write_results(options, found):
    if options.results:
        results.write(options.results, "upstream", found)


def find_or_leave(options, what="the upstream suite", write=write_results):
    """The suite's directory; ends the program, loudly, if there is none: then it writes that `what` was not run."""
    try:
        return find_suite.find()
    except find_suite.Wrong as error:
        target.fail(str(error))
    except find_suite.NotFound as error:
        print(find_suite.not_run_message(error))
        write(options, [judge.result("-", what, "not-applicable", "skipped", detail="was not run: %s" % error)])
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(0 if options.if_found else 2)


def check_programs():
    for program, package in (("tclsh", "tcl"), ("ps", "procps")):
        if not shutil.which(program):
            target.fail("%s is missing: apt-get install %s" % (program, package))


def server(options):
    """The server that is up already, as (host, port, password), or None."""
    if options.target:
        host, port = target.parse(options.target)
        target.check_empty(host, port, options.auth, options.force)
        return host, port, options.auth
    if not os.access(options.ckv, os.X_OK):
        target.fail("there is no %s: run make first" % options.ckv)
    return None


def main():
    options = parse()
    directory = find_or_leave(options)
    check_programs()
    up = server(options)
    try:
        table = judge.read_table(options.table)
    except (OSError, ValueError, KeyError) as error:
        target.fail("the class table: %s" % error)
    suite = Suite(directory, up, options)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    for file in options.files:
        if not suite.source(file):
            target.fail("the suite has no %s" % os.path.join("tests", file + ".tcl"))
    files = options.files or list(dict.fromkeys(suite.files() + [file for file, _ in table]))
    print("the suite in %s against %s, seed %d" % (directory, options.target or options.ckv, options.seed), flush=True)
    found = run_all(Run(suite, table), files, 1 if up else options.jobs, options.verbose)
    write_results(options, found)
    print("%d passed, %d failed, %d skipped" % counts(found))
    return 1 if counts(found)[1] else 0


if __name__ == "__main__":
    sys.exit(main())
