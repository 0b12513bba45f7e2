#!/usr/bin/env python3
"""report.py - write the compatibility report from what the suites found.

  compat/report.py [--results build/results] [--out build/report] [--suites NAME,...] [--target HOST:PORT]

Reads a table for each suite (see results.py), the matrix from build/matrix and the differences from differences.tsv.
Writes REPORT.md, report.html (one file, nothing beside it) and report.xml (JUnit) into the folder --out. --suites names
those that are due: one without results is shown as not run, and makes the exit status 2.

The last line is `N passed, N failed, N skipped`, counting tests. Exit status: 0 passed, 1 something failed, 2 a suite
was not run, or the report could not be written.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import datetime
import os
import platform
import re
import subprocess
import sys

import differences
import results
from reporting import content, evidence, junit, markdown, page
from target import fail

HERE = os.path.dirname(os.path.abspath(__file__))


def output(*command):
    """What a command prints, or nothing."""
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip("\n") if run.returncode == 0 else ""


def system():
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return "%s, %s, %d processors" % (name, platform.machine(), os.cpu_count())


def facts(options, suites):
    """What was tested, against what, when and where."""
    commit = output("git", "-C", HERE, "describe", "--always", "--tags", "--dirty", "--abbrev=10")
    version = output(options.ckv, "--version").split("\n")[0]
    built = "%s, commit %s" % (version or "ckv", commit or "unknown")
    told = [("server", options.target)] if options.target else []
    told.append(("tests of" if options.target else "server", built))
    oracles = ["Redis 3.2.13 (upstream suite, transcripts)"]
    if any(suite.name == "differential" and suite.was_run for suite in suites):
        found = re.search(r"v=(\S+)", output("redis-server", "--version"))
        oracles.append("Redis %s (differential)" % (found.group(1) if found else "of unknown version"))
    told.append(("compared with", ", ".join(oracles)))
    moments = [suite.written for suite in suites if suite.written is not None]
    if moments:
        moment = datetime.datetime.fromtimestamp(max(moments), datetime.timezone.utc)
        told.append(("run", moment.strftime("%Y-%m-%d %H:%M UTC")))
    return told + [("machine", system())]


def gather(options):
    for name in options.suites:
        if name not in evidence.KINDS:
            fail("there is no suite %s, but: %s" % (name, ", ".join(evidence.KINDS)))
    built = os.path.getmtime(options.ckv) if os.path.exists(options.ckv) and not options.target else None
    listed = output(options.matrix, "--tsv")
    if not listed:
        fail("%s does not tell the matrix: run make %s" % (options.matrix, options.matrix))
    try:
        suites = [evidence.load_suite(options.results, name, built) for name in options.suites]
        return evidence.Evidence(suites, evidence.parse_matrix(listed), differences.load(), facts(options, suites))
    except (results.Malformed, ValueError, OSError) as error:
        fail(str(error))


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(path + ".new", path)
    print("wrote " + path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default="build/results", metavar="DIR", help="the suites' tables")
    parser.add_argument("--out", default="build/report", metavar="DIR", help="where to write")
    parser.add_argument("--suites", default=",".join(evidence.KINDS), type=lambda text: text.split(","),
                        metavar="NAME,...", help="the suites that are due (default: %(default)s)")
    parser.add_argument("--ckv", default="build/ckv", help="the server that was tested")
    parser.add_argument("--matrix", default="build/matrix", help="the program that prints the matrix")
    parser.add_argument("--target", metavar="HOST:PORT", help="the server that was tested, if it was another")
    options = parser.parse_args()
    found = gather(options)
    try:
        os.makedirs(options.out, exist_ok=True)
        write(options.out, "REPORT.md", markdown.render(found))
        write(options.out, "report.html", page.render(found))
        write(options.out, "report.xml", junit.render(found))
    except OSError as error:
        fail("the report: %s" % error)
    state, headline, _ = content.verdict(found)
    print(headline + ".")
    print("%d passed, %d failed, %d skipped" % (found.count.passed, found.count.failed, found.count.skipped))
    return {"passed": 0, "failed": 1, "incomplete": 2}[state]


if __name__ == "__main__":
    sys.exit(main())
