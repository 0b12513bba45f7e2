#!/usr/bin/env python3
"""test_differential.py - tests of the differential tests: would they see a difference, and only one?

  CKV=build/ckv compat/differential/test_differential.py

The last line is `N passed, N failed`.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import socket
import sys
import tempfile
import threading
import unittest

from changes import TABLE, Changes
from compare import RULES, compare, messages_in_order
from families import FAMILIES, FAMILY_OF
from resp import NIL_ARRAY, Connection, encode, flat, parse, quote, unquote
from servers import CKV_ARGS, Server
from session import Failure, Session
from shrink import read_steps, shrink, write_steps
from stream import steps_of

NONE = Changes("0")
REDIS_7 = Changes("7.0.15")
REDIS_32 = Changes("3.2.13")


class Protocol(unittest.TestCase):
    def test_replies(self):
        raw = b"+OK\r\n-ERR x\r\n:-1\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n*2\r\n$0\r\n\r\n*1\r\n:7\r\n"
        at, got = 0, []
        while at < len(raw):
            reply, at = parse(raw, at)
            got.append(reply)
        self.assertEqual(got, [b"+OK", b"-ERR x", b":-1", b"$a\r\n", None, NIL_ARRAY, [b"$", [b":7"]]])
        self.assertEqual(flat(got[-1]), b"*2 $ *1 :7")

    def test_quoting(self):
        every = bytes(range(256))
        self.assertEqual(unquote("%s %s" % (quote(every), quote(b""))), [every, b""])
        self.assertEqual(encode([b"GET", b""]), b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n")

    def test_files_of_steps(self):
        steps = steps_of("1/1", 50)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "steps")
            write_steps(path, steps, ["two\nlines"])
            self.assertEqual(read_steps(path), steps)


class Comparing(unittest.TestCase):
    def same(self, command, theirs, ours, changes=NONE):
        return compare(changes, command.split(b" "), theirs, ours) is None

    def test_order_counts_only_where_redis_has_one(self):
        self.assertTrue(self.same(b"SMEMBERS k", [b"$a", b"$b"], [b"$b", b"$a"]))
        self.assertFalse(self.same(b"LRANGE k 0 -1", [b"$a", b"$b"], [b"$b", b"$a"]))
        self.assertFalse(self.same(b"SMEMBERS k", [b"$a", b"$a"], [b"$b", b"$a"]))
        self.assertTrue(self.same(b"HGETALL k", [b"$f", b"$1", b"$g", b"$2"], [b"$g", b"$2", b"$f", b"$1"]))
        self.assertFalse(self.same(b"HGETALL k", [b"$f", b"$1", b"$g", b"$2"], [b"$g", b"$1", b"$f", b"$2"]))
        self.assertFalse(self.same(b"SORT k", [b"$a", b"$b"], [b"$b", b"$a"]))
        self.assertTrue(self.same(b"SORT k BY x", [b"$a", b"$b"], [b"$b", b"$a"]))

    def test_types_of_replies_count(self):
        self.assertFalse(self.same(b"GET k", b"$1", b":1"))
        self.assertFalse(self.same(b"GET k", None, b"$"))
        self.assertFalse(self.same(b"EXEC", None, NIL_ARRAY))
        self.assertFalse(self.same(b"SMEMBERS k", [], None))

    def test_times_to_live(self):
        self.assertTrue(self.same(b"TTL k", b":100", b":99"))
        self.assertFalse(self.same(b"TTL k", b":100", b":90"))
        self.assertFalse(self.same(b"TTL k", b":-1", b":-2"))
        self.assertTrue(self.same(b"PTTL k", b":99600", b":100000"))
        self.assertFalse(self.same(b"PTTL k", b":99600", b":99700"), "ours is in whole seconds")

    def test_copies_of_a_message(self):
        first, second = [b"$message", b"$c", b"$1"], [b"$pmessage", b"$*", b"$c", b"$1"]
        self.assertEqual(messages_in_order([first, second]), messages_in_order([second, first]))
        other = [b"$message", b"$c", b"$2"]
        self.assertNotEqual(messages_in_order([first, other]), messages_in_order([other, first]))


class KnownChanges(unittest.TestCase):
    def test_lines_are_complete(self):
        for change in Changes("7.0").lines + Changes("3.2").lines:
            with self.subTest(line=change.number):
                self.assertIn(change.kind, ("answer", "rule", "avoid", "unwatched"))
                self.assertEqual(change.kind == "rule", change.ours in RULES)
                self.assertTrue(change.after in ("-", "alone", "drop stored") or change.after.startswith("drop "))
                for name in change.names:
                    self.assertTrue(name in FAMILY_OF or name == "*", name)

    def test_an_answer_is_owed_both_ways(self):
        theirs, due = b"-ERR DB index is out of range", b"-ERR invalid DB index"
        self.assertIsNone(compare(REDIS_7, [b"SELECT", b"99"], theirs, due))
        self.assertIn("due", compare(REDIS_7, [b"SELECT", b"99"], theirs, theirs))
        self.assertIsNotNone(compare(REDIS_7, [b"SELECT", b"99"], theirs, b"+OK"))
        self.assertIsNotNone(compare(REDIS_32, [b"SELECT", b"99"], theirs, due))

    def test_a_line_is_for_its_arguments_only(self):
        self.assertIsNotNone(REDIS_7.guard(b"hset", [b"HSET", b"k", b"f", b"v", b"g", b"w"]))
        self.assertIsNone(REDIS_7.guard(b"hset", [b"HSET", b"k", b"a field", b"v"]))
        self.assertIsNone(REDIS_32.guard(b"hset", [b"HSET", b"k", b"f", b"v", b"g", b"w"]))

    def test_the_name_as_sent(self):
        theirs = b"-ERR unknown command 'FoO', with args beginning with: 'x' "
        self.assertIsNone(compare(REDIS_7, [b"FoO", b"x"], theirs, b"-ERR unknown command 'FoO'"))
        self.assertIsNotNone(compare(REDIS_7, [b"FoO", b"x"], theirs, b"-ERR unknown command 'foo'"))

    def test_a_broken_table_is_refused(self):
        with tempfile.NamedTemporaryFile("w", suffix=".tsv") as table:
            table.write("heading\n7.0\tanswer\tget .*\n")
            table.flush()
            self.assertRaises(ValueError, Changes, "7.0", table.name)
        self.assertTrue(os.path.exists(TABLE))


class Streams(unittest.TestCase):
    def test_a_seed_is_a_stream(self):
        self.assertEqual(steps_of("1/2", 500), steps_of("1/2", 500))
        self.assertNotEqual(steps_of("1/2", 500), steps_of("1/3", 500))

    def test_every_command_is_sent(self):
        sent = {args[0].lower().decode("latin-1") for n in range(30) for _, args in steps_of("9/%d" % n, 3000)}
        self.assertEqual(set(FAMILY_OF) - sent, set())
        self.assertEqual(len(FAMILIES), 17)


class Liar(threading.Thread):
    """Stands before a server and changes one text in its replies."""

    def __init__(self, port, truth, lie):
        super().__init__(daemon=True)
        self.upstream, self.truth, self.lie = port, truth, lie
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            client = self.listener.accept()[0]
            server = socket.create_connection(("127.0.0.1", self.upstream))
            for source, sink, lies in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.pump, args=(source, sink, lies), daemon=True).start()

    def pump(self, source, sink, lies):
        while True:
            data = source.recv(1 << 16)
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data.replace(self.truth, self.lie) if lies else data)


class Finding(unittest.TestCase):
    """ckv compared with ckv: no difference; and with a liar before one of them: a difference, made short."""

    def setUp(self):
        ckv = os.environ.get("CKV", "build/ckv")
        self.servers = [Server("%s %s" % (ckv, CKV_ARGS)) for _ in range(2)]

    def tearDown(self):
        for server in self.servers:
            self.assertEqual(server.stop(), "")

    def session(self, truth=None, lie=None):
        ports = [server.port for server in self.servers]
        if truth:
            ports[1] = Liar(ports[1], truth, lie).port
        session = Session(ports, NONE)
        self.addCleanup(session.close)
        return session

    def test_no_difference(self):
        session = self.session()
        for number in range(3):
            session.reset()
            session.run(steps_of("8/%d" % number, 2000))
        self.assertGreater(session.compared.total(), 5000)
        self.assertGreater(session.datasets, 5)

    def test_a_wrong_reply_is_found_and_made_short(self):
        session = self.session(b"$7\r\nneedle7\r\n", b"$7\r\nneedle8\r\n")
        steps = steps_of("8/7", 800)
        steps[400:400] = [(7, [b"SELECT", b"9"]), (7, [b"SET", b"hay", b"needle7"]), (7, [b"GET", b"hay"])]
        with self.assertRaises(Failure) as caught:
            session.run(steps)
        self.assertEqual(caught.exception.at, 402)
        few, failure = shrink(session, steps, caught.exception)
        self.assertEqual(few[0][1], [b"SET", b"hay", b"needle7"])
        self.assertLessEqual(len(few), 2, "the dataset shows it too, without GET")
        self.assertIn("needle8", failure.text)

    def test_wrong_data_are_found(self):
        """A reply that no step asks for: the dataset shows it."""
        session = self.session(b"$7\r\nneedle7\r\n", b"$7\r\nneedle8\r\n")
        steps = [(0, [b"SET", b"a", b"1"]), (0, [b"SELECT", b"3"]), (0, [b"RPUSH", b"hay", b"needle7"])]
        with self.assertRaises(Failure) as caught:
            session.run(steps)
        self.assertIn("database 3, key b'hay'", caught.exception.text)

    def test_a_closed_connection_is_found(self):
        session = self.session(b"$4\r\nshut\r\n", b"?\r\n")
        with self.assertRaises(Failure):
            session.run([(0, [b"ECHO", b"shut"])])

    def test_servers_start_empty_and_apart(self):
        ports = [Connection(server.port) for server in self.servers]
        ports[0].call("SET", "k", "v")
        self.assertEqual([port.call("DBSIZE") for port in ports], [b":1", b":0"])


def main():
    program = unittest.main(exit=False, warnings="ignore")
    failed = len(program.result.failures) + len(program.result.errors)
    print("%d passed, %d failed" % (program.result.testsRun - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
