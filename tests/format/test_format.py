#!/usr/bin/env python3
"""test_format.py - is store/FORMAT.md true, and enough? A reader that was written from that page alone (disk.py) reads
what a server wrote, and finds the very data that the server answers with.

  tests/format/test_format.py [CKV]

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import disk

CKV = os.path.abspath("build/ckv")
READY_S_MAX = 20
SEED = 20261125


class Server:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="ckv-format-")
        self.process = self.socket = self.file = None
        self.start()

    def start(self):
        self.process = subprocess.Popen([CKV, "--port", "0", "--dir", self.directory], stdout=subprocess.DEVNULL)
        end = time.monotonic() + READY_S_MAX
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(os.path.join(self.directory, "ckv.sock"))
                break
            except OSError:
                self.socket.close()
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.01)
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

    def reply(self):
        line = self.file.readline()
        mark, rest = line[:1], line[1:-2]
        if mark == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if mark == b"*":
            return [self.reply() for _ in range(int(rest))]
        if mark == b"-":
            raise RuntimeError(line)
        return int(rest) if mark == b":" else rest

    def do(self, *words):
        self.send(*words)
        return self.reply()

    def do_all(self, commands):
        for start in range(0, len(commands), 500):
            part = commands[start:start + 500]
            for command in part:
                self.send(*command)
            for _ in part:
                self.reply()

    def stop(self):
        self.file.close()
        self.socket.close()
        self.process.terminate()
        self.process.wait()

    def remove(self):
        self.stop()
        shutil.rmtree(self.directory)

    def value(self, kind, key):
        """As disk.py has it."""
        if kind == disk.STRING:
            return self.do("GET", key)
        if kind == disk.LIST:
            return self.do("LRANGE", key, 0, -1)
        if kind == disk.SET:
            return set(self.do("SMEMBERS", key))
        pairs = disk.pairs(self.do("HGETALL", key) if kind == disk.HASH else
                           self.do("ZRANGE", key, 0, -1, "WITHSCORES"))
        return {name: float(value) if kind == disk.ZSET else value for name, value in pairs}


def collections(size):
    """Commands that make one of each, of about that many elements."""
    for i in range(size):
        yield "RPUSH", f"list{size}", i * 1000003 if i % 3 == 0 else f"element {i}"
        yield "SADD", f"set{size}", f"member {i}"
        yield "SADD", f"integers{size}", (i - 3) * (37 if size < 500 else 2**40)
        yield "ZADD", f"zset{size}", i / 3 - 5, f"member {i}" + "p" * (300 if i % 50 == 7 else 0)
        yield "HSET", f"hash{size}", f"field {i}", "v" * (i % 90)


def dataset():
    choose = random.Random(SEED)
    for i in range(3000):
        yield "SET", f"key {i}", choose.choice(["x" * choose.randrange(200), i, -i * 10**9])
    for size in (0, 1, 44, 45, 127, 128, 2047, 2048, 2049, 5000, 300000):
        yield "SET", f"string{size}", "y" * size
    for size in (1, 5, 100, 700, 20000):
        yield from collections(size)
    for i in range(0, 20000, 400):
        yield "LSET", "list20000", i, "changed" * 20
    yield "ZADD", "zset odd", "inf", "a", "-inf", "b", "1e300", "c", "-0", "d", "2e-320", "e"
    yield "SET", b"\x00\xff\r\n", b"\x00\xfe"
    yield "PEXPIREAT", "string1", 4000000000000
    yield "PEXPIREAT", "zset100", 4000000000001
    yield "SELECT", 7
    yield "SET", "elsewhere", "db 7"
    yield "SELECT", 0


def forge_head(path, at, content):
    """Changes the head of a segment, and seals it again."""
    with open(path, "r+b") as file:
        head = file.read(56)
        head = head[:at] + content + head[at + len(content):]
        file.seek(0)
        file.write(head + disk.xxh3(head).to_bytes(8, "little"))


class Starts(unittest.TestCase):
    """What FORMAT.md says of files that are whole, but not this program's or this directory's."""

    def setUp(self):
        self.server = Server()
        self.server.do("SET", "key", "value")
        self.server.process.kill()
        self.server.stop()
        journal = os.path.join(self.server.directory, "journal")
        self.segment = os.path.join(journal, max(name for name in os.listdir(journal) if name.endswith(".ckj")))

    def tearDown(self):
        shutil.rmtree(self.server.directory)

    def refused(self):
        before = {name: content for name, content in self.files()}
        tried = subprocess.run([CKV, "--port", "0", "--dir", self.server.directory], capture_output=True, text=True,
                               timeout=READY_S_MAX)
        self.assertEqual(tried.returncode, 1)
        self.assertEqual(before, {name: content for name, content in self.files()})
        return tried.stderr

    def files(self):
        for path, _, names in os.walk(self.server.directory):
            for name in names:
                if name != "ckv.sock":
                    with open(os.path.join(path, name), "rb") as file:
                        yield name, file.read()

    def test_1_as_it_is(self):
        self.server.start()
        self.assertEqual(self.server.do("GET", "key"), b"value")
        self.server.stop()

    def test_2_journal_of_another_version(self):
        for version in (1, 3):
            forge_head(self.segment, 4, bytes([version, 0, 0, 0]))
            self.assertRegex(self.refused(), f"version {version}.*version 2")

    def test_3_journal_of_another_history(self):
        forge_head(self.segment, 16, b"a" * 40)
        self.assertIn("history " + "a" * 40, self.refused())

    def forge_manifest(self, pattern, replacement):
        """Changes MANIFEST, and seals it again."""
        path = os.path.join(self.server.directory, "MANIFEST")
        with open(path, "rb") as file:
            content = file.read()
        content = re.sub(pattern, replacement, content[:content.rindex(b"checksum=")])
        with open(path, "wb") as file:
            file.write(content + b"checksum=%016x\n" % disk.xxh3(content))

    def test_4_manifest_of_another_version(self):
        self.forge_manifest(b"version=2", b"version=3")
        self.assertRegex(self.refused(), "version 3.*version 2")

    def test_5_keys_in_the_wrong_pages(self):
        """With another secret every key has another hash; all checksums are right."""
        self.server.start()
        for n in range(300):
            self.server.do("SET", n, n)
        self.server.do("SAVE")
        self.server.stop()
        check = [CKV, "check", self.server.directory]
        self.assertEqual(subprocess.run(check, capture_output=True, check=False).returncode, 0)
        self.forge_manifest(rb"secret=\w+", b"secret=" + b"ab" * 192)
        checked = subprocess.run(check, capture_output=True, text=True, check=False)
        self.assertEqual(checked.returncode, 3, checked.stdout + checked.stderr)
        self.assertIn("checkpoint-a.gdbm: a page of it is damaged", checked.stdout)


class Format(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.do_all(list(dataset()))

    @classmethod
    def tearDownClass(cls):
        cls.server.remove()

    def check(self):
        """What is read from the disk is what the server has."""
        self.server.do("SAVE")
        directory = disk.Directory(self.server.directory)
        checkpoint, offset = directory.newest()
        self.assertEqual(offset, directory.journal_end)
        sizes = {}
        for (db, key), (kind, value, deadline) in checkpoint.data.items():
            self.server.do("SELECT", db)
            self.assertEqual(value, self.server.value(kind, key), key)
            left_ms = self.server.do("PTTL", key)
            self.assertEqual(left_ms == -1, deadline is None, key)
            if deadline is not None:
                self.assertAlmostEqual(left_ms, deadline - time.time() * 1000, delta=5000)
            sizes[db] = sizes.get(db, 0) + 1
        for db in range(16):
            self.server.do("SELECT", db)
            self.assertEqual(self.server.do("DBSIZE"), sizes.get(db, 0))
        self.server.do("SELECT", 0)
        return directory

    def test_1_everything(self):
        directory = self.check()
        kinds = [kind for kind, _, _ in directory.newest()[0].data.values()]
        for kind in range(5):
            self.assertIn(kind, kinds)
        for mark in (b"P", b"C", b"V"):
            self.assertTrue(any(key[4:5] == mark for key in directory.newest()[0].records), mark)

    def test_2_after_changes(self):
        """Both files, changed in place: pages go, collections grow, shrink and vanish."""
        for turn in range(4):
            self.server.do("HSET", "hash20000", "field 5", f"turn {turn}")
            self.server.do("LPUSH", "list20000", f"turn {turn}")
            self.server.do("LREM", "list20000", 1, "element 100")
            self.server.do("DEL", ("set20000", "zset20000", "string300000", "integers20000")[turn])
            self.server.do_all([("DEL", f"key {i}") for i in range(turn, 3000, 5)])
            self.check()

    def test_3_commands(self):
        """The journal: batches of whole commands, of what was done."""
        self.server.do_all([("SET", "fixed", "1"), ("INCRBYFLOAT", "fixed", "0.5"), ("SADD", "drawn", "only"),
                            ("SPOP", "drawn"), ("SETEX", "short", "100", "v"), ("MULTI",), ("SET", "in", "1"),
                            ("SET", "out", "2"), ("EXEC",)])
        self.server.do("SAVE")
        batches = disk.Directory(self.server.directory).batches
        self.assertTrue(all(abs(ms / 1000 - time.time()) < 3600 for _, ms, _ in batches))
        parsed = [disk.read_commands(payload) for _, _, payload in batches]
        commands = [command for batch in parsed for command in batch]
        names = {command[0].upper() for command in commands}
        self.assertFalse(names & {b"SPOP", b"INCRBYFLOAT", b"SETEX", b"EXPIRE"}, names)
        self.assertIn([b"SREM", b"drawn", b"only"], commands)
        for batch in parsed:
            names = [command[0].upper() for command in batch]
            self.assertEqual(names.count(b"MULTI"), names.count(b"EXEC"))

    def test_4_seals(self):
        """Of segments that are finished, and of a journal that is closed."""
        for _ in range(2):
            self.server.do("SAVE")
            self.server.stop()
            seals = disk.Directory(self.server.directory).seals
            self.assertEqual(seals[-1], b"CKVC")
            self.assertEqual(set(seals[:-1]), {b"CKVF"})
            self.server.start()
            self.server.do("SET", "after", "1")

    def test_5_damage_is_seen(self):
        """The reader isn't one that takes anything: a byte changed in each of the files is noticed."""
        copy = tempfile.mkdtemp(prefix="ckv-format-")
        self.addCleanup(shutil.rmtree, copy)
        for name in ("MANIFEST", "checkpoint-a.gdbm", "journal"):
            shutil.rmtree(copy)
            shutil.copytree(self.server.directory, copy, ignore=shutil.ignore_patterns("*.sock"))
            path = os.path.join(copy, name)
            if name == "journal":
                path = max((os.path.join(path, file) for file in os.listdir(path)), key=os.path.getsize)
            with open(path, "rb") as file:
                content = file.read()
            # gdbm leaves what was in a record before; so all copies of one that is there are changed.
            changed = max(disk.gdbm_records(path).values(), key=len) if name == "checkpoint-a.gdbm" else \
                content[len(content) // 2:]
            with open(path, "wb") as file:
                file.write(content.replace(changed, changed[:9] + bytes([changed[9] ^ 1]) + changed[10:]))
            with self.assertRaises((disk.Damage, ValueError)):
                disk.Directory(copy)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        CKV = os.path.abspath(sys.argv.pop())
    result = unittest.main(exit=False, verbosity=1).result
    wrong = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - wrong} passed, {wrong} failed")
    sys.exit(wrong > 0)
