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
import socket
import subprocess
import sys
import tempfile
import time

import find_suite
import judge

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, "tests.tsv")
FILE_S_MAX = 400
DATABASES = 16
# These take longest: they go first.
LONGEST = ("unit/type/list-3", "integration/replication-psync", "unit/type/list-2", "unit/type/zset", "unit/type/list")
# Redis takes any password; ckv's have two halves.
SERVER = """#!/bin/sh
sed 's/^requirepass \\(.*\\)/requirepass crs-upstream:\\1/' "$1" >"$1.ckv"
exec '%s' "$1.ckv" --admin-plane all --pidfile ''
"""


def fail(message):
    print("upstream: " + message, file=sys.stderr)
    sys.exit(2)


# ---------------------------------------------------------------- the target

class Target:
    """A server that is up already."""

    def __init__(self, address, password):
        host, _, port = address.rpartition(":")
        if not port.isdigit():
            fail("--target takes HOST:PORT, not '%s'" % address)
        self.host, self.port, self.password = host.strip("[]") or "127.0.0.1", int(port), password
        try:
            self.socket = socket.create_connection((self.host, self.port), timeout=10)
        except OSError as error:
            fail("no server at %s: %s" % (address, error))
        self.replies = self.socket.makefile("rb")

    def ask(self, *words):
        """One command; the first line of the reply."""
        request = b"*%d\r\n" % len(words)
        for word in words:
            request += b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode())
        try:
            self.socket.sendall(request)
            return self.replies.readline().decode(errors="replace").strip()
        except OSError as error:
            fail("%s:%d does not answer %s: %s" % (self.host, self.port, words[0], error))

    def prepare(self, force):
        """Makes sure that the tests may empty it."""
        if self.password and (reply := self.ask("AUTH", self.password)) != "+OK":
            fail("the server does not take the password: " + reply)
        for database in range(DATABASES):
            if (reply := self.ask("SELECT", str(database))) != "+OK":
                fail("the tests need %d databases; SELECT %d: %s" % (DATABASES, database, reply))
            reply = self.ask("DBSIZE")
            if not re.fullmatch(r":\d+", reply):
                fail("DBSIZE: " + reply)
            if reply != ":0" and not force:
                fail("%s:%d holds keys (%s in database %d) and the tests would remove ALL of them. Give a server that\n"
                     "is empty, or say --force (FORCE=1 with make) if they may go." %
                     (self.host, self.port, reply[1:], database))
        self.socket.close()


# ---------------------------------------------------------------- a file of the suite

class Suite:
    def __init__(self, directory, ckv, target, seed):
        self.tests = os.path.join(directory, "tests")
        self.ckv, self.target, self.seed = ckv, target, seed

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
            results, reasons, log = (os.path.join(scratch, name) for name in ("results", "skip", "log"))
            with open(reasons, "w", encoding="utf-8") as f:
                f.writelines("%s\t%s\n" % item for item in skip.items())
            command = ["tclsh", os.path.join(HERE, "client.tcl"), file, results, reasons, str(self.seed)]
            if self.target:
                command += [self.target.host, str(self.target.port), self.target.password]
            with open(log, "w", encoding="utf-8") as f:
                client = subprocess.Popen(command, cwd=scratch, stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                                          start_new_session=True)
                try:
                    client.wait(FILE_S_MAX)
                    note = "" if client.returncode == 0 else "tclsh ended with status %d" % client.returncode
                except subprocess.TimeoutExpired:
                    note = "not done after %d s: stopped" % FILE_S_MAX
                end_group(client)
            lines = []
            if os.path.exists(results):
                with open(results, encoding="utf-8", errors="replace") as f:
                    lines = [[judge.unescape(field) for field in line.rstrip("\n").split("\t")] for line in f]
            if not lines or lines[-1] != ["end"]:
                with open(log, encoding="utf-8", errors="replace") as f:
                    note = (note or "ended early") + ": " + f.read()[-1000:]
            return lines, note


