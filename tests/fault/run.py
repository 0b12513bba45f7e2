#!/usr/bin/env python3
"""run.py - runs all the fault tests, or with --quick a sample that takes minutes; the last line has the counts of all.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import re
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")
QUICK_S_MAX = 240
LONG_S_MAX = 6 * 3600


def quick_steps(args):
    seed = ("--seed", str(args.seed)) if args.seed is not None else ()
    return [("kill", ("--rounds", "10", *seed)), ("nth", ("--sample", "12", *seed)), ("full", ()),
            ("flip", ("--sample", "60", "--checkpoints", "2")), ("start", ()), ("rollback", ()),
            ("powercut", ("--cuts", "20", "--tries", "1", *seed)), ("sync", ("--step", "5")),
            ("resync", ("--keys", "50000")), ("clock", ())]


def long_steps(args):
    seed = ("--seed", str(args.seed)) if args.seed is not None else ()
    steps = [("kill", ("--rounds", str(args.rounds), *seed)), ("nth", ("--fsync", "always,everysec,no", *seed)),
             ("full", ()), ("start", ()), ("rollback", ()), ("sync", ()), ("resync", ()), ("clock", ()), ("flip", ()),
             ("flip", ("--by", "server", "--sample", "300")), ("powercut", ("--cuts", "400", "--tries", "6", *seed))]
    if args.sanitized:
        clean = ("--ckv", args.sanitized)
        steps += [("kill", ("--rounds", "20", *clean)), ("flip", ("--sample", "1000", *clean)), ("rollback", clean),
                  ("resync", ("--keys", "100000", *clean))]
    return steps


def run_step(args, name, options):
    """Counts of a script: (passed, failed, skipped)."""
    print("== %s %s" % (name, " ".join(options)), flush=True)
    command = [sys.executable, os.path.join(HERE, name + ".py"), "--ckv", args.ckv, *options]
    if name in ("nth", "full", "powercut", "sync", "resync"):
        command += ["--library", args.library]
    if name == "clock":
        command += ["--library", args.clock]
    start = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace") as process:
        timer = threading.Timer(QUICK_S_MAX if args.quick else LONG_S_MAX, process.terminate)
        timer.start()
        counts = follow(process)
        timer.cancel()
    print("-- %s: %d s" % (name, time.monotonic() - start), flush=True)
    return counts or (0, 1, 0)


def follow(process):
    """Passes on what a script prints; its counts, or None if it has none at its end."""
    counts = None
    for line in process.stdout:
        match = COUNTS.match(line.strip())
        counts = tuple(int(count or 0) for count in match.groups()) if match else None
        print(line, end="", flush=True)
    process.wait()
    return counts


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--library", default="build/iofault.so", metavar="PATH", help="iofault.so")
    options.add_argument("--clock", default="build/clockstep.so", metavar="PATH", help="clockstep.so")
    options.add_argument("--sanitized", metavar="PATH", help="a ckv with sanitizers, for some of them again")
    options.add_argument("--rounds", type=int, default=200, help="kills of each fsync mode")
    options.add_argument("--quick", action="store_true")
    options.add_argument("--seed", type=int)
    args = options.parse_args()
    totals = (0, 0, 0)
    for name, words in (quick_steps if args.quick else long_steps)(args):
        totals = tuple(map(sum, zip(totals, run_step(args, name, words))))
    print("%d passed, %d failed, %d skipped" % totals)
    return totals[1] != 0


if __name__ == "__main__":
    sys.exit(main())
