#!/usr/bin/env python3
"""replay.py - replay the golden transcripts against a ckv that it starts, or against a server that is up already.

  compat/replay.py [--ckv build/ckv] [--results DIR] [TRANSCRIPT...]
  compat/replay.py --target HOST:PORT [--auth PASSWORD] [--force] [--results DIR] [TRANSCRIPT...]

A ckv of its own is started twice, without a password and with one (for the transcripts that need it), and must stop
cleanly each time. There, a reply that the table of differences names must be the different one.

A target is used through the service plane only, and EMPTIED before each case: one that holds keys is refused without
--force. Where the table of differences names a reply, Redis' own is as good there; the output says how often it came.

With --results, DIR/transcripts.tsv tells of each case (see results.py). The last line is `N passed, N failed`, counting
replies. Exit status: 0 passed, 1 something failed, 2 it could not be run.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import results
import target

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")
PASSWORD = "crs-golden:secret"
READY_S_MAX = 10
STOP_S_MAX = 20


class Tally:
    """The replies that were compared, and what golden.py tells of the cases."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.cases = {}  # {(transcript, title): case}

    def add(self, case):
        """A case that one run skips and another runs was run."""
        key = os.path.relpath(case["path"], GOLDEN).replace(".golden", ""), case["title"]
        if key not in self.cases or self.cases[key]["skipped"]:
            self.cases[key] = case

    def row(self, key):
        case = self.cases[key]
        commands = " ".join("%s*%d" % item for item in sorted(case["commands"].items()))
        if case["skipped"]:
            status, detail = "skipped", case["skipped"]
        elif case["failed"]:
            status, detail = "failed", "\n".join(case["failures"])
        else:
            shown = [name for name, (as_due, _) in sorted(case["differences"].items()) if as_due]
            status, detail = "passed", " ".join(shown)
        return results.Row("transcripts", key[0], key[1], "difference" if case["differences"] else "run", status,
                           case["passed"] + case["failed"], case["seconds"], commands, detail)


def golden(tally, options):
    """Runs golden.py and adds up what it found."""
    with tempfile.NamedTemporaryFile("r", prefix="ckv-cases-", encoding="utf-8") as cases:
        check = [sys.executable, os.path.join(GOLDEN, "golden.py"), "check", "--cases", cases.name,
                 "--differences", os.path.join(GOLDEN, "differences.txt")]
        output = subprocess.run(check + options, stdout=subprocess.PIPE, text=True).stdout
        print(output, end="", flush=True)
        counts = re.search(r"(\d+) passed, (\d+) failed\n\Z", output)
        passed, failed = map(int, counts.groups()) if counts else (0, 1)
        tally.passed += passed
        tally.failed += failed
        for line in cases:
            tally.add(json.loads(line))


def wait_ready(server, log):
    """The port that the server says it listens on."""
    end = time.time() + READY_S_MAX
    while time.time() < end and server.poll() is None:
        with open(log, errors="replace") as f:
            said = re.search(r"ready to accept connections[^\n]*\b(\d+)[^\d\n]*\n", f.read())
        if said:
            return said.group(1)
        time.sleep(0.01)
    server.kill()
    with open(log, errors="replace") as f:
        target.fail("the server did not become ready:\n" + f.read())


def replay_own(tally, ckv, options, password, transcripts):
    """Runs the transcripts against a fresh server."""
    with tempfile.TemporaryDirectory(prefix="ckv-golden-") as scratch:
        log = os.path.join(scratch, "log")
        command = [ckv, "--port", "0", "--dir", scratch, "--admin-plane", "all"] + options
        with open(log, "w") as f:
            server = subprocess.Popen(command, stdout=f, stderr=f, stdin=subprocess.DEVNULL)
        golden(tally, ["--port", wait_ready(server, log)] + password + transcripts)
        server.send_signal(signal.SIGTERM)
        try:
            status = server.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            server.kill()
            status = "did not stop"
        if status != 0:
            tally.failed += 1
            with open(log, errors="replace") as f:
                text = "the server's exit: %s; its log ends:\n%s" % (status, f.read()[-4000:])
            print("FAIL " + text)
            tally.add({"path": os.path.join(GOLDEN, "server"), "title": "the server stops cleanly", "skipped": "",
                       "passed": 0, "failed": 1, "commands": {}, "differences": {}, "seconds": 0, "failures": [text]})


def replay_target(tally, options):
    host, port = target.parse(options.target)
    target.check_empty(host, port, options.auth, options.force)
    password = ["--password", options.auth] if options.auth else []
    golden(tally, ["--host", host, "--port", str(port), "--flush", "del", "--either"] + password + options.transcripts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckv", default="build/ckv", help="the server to start (default: build/ckv)")
    parser.add_argument("--target", metavar="HOST:PORT", help="test a server that is up already; EMPTIES IT")
    parser.add_argument("--auth", default="", metavar="PASSWORD", help="its password, as AUTH takes it")
    parser.add_argument("--force", action="store_true", help="even if it holds keys")
    parser.add_argument("--results", metavar="DIR", help="write DIR/transcripts.tsv")
    parser.add_argument("transcripts", nargs="*", default=[GOLDEN], metavar="TRANSCRIPT")
    options = parser.parse_args()
    tally = Tally()
    if options.target:
        replay_target(tally, options)
    elif not os.access(options.ckv, os.X_OK):
        target.fail("there is no %s: run make first" % options.ckv)
    else:
        instance, secret = PASSWORD.split(":")
        replay_own(tally, options.ckv, [], [], options.transcripts)
        replay_own(tally, options.ckv, ["--instance-id", instance, "--password", secret], ["--password", PASSWORD],
                   [os.path.join(GOLDEN, "connection", "auth-password.golden")])
    if options.results:
        results.write(options.results, "transcripts", map(tally.row, tally.cases))
    print("%d passed, %d failed" % (tally.passed, tally.failed))
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
