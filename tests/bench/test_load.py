#!/usr/bin/env python3
"""test_load.py - bench/load.c: that it sends what it says, takes right replies for right, and notices wrong ones.

  tests/bench/test_load.py [CKV [LOAD]]

The last line is `N passed, N failed`.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "fault"))
from server import Server  # noqa: E402

CKV, LOAD = (os.path.join(ROOT, "build", name) for name in ("ckv", "load"))
RUN_S_MAX = 60
FILLING = ("set", "rpush", "sadd", "hset", "zadd")
SMALL = (("small_hash", "HLEN"), ("small_zset", "ZCARD"))
OTHERS = ("ping", "get", "mset", "exists", "incr", "lpush", "lrange_100", "lrange_300", "lrange_600", "sismember",
          "hget", "zscore", "zrank", "zrangebyscore", "lpop", "rpop", "spop", "del")


def run(*words, status=0):
    """What load prints: (its line of JSON or None, what it complains of)."""
    done = subprocess.run([LOAD, *map(str, words)], capture_output=True, text=True, check=False, timeout=RUN_S_MAX)
    if done.returncode != status:
        raise AssertionError("status %d: %s" % (done.returncode, done.stderr[-500:]))
    return json.loads(done.stdout) if done.stdout else None, done.stderr


class FakeServer:
    """Answers each request that it gets, whatever it is, by the next of some replies; the last of them again and
    again. Requests are counted by their CRLF. None: the connection is closed."""

    def __init__(self, directory, lines, *replies):
        self.path = os.path.join(directory, "fake.sock")
        self.lines, self.replies = lines, list(replies)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        connection, _ = self.listener.accept()
        seen = 0
        with connection:
            while data := connection.recv(65536):
                seen += data.count(b"\n")
                for _ in range(seen // self.lines):
                    if not self.answer(connection):
                        return
                seen %= self.lines

    def answer(self, connection):
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply is None:
            return False
        for part in reply if isinstance(reply, tuple) else (reply,):
            connection.sendall(part)
            time.sleep(0.01)
        return True

    def close(self):
        self.listener.close()
        self.thread.join()


class AgainstServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="ckv-load-")
        cls.server = Server(CKV, os.path.join(cls.folder.name, "data"))
        cls.server.start()
        cls.where = ("--socket", cls.server.path)

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()
        cls.folder.cleanup()

    def call(self, *words):
        connection = self.server.connect()
        reply = connection.call(*words)
        connection.close()
        return reply

    def test_1_fills(self):
        """Each key exactly once, whatever the number of keys has in common with anything."""
        for keys in (1, 2, 1000, 1024, 9973):
            self.call("FLUSHALL")
            for mix in FILLING:
                said, _ = run(*self.where, "--fill", "--mix", mix, "--keys", keys)
                self.assertEqual((said["requests"], said["built"], said["errors"]), (keys, keys, 0))
            for command, name in (("LLEN", "list"), ("SCARD", "set"), ("HLEN", "hash"), ("ZCARD", "zset")):
                self.assertEqual(self.call(command, "load:" + name), b":%d" % keys, command)
            self.assertEqual(self.call("DBSIZE"), b":%d" % (keys + 4))

    def test_2_every_command(self):
        """On the data of the test before: nothing is wrong, and what was filled isn't missed."""
        for mix in OTHERS:
            said, _ = run(*self.where, "--mix", mix, "--keys", 9973, "--requests", 5000, "--clients", 7)
            self.assertEqual((said["requests"], said["errors"], said["misses"]), (5000, 0, 0), mix)
            self.assertGreaterEqual(said["max_us"], said["p50_us"])

    def test_3_names(self):
        """The length of keys and members is as asked for."""
        self.call("FLUSHALL")
        for size in (14, 16, 64):
            run(*self.where, "--fill", "--keys", 10, "--key-size", size)
            self.assertEqual(self.call("STRLEN", "key:%0*d" % (size - 4, 7)), b":64")
        self.assertEqual(self.call("DBSIZE"), b":30")

    def test_3_small_collections(self):
        """Ten elements in each key."""
        for mix, count in SMALL:
            self.call("FLUSHALL")
            run(*self.where, "--fill", "--mix", mix, "--keys", 100, "--size", 16)
            self.assertEqual((self.call("DBSIZE"), self.call(count, "key:%012d" % 7)), (b":100", b":10"))

    def test_3_chance(self):
        """What another seed leaves over is spread by chance: of 9,973 keys, 90 % deleted, each tenth of the numbers
        keeps about a tenth of the rest."""
        self.call("FLUSHALL")
        run(*self.where, "--fill", "--keys", 9973)
        run(*self.where, "--mix", "del", "--keys", 9973, "--requests", 8973, "--seed", 2)
        self.assertEqual(self.call("DBSIZE"), b":1000")
        connection = self.server.connect()
        left = [sum(connection.call("EXISTS", "key:%012d" % n) == b":1" for n in range(first, first + 1000))
                for first in range(0, 9000, 1000)]
        connection.close()
        self.assertTrue(all(60 < count < 145 for count in left) and len(set(left)) > 3, left)

    def test_3_shapes(self):
        """Batches of any size, values of any size, TCP, silent connections, both ways to draw keys."""
        where = ("--port", self.server.port)
        for words in (("--pipeline", 1), ("--pipeline", 1000), ("--size", 0), ("--size", 20000, "--keys", 50),
                      ("--clients", 400, "--idle", 200), ("--zipf", 0.99), ("--zipf", 1), ("--zipf", 1.5),
                      ("--requests", 3), ("--requests", 10001, "--mix", "get:3,set:1,ping")):
            said, _ = run(*where, "--keys", 1000, "--requests", 3000, *words)
            self.assertEqual(said["errors"], 0, words)

    def test_4_large_replies(self):
        """Replies that need many receives are put together."""
        run(*self.where, "--fill", "--keys", 3, "--size", 3000000)
        said, _ = run(*self.where, "--mix", "get", "--keys", 3, "--size", 3000000, "--requests", 60, "--pipeline", 4)
        self.assertEqual((said["requests"], said["errors"], said["misses"]), (60, 0, 0))

    def test_5_zipf_is_skewed(self):
        """The share of the first key among 1,000 is 1 / H(1000) by exponent 1: 13.4 %."""
        self.call("FLUSHALL")
        run(*self.where, "--mix", "incr", "--keys", 1000, "--zipf", 1, "--requests", 100000)
        first, second = (int(self.call("GET", "counter:%012d" % n)[1:]) for n in (0, 1))
        self.assertAlmostEqual(first / 100000, 0.1336, delta=0.006)
        self.assertAlmostEqual(second / 100000, 0.0668, delta=0.005)

    def test_6_rate(self):
        """A fixed rate is kept; what is due and can't go is counted as late."""
        said, _ = run(*self.where, "--rate", 2000, "--seconds", 1, "--mix", "ping")
        self.assertAlmostEqual(said["requests"] + said["unsent"], 2000, delta=2)
        said, _ = run(*self.where, "--rate", 1e8, "--seconds", 0.5, "--mix", "ping", "--clients", 1, "--pipeline", 1)
        self.assertGreater(said["unsent"], 1000000)
        self.assertGreater(said["p99_us"], 200000)

    def test_7_told_to_stop(self):
        with subprocess.Popen([LOAD, *self.where, "--seconds", "1000"], stdout=subprocess.PIPE) as load:
            time.sleep(0.7)
            load.send_signal(signal.SIGTERM)
            said = json.loads(load.communicate(timeout=RUN_S_MAX)[0])
        self.assertEqual((load.returncode, said["errors"]), (0, 0))

    def test_8_another_value(self):
        """A key that was not written by load."""
        run(*self.where, "--fill", "--keys", 10)
        key = "key:%012d" % 7
        for value in ("short", "x" * 64):
            self.call("SET", key, value)
            said, complaint = run(*self.where, "--mix", "get", "--keys", 10, "--requests", 100, status=1)
            self.assertEqual(said["errors"], 10)
            self.assertIn("to get (key 7) it answered: $%d\\x0d\\x0a%s" % (len(value), value[:5]), complaint)

    def test_9_refused(self):
        """An error reply is an error; options that don't do are refused."""
        self.call("SET", "load:list", "a string")
        said, complaint = run(*self.where, "--mix", "lpush", "--requests", 50, status=1)
        self.assertEqual(said["errors"], 50)
        self.assertIn("WRONGTYPE", complaint)
        for words in ((), ("--port", 0), ("--port", "7x"), ("--keys", 0), ("--mix", "what"), ("--mix", ""),
                      ("--rate", -1), ("--zipf", "nan"), ("--nothing", 1), ("--size",), ("--mix", "get:0"),
                      ("--fill", "--mix", "ping"), ("--fill", "--mix", "mset"),
                      ("--fill", "--zipf", 1), ("--size", 1 << 40)):
            _, complaint = run(*(self.where if words else ()), *words, status=2)
            self.assertIn("--help", complaint, words)


