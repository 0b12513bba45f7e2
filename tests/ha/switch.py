#!/usr/bin/env python3
"""switch.py - planned switches by FAILOVER, back and forth, under load: no client ever gets an error, no acknowledged
write is missing, with `ack local` as with `ack slave`, and nobody makes a full sync.

A switch is a test. Clients look which of the two is the master by INFO, as a proxy does; a connection that is closed is
no error, but whatever it had sent without an answer must not have been run twice: each client writes ascending numbers
to a list, and sends one again only if a read says that it isn't there.

At last a Redis 7.0 (Debian's redis-server) is the other side of a switch, and of one back.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import shutil
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from nodes import Ckv, Connection, Lost, NotStarted, Redis, digest, wait_for  # noqa: E402

CLIENTS = 8
LOAD_S = 0.3
PIPELINE = 5


class Appender(threading.Thread):
    """Appends numbers to a list of its own, some at a time."""

    def __init__(self, pair, number):
        super().__init__(daemon=True)
        self.ports = [node.port for node in pair]
        self.key = "list:%d" % number
        self.ended = threading.Event()
        self.next = 0
        self.errors = []
        self.longest_ms = 0

    def connect(self):
        """To whichever says that it is the master; None: neither does just now."""
        for port in self.ports:
            try:
                connection = Connection(port)
                if b"role:master" in connection.call("INFO", "replication"):
                    return connection
                connection.close()
            except (Lost, OSError):
                pass
        return None

    def append(self, connection):
        replies = connection.calls([[b"RPUSH", self.key.encode(), b"%d" % (self.next + i)] for i in range(PIPELINE)])
        for reply in replies:
            if reply != b":%d" % (self.next + 1):
                self.errors.append(reply)
            self.next += 1

    def find_out(self, connection):
        """What is there, after a connection was lost."""
        there = connection.call("LLEN", self.key)
        if not there.startswith(b":") or int(there[1:]) < self.next:
            self.errors.append(b"%d were acknowledged, and LLEN is " % self.next + there)
        self.next = int(there[1:])

    def run(self):
        connection, last = None, time.monotonic()
        while not self.ended.is_set():
            try:
                if connection is None:
                    connection = self.connect()
                    if connection is None:
                        continue
                    self.find_out(connection)
                self.append(connection)
                now = time.monotonic()
                self.longest_ms, last = max(self.longest_ms, (now - last) * 1000), now
            except (Lost, OSError):
                if connection is not None:
                    connection.close()
                connection = None


def switch(master, slave, ack):
    """One switch under load; what there is to say."""
    for node in (master, slave):
        assert node.ask("CONFIG", "SET", "ack", ack) == b"+OK"
    assert master.ask("FLUSHALL") == b"+OK"
    full = [node.info("stats")["sync_full"] for node in (master, slave)]
    clients = [Appender((master, slave), i) for i in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(LOAD_S)
    assert master.ask("FAILOVER", "TIMEOUT", 10000) == b"+OK"
    wait_for("the new master", lambda: slave.info()["role"] == "master")
    time.sleep(LOAD_S)
    for client in clients:
        client.ended.set()
    for client in clients:
        client.join()
    errors = [error for client in clients for error in client.errors]
    assert not errors, "clients saw %r" % errors[:3]
    wait_for("the old master in step", lambda: master.is_linked() and master.offset() == slave.offset() and
             digest(master) == digest(slave))
    assert full == [node.info("stats")["sync_full"] for node in (master, slave)], "there was a full sync"
    return "%d appended, longest pause %d ms" % (
        sum(client.next for client in clients), max(client.longest_ms for client in clients))


def pass_to(master, slave):
    """A switch without load."""
    assert master.ask("FAILOVER", "TO", "127.0.0.1", slave.port, "TIMEOUT", 5000) == b"+OK"
    wait_for("the roles swapped", lambda: slave.info()["role"] == "master" and master.is_linked())
    slave.ask("SET", "written by", slave.port)
    wait_for("the same data", lambda: master.offset() == slave.offset() and digest(master) == digest(slave))


def switch_with_redis(args, folder, nodes):
    """To a Redis and back."""
    ckv = Ckv(args.ckv, os.path.join(folder, "three"))
    redis = Redis(shutil.which("redis-server"), os.path.join(folder, "redis"), "7.0")
    nodes += [ckv, redis]
    for node in (ckv, redis):
        node.start()
    redis.follow(ckv)
    wait_for("the link", lambda: redis.is_linked() and redis.offset() == ckv.offset())
    pass_to(ckv, redis)
    pass_to(redis, ckv)
    full = [int(node.info("stats")["sync_full"]) for node in (ckv, redis)]
    assert full == [1, 0], "full syncs: %r" % full


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--rounds", type=int, default=6)
    args = options.parse_args()
    folder = tempfile.mkdtemp(prefix="ckv-switch-")
    pair = [Ckv(args.ckv, os.path.join(folder, name), "--ack-alone-if-promoted", "yes", guarded=True)
            for name in ("one", "two")]
    nodes, passed, error = list(pair), 0, None
    try:
        for node in pair:
            node.start()
        pair[1].follow(pair[0])
        wait_for("the link", pair[1].is_linked)
        for number in range(args.rounds):
            ack = ("local", "slave")[number // 2 % 2]
            print("ok: ack %s: %s" % (ack, switch(pair[number % 2], pair[1 - number % 2], ack)), flush=True)
            passed += 1
        if shutil.which("redis-server"):
            switch_with_redis(args, folder, nodes)
            print("ok: to a Redis 7.0 and back")
            passed += 1
    except (AssertionError, NotStarted, OSError) as wrong:
        error = wrong
        print("FAILED: %s; see %s" % (error, folder))
    for node in nodes:
        node.kill()
    if error is None:
        shutil.rmtree(folder)
    print("%d passed, %d failed" % (passed, error is not None))
    return 0 if error is None else 1


if __name__ == "__main__":
    sys.exit(main())
