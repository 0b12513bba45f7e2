#!/usr/bin/env python3
"""replay.py - replay the golden transcripts against a ckv that it starts.

  compat/replay.py [--ckv build/ckv] [TRANSCRIPT...]

Starts the server twice, without a password and with one (for the transcripts that need it), and checks each time that
it stops cleanly. The last line is `N passed, N failed`; exit status 1 after any failure.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")
PASSWORD = "crs-golden:secret"
READY_S_MAX = 10
STOP_S_MAX = 20


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
        sys.exit("the server did not become ready:\n" + f.read())


def replay(ckv, options, password, transcripts):
    """Runs the transcripts against a fresh server: [passed, failed]."""
    with tempfile.TemporaryDirectory(prefix="ckv-golden-") as scratch:
        log = os.path.join(scratch, "log")
        command = [ckv, "--port", "0", "--dir", scratch, "--admin-plane", "all"] + options
        with open(log, "w") as f:
            server = subprocess.Popen(command, stdout=f, stderr=f, stdin=subprocess.DEVNULL)
        port = wait_ready(server, log)
        check = [sys.executable, os.path.join(GOLDEN, "golden.py"), "check", "--port", port,
                 "--differences", os.path.join(GOLDEN, "differences.txt")] + password + transcripts
        output = subprocess.run(check, stdout=subprocess.PIPE, text=True).stdout
        print(output, end="", flush=True)
        counts = re.search(r"(\d+) passed, (\d+) failed\n\Z", output)
        passed, failed = map(int, counts.groups()) if counts else (0, 1)
        server.send_signal(signal.SIGTERM)
        try:
            status = server.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            server.kill()
            status = "did not stop"
        if status != 0:
            failed += 1
            with open(log, errors="replace") as f:
                print("FAIL the server's exit: %s; its log ends:\n%s" % (status, f.read()[-4000:]))
        return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckv", default="build/ckv")
    parser.add_argument("transcripts", nargs="*", default=[GOLDEN])
    options = parser.parse_args()
    instance, secret = PASSWORD.split(":")
    runs = [
        replay(options.ckv, [], [], options.transcripts),
        replay(options.ckv, ["--instance-id", instance, "--password", secret], ["--password", PASSWORD],
               [os.path.join(GOLDEN, "connection", "auth-password.golden")]),
    ]
    passed, failed = map(sum, zip(*runs))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
