#!/usr/bin/env python3
"""test_bench.py - bench/bench.py: that it measures every row, and writes its table and chart. No figure decides.

  tests/bench/test_bench.py [BUILD]

The last line is `N passed, N failed`.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import subprocess
import sys
import tempfile
import unittest
from xml.etree import ElementTree

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "bench"))
from bench import SECTIONS, Row  # noqa: E402
from results import chart, figure, markdown, write_results  # noqa: E402
from subject import Found, Peer  # noqa: E402

BUILD = os.path.join(ROOT, "build")
RUN_S_MAX = 300
TINY = ("--keys", "10000", "--seconds", "0.03", "--reps", "1")
FOUND = Found(1000.0, 1.0, 0.5, 10.0, 20.0, 30.0)
NAN = float("nan")
WORKS = ("GET, -P 64", "SET, -P 1", "INCR, -P 16", "PING, -P 64", "LPUSH", "RPOP", "SADD", "HSET", "SPOP", "MSET",
                  "LRANGE_100", "LRANGE_300", "LRANGE_600", "ZADD", "ZRANK", "ZRANGEBYSCORE", "100000 keys", "everysec",
                  "p99.9", "100 connections", "50 connections", "a key of 16 + 64", "member of 15 bytes, sorted set",
                  "a field of 14", "member of 15 bytes, set", "an element of 16", "a hash of 10",
                  "a sorted set of 10", "90 % of", "longest PING", "full checkpoint", "start, s", "used_memory")


def run(*words, **environment):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, timeout=RUN_S_MAX,
                          env=dict(os.environ, **environment))
    return done.returncode, done.stdout + done.stderr


def read(directory, name):
    with open(os.path.join(directory, name), encoding="utf-8") as file:
        return file.read()


def row(what, met, found=None):
    return Row("Part", what, 5.0, 10.0, "%.0f", "2 times", met, found, "--mix get")


class Runs(unittest.TestCase):
    def test_training(self):
        """What `make release` learns from runs to its end."""
        status, said = run(os.path.join(ROOT, "bench", "train.py"), "--ckv", os.path.join(BUILD, "ckv"), "--load",
                           os.path.join(BUILD, "load"), "--keys", 2000)
        self.assertEqual((status, said), (0, ""))

    def test_everything(self):
        """All rows, of all sections, against redis-server."""
        with tempfile.TemporaryDirectory(prefix="ckv-bench-test-") as out:
            status, said = run(os.path.join(ROOT, "bench", "bench.py"), "--build", BUILD, *TINY, "--out", out)
            self.assertEqual(status, 0, said[-3000:])
            table = read(out, "RESULTS.md")
            ElementTree.parse(os.path.join(out, "results.svg"))
        for section, _ in SECTIONS:
            self.assertIn("\n## %s\n" % section, table)
        for what in WORKS:
            self.assertIn(what, table)
        for name in ("| ckv | commit ", "| against | redis 7", "| command | `bench/bench.py --build"):
            self.assertIn(name, table)
        self.assertNotIn("could not be measured", table)

    def test_peers(self):
        """Another server, by a command; one that doesn't start is an error, and its rows' absence is told."""
        with tempfile.TemporaryDirectory(prefix="ckv-bench-test-") as out:
            peers = (os.path.join(ROOT, "bench", "peers"), "--build", BUILD, *TINY, "--out", out, "--only")
            status, said = run(*peers, "stall", PEER="redis-server --port %p --dir %d")
            self.assertEqual(status, 0, said[-3000:])
            self.assertIn("# ckv against redis-server, measured", read(out, "RESULTS.md"))
            status, said = run(*peers, "lrange", PEER="redis-server --no-such-option %p")
            self.assertEqual(status, 1, said[-3000:])
            self.assertIn("does not start", said)
        status, said = run(os.path.join(ROOT, "bench", "peers"), PEER="")
        self.assertEqual(status, 2)
        self.assertIn("PEER=", said)

    def test_peer_words(self):
        peer = Peer("some/valkey-server --port %p --dir '%d' --save ''", "/parent", "load")
        peer.port = 7
        self.assertEqual(peer.name, "valkey-server")
        self.assertEqual(peer.command(None, False), ["some/valkey-server", "--port", "7", "--dir",
                                                     "/parent/valkey-server", "--save", ""])


class Results(unittest.TestCase):
    NAMES = ("ckv", "a<b")

    def test_rows_stay(self):
        """Whatever their outcome; what has no figure is a dash."""
        rows = [row("won", True), row("lost", False, (FOUND, FOUND)), row("lost <too>", False), row("plain", None),
                Row("Part", "alone", 5.0, NAN, "%.1f", "-", None, None, "")]
        table = markdown(rows, [("ckv", "commit 1")], ["a note"], self.NAMES)
        self.assertIn("1 of 3 targets", table)
        self.assertIn("| lost <too> | 5 | 10 | 0.50 | 2 times | **NO** | `--mix get` |", table)
        self.assertIn("| lost | 5 | 10 | 0.50 | 2 times | **NO** | 1.00 / 1.00 | 10 / 10 |", table)
        self.assertIn("| alone | 5.0 | - | - | - |  | - |", table)
        for text in ("| ckv | commit 1 |", "a note"):
            self.assertIn(text, table)
        drawn = ElementTree.fromstring(chart(rows, self.NAMES))
        shown = [node.text for node in drawn.iter() if node.text]
        for text in ("won ✓", "lost ✗", "lost <too> ✗", "plain", "alone", "5.0"):
            self.assertIn(text, shown)

    def test_no_rows(self):
        with tempfile.TemporaryDirectory(prefix="ckv-bench-test-") as out:
            write_results(os.path.join(out, "new"), [], [], [], self.NAMES)
            self.assertEqual(sorted(os.listdir(os.path.join(out, "new"))), ["RESULTS.md", "results.svg"])

    def test_figures(self):
        self.assertEqual([figure("%.0f", 1234567.2), figure("%.2f", 1.234), figure("%.0f", NAN)],
                         ["1,234,567", "1.23", "-"])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        BUILD = os.path.abspath(sys.argv[1])
    result = unittest.main(argv=sys.argv[:1], exit=False, verbosity=1).result
    wrong = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - wrong} passed, {wrong} failed")
    sys.exit(wrong > 0)