class AgainstFakes(unittest.TestCase):
    def load(self, mix, lines, *replies, requests=3, status=1):
        with tempfile.TemporaryDirectory(prefix="ckv-load-") as directory:
            server = FakeServer(directory, lines, *replies)
            try:
                return run("--socket", server.path, "--mix", mix, "--clients", 1, "--pipeline", 1, "--requests",
                           requests, status=status)
            finally:
                server.close()

    def test_wrong_types(self):
        for mix, lines, reply in (("ping", 3, b"+OK\r\n"), ("ping", 3, b"$4\r\nPONG\r\n"), ("get", 5, b":1\r\n"),
                                  ("incr", 5, b"+1\r\n"), ("lrange_100", 9, b"*1\r\n:1\r\n"), ("rpop", 5, b"*0\r\n"),
                                  ("lrange_100", 9, b"$1\r\n1\r\n"), ("ping", 3, b"$-1\r\n")):
            said, complaint = self.load(mix, lines, reply)
            self.assertEqual(said["errors"], 3, (mix, reply))
            self.assertIn("to " + mix, complaint)

    def test_no_replies(self):
        for reply, complaint in ((b"what\r\n", "no reply"), (b"$x\r\n", "no reply"), (b":1x\r\n", "no reply"),
                                 (b":9223372036854775808\r\n", "no reply"), (b"$9999999999999999999\r\n", "no reply"),
                                 (b"$2\r\nabc\r\n", "no reply"), (None, "closed"), (b"+PONG\r\n+PONG\r\n", "nobody")):
            self.assertIn(complaint, self.load("ping", 3, b"+PONG\r\n", reply)[1], reply)

    def test_in_parts(self):
        """Replies that come byte by byte are right ones."""
        for mix, lines, reply in (("ping", 3, b"+PONG\r\n"), ("get", 5, b"$-1\r\n"), ("rpop", 5, b"$3\r\nabc\r\n"),
                                  ("incr", 5, b":9223372036854775807\r\n"), ("incr", 5, b":-9223372036854775808\r\n"),
                                  ("lrange_100", 9, b"*2\r\n$1\r\na\r\n$0\r\n\r\n"), ("lrange_100", 9, b"*0\r\n")):
            said, _ = self.load(mix, lines, tuple(bytes([byte]) for byte in reply), status=0)
            self.assertEqual((said["requests"], said["errors"]), (3, 0))


if __name__ == "__main__":
    for name, value in zip(("CKV", "LOAD"), sys.argv[1:]):
        globals()[name] = os.path.abspath(value)
    result = unittest.main(argv=sys.argv[:1], exit=False, verbosity=1).result
    wrong = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - wrong} passed, {wrong} failed")
    sys.exit(wrong > 0)
