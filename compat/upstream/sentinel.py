#!/usr/bin/env python3
"""sentinel.py - the unmodified Sentinel tests of Redis 3.2.13, with ckv in place of the Redis servers and Debian's
redis-sentinel: each test is judged by its class in sentinel.tsv, as run.py does it with the rest of the suite.

  compat/upstream/sentinel.py [--ckv build/ckv] [UNIT...]

UNIT is one of the units in tests/sentinel/tests, such as 00-base; without any, all are run, at the same time: each has
five Sentinels and five ckv of its own, and mostly waits. What the classes mean: see judge.py. Everything that Sentinel
itself does needs the admin plane; a row of class admin is one whose own commands do.

What is needed: tclsh 8.6, redis-sentinel and redis-cli. The last line is `N passed, N failed, N skipped`. Exit status:
0 nothing failed, 1 something did, 2 could not run.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import glob
import os
import random
import shutil
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import judge
import results
import run
import target

TABLE = os.path.join(HERE, "sentinel.tsv")
SECONDS_MAX = 400  # of a unit
PORTS = range(23000, 24900, 100)  # a hundred for each unit; below those that the system gives to connections
PROGRAMS = {"tclsh": "tcl", "redis-sentinel": "redis-sentinel", "redis-cli": "redis-tools"}
SERVER = """#!/bin/sh
exec '%s' "$1" --admin-plane all --pidfile ''
"""


class SentinelSuite(run.Suite):
    """The suite's units of Sentinel."""

    def __init__(self, directory, options):
        super().__init__(directory, None, options)
        self.units = os.path.join(self.tests, "sentinel", "tests")
        self.ports = {}

    def files(self):
        paths = glob.glob(os.path.join(self.units, "*.tcl"))
        names = sorted(os.path.basename(path).removesuffix(".tcl") for path in paths)
        return [name for name in names if "test " in self.source(name) or "source " in self.source(name)]

    def source(self, file):
        try:
            with open(os.path.join(self.units, file + ".tcl"), encoding="utf-8") as f:
                return f.read()
        except OSError:
            return ""

    def build_tree(self, scratch):
        """tests/ with a tests/sentinel/tmp to write to, and the programs in src/."""
        sentinel = os.path.join(scratch, "tests", "sentinel")
        os.makedirs(os.path.join(sentinel, "tmp"))
        os.makedirs(os.path.join(scratch, "src"))
        for name in ("instances.tcl", "support", "helpers", "sentinel/run.tcl", "sentinel/tests"):
            os.symlink(os.path.join(self.tests, name), os.path.join(scratch, "tests", name))
        for name in ("redis-sentinel", "redis-cli"):
            os.symlink(shutil.which(name), os.path.join(scratch, "src", name))
        server = os.path.join(scratch, "src", "redis-server")
        with open(server, "w", encoding="utf-8") as f:
            f.write(SERVER % self.ckv)
        os.chmod(server, 0o755)

    def command(self, file, outcomes, reasons):
        return ["tclsh", os.path.join(HERE, "sentinel.tcl"), file, outcomes, reasons, str(self.ports[file])]

    def share_ports(self, files):
        self.ports = dict(zip(files, random.sample(PORTS, len(files))))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckv", default="build/ckv", help="the server to test (default: build/ckv)")
    parser.add_argument("--results", metavar="DIR", help="write DIR/sentinel.tsv")
    parser.add_argument("--if-found", action="store_true",
                        help="a suite that is nowhere to be had is no error, but one skipped test")
    parser.add_argument("--table", default=TABLE, help="the class table (default: sentinel.tsv beside this)")
    parser.add_argument("--verbose", action="store_true", help="notes on what happened outside of tests, too")
    parser.add_argument("units", nargs="*", metavar="UNIT")
    options = parser.parse_args()
    options.seed, options.seconds = 0, SECONDS_MAX
    return options


def write_results(options, found):
    if options.results:
        results.write(options.results, "sentinel", [row._replace(suite="sentinel") for row in found])


def check(options):
    """That all it needs is there."""
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            target.fail("%s is missing: apt-get install %s" % (program, package))
    if not os.access(options.ckv, os.X_OK):
        target.fail("there is no %s: run make first" % options.ckv)


def main():
    options = parse()
    directory = run.find_or_leave(options, "the upstream suite's Sentinel tests", write_results)
    check(options)
    suite = SentinelSuite(directory, options)
    try:
        table = judge.read_table(options.table)
    except (OSError, ValueError, KeyError) as error:
        target.fail("the class table: %s" % error)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, run.interrupted)
    for unit in options.units:
        if not suite.source(unit):
            target.fail("the suite has no tests/sentinel/tests/%s.tcl" % unit)
    units = options.units or list(dict.fromkeys(suite.files() + [file for file, _ in table]))
    suite.share_ports(units)
    print("the Sentinel tests in %s against %s" % (directory, options.ckv), flush=True)
    found = run.run_all(run.Run(suite, table), units, len(units), options.verbose)
    write_results(options, found)
    print("%d passed, %d failed, %d skipped" % run.counts(found))
    return 1 if run.counts(found)[1] else 0


if __name__ == "__main__":
    sys.exit(main())
