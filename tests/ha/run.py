#!/usr/bin/env python3
"""run.py - runs all tests of replication and failover, in some two minutes, or with --rounds many failovers and more of
the rest; the last line has the counts of all.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "fault"))
from run import follow  # noqa: E402

CONVERGE_A_FAILOVER = 4


def steps(rounds):
    if rounds is None:
        return [("mirror", ()), ("converge", ()), ("switch", ()), ("failover", ()),
                ("partition", ())]
    return [("mirror", ("--seeds", str(rounds))), ("converge", ("--rounds", str(rounds * CONVERGE_A_FAILOVER))),
            ("switch", ("--rounds", str(rounds))), ("failover", ("--rounds", str(rounds))), ("partition", ())]


def run_step(ckv, name, options):
    """Counts of a script: (passed, failed, skipped)."""
    print("== %s %s" % (name, " ".join(options)), flush=True)
    command = [sys.executable, os.path.join(HERE, name + ".py"), "--ckv", ckv, *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace") as process:
        return follow(process) or (0, 1, 0)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--rounds", type=int, help="failovers of a long run")
    args = options.parse_args()
    totals = (0, 0, 0)
    for name, words in steps(args.rounds):
        totals = tuple(map(sum, zip(totals, run_step(args.ckv, name, words))))
    print("%d passed, %d failed, %d skipped" % totals)
    return totals[1] != 0


if __name__ == "__main__":
    sys.exit(main())
