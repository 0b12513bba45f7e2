#!/usr/bin/env python3
"""test_replay.py - compat/replay.py against a server that is up already: what it refuses to empty, what it accepts,
what its table tells. The server is a ckv that opens no admin plane, as a service would be.

  tests/report/test_replay.py [CKV]

The last line is `N passed, N failed, N skipped`.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "compat"))
import results  # noqa: E402

CKV = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 else os.path.join(ROOT, "build", "ckv"))
READY_S_MAX = 10
# Cases that meet a difference as ckv answers it, that meet one as Redis does, that fail, and that are skipped.
TRANSCRIPT = """\
@case as ckv
> "SET" "k" "v" "EX" "5"
< "+OK\\r\\n"
> "PTTL" "k"
< "$4\\r\\nnone\\r\\n"
@case as recorded
> "GET" "none"
< "$-1\\r\\n"
@case fails
> "GET" "none"
< "+what\\r\\n"
@case elsewhere
@needs nopassword
> "GET" "none"
< "$-1\\r\\n"
"""
DIFFERENCES = """\
t.golden:5 pttl-seconds <? int
t.golden:8 string-32mb < "+no\\r\\n"
"""


class TargetTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="ckv-target-")
        log = os.path.join(self.folder.name, "log")
        with open(log, "w", encoding="utf-8") as f:
            self.server = subprocess.Popen([CKV, "--port", "0", "--dir", self.folder.name, "--instance-id", "me",
                                            "--password", "secret"], stdout=f, stderr=f)
        end = time.time() + READY_S_MAX
        said = None
        while said is None and time.time() < end:
            time.sleep(0.01)
            with open(log, encoding="utf-8") as f:
                said = re.search(r"ready to accept connections[^\n]*\b(\d+)[^\d\n]*\n", f.read())
        self.port = int(said.group(1))

    def tearDown(self):
        self.server.terminate()
        self.server.wait(20)
        self.folder.cleanup()

    def replay(self, *options, program="replay.py"):
        return subprocess.run([sys.executable, os.path.join(ROOT, "compat", program), *options],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)

    def target(self, *options, auth="me:secret"):
        return self.replay("--target", "127.0.0.1:%d" % self.port, "--auth", auth, *options)

    def store(self, key):
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"AUTH me:secret\r\nSELECT 3\r\nSET %s 1\r\nQUIT\r\n" % key)
            while connection.recv(4096):
                pass

    def test_a_family(self):
        run = self.target("--results", self.folder.name, os.path.join(ROOT, "compat", "golden", "strings"))
        self.assertEqual(run.returncode, 0, run.stdout)
        rows = results.read(os.path.join(self.folder.name, "transcripts.tsv"))
        passed = int(re.search(r"^(\d+) passed, 0 failed\n\Z", run.stdout, re.M).group(1))
        self.assertEqual(sum(row.checks for row in rows), passed)
        self.assertTrue(any(row.detail == "string-32mb" and row.kind == "difference" for row in rows))

    def test_keys_are_safe(self):
        self.store(b"precious")
        run = self.target()
        self.assertEqual(run.returncode, 2)
        self.assertIn("holds keys (1 in database 3)", run.stderr)
        self.assertIn("FORCE=1", run.stderr)
        forced = self.target("--force", os.path.join(ROOT, "compat", "golden", "connection", "connection.golden"))
        self.assertEqual(forced.returncode, 0, forced.stdout)

    def test_usage(self):
        self.assertIn("does not take the password", self.target(auth="me:wrong").stderr)
        for options, said in ((("--target", "nonsense"), "HOST:PORT"), (("--target", "127.0.0.1:1"), "no server at"),
                              (("--ckv", "/nonexistent"), "run make first")):
            run = self.replay(*options)
            self.assertEqual(run.returncode, 2)
            self.assertIn(said, run.stderr)

    def test_either_reply(self):
        path = os.path.join(self.folder.name, "t.golden")
        for name, text in (("t.golden", TRANSCRIPT), ("differences.txt", DIFFERENCES)):
            with open(os.path.join(self.folder.name, name), "w", encoding="utf-8") as f:
                f.write(text)
        run = self.replay("check", "--port", str(self.port), "--password", "me:secret", "--flush", "del", "--either",
                          "--differences", os.path.join(self.folder.name, "differences.txt"), path,
                          program=os.path.join("golden", "golden.py"))
        self.assertIn("1 replies are Redis' own where the table of differences has another", run.stdout)
        self.assertTrue(run.stdout.endswith("3 cases, 1 cases skipped (@needs)\n3 passed, 1 failed\n"), run.stdout)

    def test_unknown_difference(self):
        table = os.path.join(self.folder.name, "differences.txt")
        with open(table, "w", encoding="utf-8") as f:
            f.write("t.golden:1 made-up < \"+OK\\r\\n\"\n")
        run = self.replay("check", "--port", str(self.port), "--differences", table, ROOT,
                          program=os.path.join("golden", "golden.py"))
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("differences.tsv has no made-up", run.stderr)


def main():
    run = unittest.main(exit=False).result
    bad = len(run.failures) + len(run.errors)
    print("%d passed, %d failed, %d skipped" % (run.testsRun - bad - len(run.skipped), bad, len(run.skipped)))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