def end_group(client):
    """Ends what the client left behind: its servers are of its process group."""
    try:
        os.killpg(client.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    client.wait()


# ---------------------------------------------------------------- judging a file

class Run:
    def __init__(self, suite, table, verbose):
        self.suite, self.table, self.verbose = suite, table, verbose
        self.judge = judge.Judge(target=suite.target is not None)

    def rows(self, file):
        return [row for (name, _), row in self.table.items() if name == file]

    def skips(self, file):
        if self.suite.target:
            reasons = {row.name: judge.why_not_on_target(row) for row in self.rows(file)}
            return {name: reason for name, reason in reasons.items() if reason}
        return {row.name: row.what for row in self.rows(file) if row.cls == "not-applicable"}

    def file(self, file):
        """(results, notes, seconds) of a file."""
        start = time.monotonic()
        rows = self.rows(file)
        skip = self.skips(file)
        if self.suite.target and len(skip) == len(rows):
            results, notes = [self.skipped(row, skip[row.name]) for row in rows], []
        elif rows and all(row.cls == "not-applicable" for row in rows):
            results, notes = self.static(file, rows), []
        else:
            results, notes = self.judged(file, rows, skip)
        return results, notes, time.monotonic() - start

    @staticmethod
    def skipped(row, reason):
        return judge.result_line(row.file, row.name, row.cls, "skipped", detail=reason)

    def static(self, file, rows):
        """A file in which nothing is applicable is not run; that its tests are there can be read off."""
        missing = {row.name: why for row, why in judge.static_failures(rows, self.suite.source(file))}
        return [judge.result_line(row.file, row.name, row.cls, "failed" if row.name in missing else "skipped",
                                  detail=missing.get(row.name, row.what)) for row in rows]

    def judged(self, file, rows, skip):
        """A file that is run: its tests' outcomes against their rows, and the rows that no test came for."""
        lines, note = self.suite.run(file, skip)
        notes = [line[1] for line in lines if line[0] == "setup"] + ([note] if note else [])
        results, ran, history = [], set(), ""
        for line in lines:
            if line[0] == "setup":
                history += line[1] + "\n"
            elif line[0] == "test":
                outcome = judge.Outcome(line[1:])
                ran.add(outcome.name)
                results.append(self.one(file, outcome, history))
                history += "".join(refusal + "\n" for refusal in outcome.refused)
        results += self.absent([row for row in rows if row.name not in ran], skip, history)
        return results, notes

    def one(self, file, outcome, history):
        row = self.table.get((file, outcome.name))
        if row is None:
            return judge.result_line(file, outcome.name, "run", "failed", detail="not in tests.tsv")
        if self.suite.target and outcome.outcome == "skipped":
            return self.skipped(row, outcome.message)
        return self.judge.result(row, outcome, history)

    def absent(self, rows, skip, history):
        """Rows whose tests did not run. Of one that waits, the file may not get that far yet."""
        results = []
        for row in rows:
            if self.suite.target and row.name in skip:
                results.append(self.skipped(row, skip[row.name]))
            elif row.cls == "waits":
                absent = judge.Outcome([row.name, "failed", "did not run", "0", "0", "", ""])
                results.append(self.judge.result(row, absent, history))
            else:
                results.append(judge.result_line(row.file, row.name, row.cls, "failed", detail="did not run"))
        return results


def report(file, results, notes, seconds, verbose):
    counts = {status: sum(line[4] == status for line in results) for status in ("passed", "failed", "skipped")}
    checks = sum(int(line[5]) for line in results)
    print("%-44s %4d passed %3d failed %3d skipped %7d assertions %6.1f s" %
          (file, counts["passed"], counts["failed"], counts["skipped"], checks, seconds))
    for line in results:
        if line[4] == "failed":
            print("FAIL  %s: %s [%s]: %s" % (line[1], line[2], line[3], line[8][:600]))
    if counts["failed"] or verbose:
        for note in notes:
            print("      note: %s" % note[:600])
    sys.stdout.flush()


def write_results(directory, results):
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "upstream.tsv")
    with open(path + ".new", "w", encoding="utf-8") as f:
        for line in [judge.RESULT_FIELDS] + results:
            f.write("\t".join(judge.escape(field) for field in line) + "\n")
    os.replace(path + ".new", path)


def run_all(run, files, jobs, verbose):
    """Every file, several at a time; the results in the files' order."""
    done = {}
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        order = sorted(files, key=lambda file: LONGEST.index(file) if file in LONGEST else len(LONGEST))
        waiting = {pool.submit(run.file, file): file for file in order}
        for future in concurrent.futures.as_completed(waiting):
            file = waiting[future]
            results, notes, seconds = future.result()
            done[file] = results
            report(file, results, notes, seconds, verbose)
    print_classes([line for file in files for line in done[file]], time.monotonic() - start)
    return [line for file in files for line in done[file]]


def print_classes(results, seconds):
    print("\nclass            passed  failed skipped  assertions")
    for cls in judge.CLASSES:
        of_class = [line for line in results if line[3] == cls]
        counts = [sum(line[4] == status for line in of_class) for status in ("passed", "failed", "skipped")]
        print("%-14s %8d %7d %7d %11d" % (cls, *counts, sum(int(line[5]) for line in of_class)))
    print("%.0f s" % seconds)


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
    parser.add_argument("--jobs", type=int, default=2, help="files at a time (default: 2)")
    parser.add_argument("--seed", type=int, help="of the tests' random numbers")
    parser.add_argument("--verbose", action="store_true", help="notes on what happened outside of tests, too")
    parser.add_argument("files", nargs="*", metavar="FILE")
    return parser.parse_args()


def find_or_leave(options):
    try:
        return find_suite.find()
    except find_suite.Wrong as error:
        fail(str(error))
    except find_suite.NotFound as error:
        print(find_suite.not_run_message(error))
        if options.results:
            write_results(options.results, [judge.result_line("-", "the upstream suite", "not-applicable", "skipped",
                                                              detail="was not run: %s" % error)])
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(0 if options.if_found else 2)


def main():
    options = parse()
    directory = find_or_leave(options)
    for program in ("tclsh", "ps"):
        if not shutil.which(program):
            fail("%s is missing: apt-get install %s" % (program, {"tclsh": "tcl", "ps": "procps"}[program]))
    target = None
    if options.target:
        target = Target(options.target, options.auth)
        target.prepare(options.force)
    elif not os.access(options.ckv, os.X_OK):
        fail("there is no %s: run make first" % options.ckv)
    try:
        table = judge.read_table(options.table)
    except (OSError, ValueError, KeyError) as error:
        fail("the class table: %s" % error)
    seed = options.seed if options.seed is not None else random.randrange(1, 1 << 30)
    suite = Suite(directory, os.path.abspath(options.ckv), target, seed)
    files = options.files or list(dict.fromkeys(suite.files() + [file for file, _ in table]))
    print("the suite in %s against %s, seed %d" %
          (directory, options.target or options.ckv, seed), flush=True)
    results = run_all(Run(suite, table, options.verbose), files, 1 if target else options.jobs, options.verbose)
    if options.results:
        write_results(options.results, results)
    counts = [sum(line[4] == status for line in results) for status in ("passed", "failed", "skipped")]
    print("%d passed, %d failed, %d skipped" % tuple(counts))
    return 1 if counts[1] else 0


if __name__ == "__main__":
    sys.exit(main())
