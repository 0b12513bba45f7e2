#!/usr/bin/env python3
"""test_rdb.py - RDB files between ckv and real Redis servers: what one wrote the other must read, element by element.

  tests/rdb/test_rdb.py [CKV]

Debian's redis-server (7.0) is always one of them. Set REDIS32 to the redis-server of a 3.2.13 that you built, and it's
another; without it the tests with it are skipped.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

CKV = os.path.abspath("build/ckv")
REDIS = {"7.0": "redis-server", "3.2": os.environ.get("REDIS32", "")}
READY_S_MAX = 20
SEED = 20261125

# Of each Redis: what makes it write its other encodings.
VARIANTS = {
    "3.2": [[], ["--rdbcompression", "no", "--hash-max-ziplist-entries", "0", "--zset-max-ziplist-entries", "0",
                 "--set-max-intset-entries", "0", "--list-max-ziplist-size", "3", "--rdbchecksum", "no"],
            ["--hash-max-ziplist-entries", "5000", "--zset-max-ziplist-entries", "5000",
             "--set-max-intset-entries", "100000", "--list-max-ziplist-size", "-5", "--list-compress-depth", "1"]],
    "7.0": [[], ["--rdbcompression", "no", "--hash-max-listpack-entries", "0", "--zset-max-listpack-entries", "0",
                 "--set-max-intset-entries", "0", "--list-max-listpack-size", "3", "--rdbchecksum", "no",
                 "--maxmemory-policy", "allkeys-lfu", "--maxmemory", "1gb"],
            ["--hash-max-listpack-entries", "5000", "--zset-max-listpack-entries", "5000",
             "--set-max-intset-entries", "100000", "--list-max-listpack-size", "-5", "--list-compress-depth", "1",
             "--maxmemory-policy", "allkeys-lru", "--maxmemory", "1gb"]],
}


class Server:
    """A server of its own; its socket is in its directory."""

    def __init__(self, words, directory=None, name="redis.sock"):
        self.scratch = None if directory else tempfile.mkdtemp(prefix="ckv-rdb-")
        self.directory = directory or self.scratch
        self.path = os.path.join(self.directory, name)
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(words + ["--dir", self.directory], stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL)
        self.socket = self.connect()
        self.file = self.socket.makefile("rb")
        while b"LOADING" in self.line("PING"):
            time.sleep(0.02)

    def connect(self):
        end = time.monotonic() + READY_S_MAX
        while True:
            one = socket.socket(socket.AF_UNIX)
            try:
                one.connect(self.path)
                return one
            except OSError:
                one.close()
                if time.monotonic() > end or self.process.poll() is not None:
                    self.log.seek(0)
                    raise RuntimeError(self.log.read().decode(errors="replace"))
                time.sleep(0.02)

    def send(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

    def line(self, *words):
        self.send(*words)
        return self.file.readline()

    def reply(self):
        line = self.file.readline()
        mark, rest = line[:1], line[1:-2]
        if mark == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if mark == b"*":
            return [self.reply() for _ in range(int(rest))]
        if mark == b"-":
            raise RuntimeError(rest.decode())
        return int(rest) if mark == b":" else rest

    def do(self, *words):
        self.send(*words)
        return self.reply()

    def stop(self):
        self.file.close()
        self.socket.close()
        self.process.terminate()
        self.process.wait()
        self.log.close()
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)


def redis(version, *options, directory=None):
    return Server([REDIS[version], "--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", "redis.sock",
                   *options], directory)


def ckv(directory=None):
    return Server([CKV, "--port", "0"], directory, "ckv.sock")


def run(*words, data=None):
    return subprocess.run([CKV, *words], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)


# ---- datasets ----

def texts(dice, count, size):
    kinds = [lambda: b"%d" % dice.choice([0, 12, -1, 127, -128, 32767, 8388607, 2**31 - 1, -2**31, 2**63 - 1, -2**63]),
             lambda: b"%d" % dice.randrange(-2**40, 2**40),
             lambda: bytes(dice.randrange(256) for _ in range(dice.randrange(size))),
             lambda: b"abc" * dice.randrange(size // 3 + 1)]
    return [dice.choice(kinds)() for _ in range(count)]


def fill(server, dice):
    """Every type in every size, in three databases."""
    do = server.do
    for db, scale in ((0, 1), (1, 20), (9, 300)):
        do("SELECT", db)
        for i in range(40):
            for j, text in enumerate(texts(dice, 3, 10 * scale)):
                do("SET", b"string:%d:%d" % (i, j), text)
            do("RPUSH", "list:%d" % i, *texts(dice, dice.randrange(1, 4 * scale), 60))
            do("SADD", "set:%d" % i, *texts(dice, dice.randrange(1, 4 * scale), 60))
            do("SADD", "ints:%d" % i, *[dice.randrange(-10**(1 + i % 18), 10**(1 + i % 18)) for _ in range(2 * scale)])
            pairs = texts(dice, 2 * dice.randrange(1, 3 * scale), 60)
            do("HMSET", "hash:%d" % i, *pairs)
            for member in texts(dice, dice.randrange(1, 2 * scale), 60):
                score = dice.choice(["inf", "-inf", "0", "-3", "1e300", repr(dice.uniform(-9, 9)), str(2**53)])
                do("ZADD", "zset:%d" % i, score, member)
        do("RPUSH", "long elements", *[bytes([65 + k]) * 9000 * (k + 1) for k in range(5)])
        do("SET", "long", os.urandom(3 << 20))
        if db == 9:
            fill_big(do)
        for i in range(0, 40, 3):
            do("EXPIRE", "list:%d" % i, 100000 + i)
        do("PEXPIREAT", "string:1:1", 4102444800123)
        do("PEXPIRE", "set:1", 1)
    time.sleep(0.01)


def fill_big(do):
    """Collections that ckv keeps as pages, and that are too large for one RESTORE."""
    for start in range(0, 12000, 1000):
        names = [b"element %d of a big one %d" % (i, i * i) for i in range(start, start + 1000)]
        do("RPUSH", "big list", *names)
        do("SADD", "big set", *names)
        do("HMSET", "big hash", *[word for name in names for word in (name, name[::-1])])
        do("ZADD", "big zset", *[word for i, name in enumerate(names) for word in (i % 77 / 8, name)])
    do("EXPIRE", "big hash", 200000)


def value(server, key):
    kind = server.do("TYPE", key)
    if kind == b"string":
        return kind, server.do("GET", key)
    if kind == b"list":
        return kind, server.do("LRANGE", key, 0, -1)
    if kind == b"set":
        return kind, sorted(server.do("SMEMBERS", key))
    if kind == b"hash":
        flat = server.do("HGETALL", key)
        return kind, sorted(zip(flat[::2], flat[1::2]))
    flat = server.do("ZRANGE", key, 0, -1, "WITHSCORES")
    return kind, [(member, float(score)) for member, score in zip(flat[::2], flat[1::2])]


def dataset(server):
    """All there is: {(db, key): (type, value, the minute in which it expires)}."""
    found = {}
    for db in range(16):
        server.do("SELECT", db)
        for key in server.do("KEYS", "*"):
            left = server.do("TTL", key)
            if left == -2:
                continue
            found[db, key] = value(server, key) + (left if left < 0 else round((time.time() + left) / 60),)
    return found


class Case(unittest.TestCase):
    def assert_same(self, expected, actual):
        self.assertEqual(sorted(expected), sorted(actual))
        for key, one in expected.items():
            if one != actual[key]:
                wide = one[2] >= 0 and abs(one[2] - actual[key][2]) <= 1
                self.assertTrue(one[:2] == actual[key][:2] and wide, "%r: %.300r is %.300r" % (key, one, actual[key]))

    def assert_run(self, status, *words, says=b"", data=None):
        done = run(*words, data=data)
        self.assertEqual(status, done.returncode, done.stderr)
        self.assertIn(says, done.stdout + done.stderr)
        return done

    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="ckv-rdb-")
        self.addCleanup(shutil.rmtree, self.scratch, True)
        self.dice = random.Random(SEED)

    def path(self, name):
        return os.path.join(self.scratch, name)

    def server(self, make, *args, **options):
        server = make(*args, **options)
        self.addCleanup(server.stop)
        return server

    # ---- from Redis, and to it

    def from_redis(self, version, options):
        source = self.server(redis, version, *options)
        fill(source, self.dice)
        if version == "7.0":
            source.do("FUNCTION", "LOAD", "#!lua name=mylib\nredis.register_function('f', function() return 1 end)")
        source.do("SAVE")
        return dataset(source), os.path.join(source.directory, "dump.rdb")

    def check_into(self, expected, file):
        """Into a new directory, by a server, and again by export."""
        self.assert_run(0, "import", file, "--dir", self.path("data"), says=b"keys were imported")
        self.assert_run(0, "check", self.path("data"))
        target = ckv(self.path("data"))
        self.assert_same(expected, dataset(target))
        for db in (0, 1, 9):
            target.do("SELECT", db)
            target.do("SET", "written since", "x")
            target.do("DEL", "written since")
        self.assert_run(0, "export", self.path("live.rdb"), "--dir", self.path("data"))
        target.process.kill()
        target.stop()
        self.assert_run(0, "export", self.path("killed.rdb"), "--dir", self.path("data"))
        target = ckv(self.path("data"))
        self.assert_same(expected, dataset(target))
        target.stop()
        self.assert_run(0, "export", self.path("stopped.rdb"), "--dir", self.path("data"))

    def check_served(self, expected, file):
        """Into a running server."""
        target = self.server(ckv)
        self.assert_run(0, "import", file, "--socket", target.path, says=b"keys were imported")
        self.assert_same(expected, dataset(target))
        self.assert_run(1, "import", file, "--socket", target.path, says=b"BUSYKEY")
        self.assert_run(0, "import", file, "--socket", target.path, "--replace")
        self.assert_same(expected, dataset(target))

    def check_loads(self, expected, version, file):
        if not REDIS[version]:
            return
        directory = self.path("of " + version)
        os.mkdir(directory)
        shutil.copy(file, os.path.join(directory, "dump.rdb"))
        target = redis(version, directory=directory)
        self.assert_same(expected, dataset(target))
        target.stop()
        shutil.rmtree(directory)

    def check_version(self, version):
        if not REDIS[version]:
            self.skipTest("REDIS32 isn't set")
        for number, options in enumerate(VARIANTS[version]):
            with self.subTest(version=version, variant=number):
                expected, file = self.from_redis(version, options)
                self.check_into(expected, file)
                self.check_served(expected, file)
                for name in ("live.rdb", "killed.rdb", "stopped.rdb"):
                    for other in REDIS:
                        self.check_loads(expected, other, self.path(name))
                shutil.rmtree(self.path("data"))

    def test_redis_7(self):
        self.check_version("7.0")

    def test_redis_32(self):
        self.check_version("3.2")

    def test_plain_nodes(self):
        source = self.server(redis, "7.0", "--enable-debug-command", "yes")
        source.do("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "100b")
        source.do("RPUSH", "list", *[b"x" * 30 * k for k in range(20)])
        source.do("SAVE")
        self.check_into(dataset(source), os.path.join(source.directory, "dump.rdb"))

    def test_import_is_killed(self):
        """Its steps are undone from the last one on: what a server finds is what it finds if the import was killed."""
        source = self.server(redis, "7.0")
        fill(source, self.dice)
        source.do("SAVE")
        expected, file = dataset(source), os.path.join(source.directory, "dump.rdb")
        for undone in range(4):
            with self.subTest(undone=undone):
                data = self.path("data%d" % undone)
                self.assert_run(0, "import", file, "--dir", data)
                building = os.path.join(data, "import.tmp")
                self.assertFalse(os.path.exists(building))
                os.mkdir(building)
                for name in ("MANIFEST", "checkpoint-a.gdbm", "journal")[:undone]:
                    os.rename(os.path.join(data, name), os.path.join(building, name))
                target = self.server(ckv, data)
                self.assertFalse(os.path.exists(building))
                self.assert_same(expected, dataset(target))
        with self.subTest("it was still reading"):
            data = self.path("data")
            os.makedirs(os.path.join(data, "import.tmp", "journal"))
            self.assert_run(0, "import", file, "--dir", data)
            self.assert_same(expected, dataset(self.server(ckv, data)))

    # ---- DUMP and RESTORE

    def check_payloads(self, version):
        if not REDIS[version]:
            self.skipTest("REDIS32 isn't set")
        source, target = self.server(redis, version), self.server(ckv)
        fill(source, self.dice)
        source.do("SELECT", 9)
        for key in source.do("KEYS", "*"):
            expected = value(source, key)
            target.do("RESTORE", key, 0, source.do("DUMP", key))
            self.assertEqual(expected, value(target, key))
            source.do("RESTORE", key, 0, target.do("DUMP", key), "REPLACE")
            self.assertEqual(expected, value(source, key))

    def test_payloads_7(self):
        self.check_payloads("7.0")

    def test_payloads_32(self):
        self.check_payloads("3.2")

    # ---- what is refused

    def test_streams(self):
        source = self.server(redis, "7.0")
        source.do("SET", "a", "1")
        source.do("XADD", "events", "*", "field", "value")
        source.do("SAVE")
        file = os.path.join(source.directory, "dump.rdb")
        self.assert_run(1, "import", file, "--dir", self.path("data"), says=b'key "events": a value of type stream')
        self.assertEqual(["ckv.lock"], os.listdir(self.path("data")))
        with self.assertRaisesRegex(RuntimeError, "Bad data format"):
            self.server(ckv).do("RESTORE", "x", 0, source.do("DUMP", "events"))

    def test_directories(self):
        target = self.server(ckv)
        target.do("SET", "a", "1")
        self.assert_run(0, "export", self.path("a.rdb"), "--dir", target.directory)
        self.assert_run(1, "import", self.path("a.rdb"), "--dir", target.directory, says=b"is using this directory")
        self.assert_run(0, "import", self.path("a.rdb"), "--dir", self.path("new"), says=b"1 keys were imported")
        self.assert_run(1, "import", self.path("a.rdb"), "--dir", self.path("new"), says=b"has data")
        self.assert_run(1, "import", self.path("none.rdb"), "--dir", self.path("new"), says=b"No such file")
        self.assert_run(1, "export", self.path("none/b.rdb"), "--dir", target.directory, says=b"No such file")
        self.assert_run(2, "import", says=b"usage")
        self.assert_run(2, "export", self.path("b.rdb"), "--backup", "../x", says=b"no backup's ID")
        self.assertEqual(["a.rdb", "new"], sorted(os.listdir(self.scratch)))

    def test_pipes(self):
        target = self.server(ckv)
        target.do("SET", "a", "1")
        whole = self.assert_run(0, "export", "-", "--socket", target.path).stdout
        self.assert_run(0, "import", "-", "--dir", self.path("data"), data=whole, says=b"1 keys were imported")
        self.assert_run(1, "import", "-", "--dir", self.path("cut"), data=whole[:-3], says=b"isn't complete")
        damaged = whole.replace(b"\x01a", b"\x01b")
        self.assert_run(1, "import", "-", "--dir", self.path("cut"), data=damaged, says=b"checksum is wrong")
        self.assertEqual(["ckv.lock"], os.listdir(self.path("cut")))


class Counts(unittest.TextTestResult):
    def counts(self):
        failed = len({test.id() for test, _ in self.failures + self.errors})
        return self.testsRun - failed - len(self.skipped), failed, len(self.skipped)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        CKV = os.path.abspath(sys.argv.pop(1))
    if not shutil.which("redis-server"):
        print("redis-server isn't installed\n0 passed, 0 failed, 1 skipped")
        sys.exit(0)
    result = unittest.main(exit=False, testRunner=unittest.TextTestRunner(resultclass=Counts)).result
    print("%d passed, %d failed, %d skipped" % result.counts())
    sys.exit(0 if result.wasSuccessful() else 1)
