#!/usr/bin/env python3
"""clock.py - sets the clock of a master, or of its slave, an hour back or forth while they run (clockstep.so). What
waits for a number of seconds waits so long and no longer, and nobody is taken for silent who isn't. Each is a test. And
sets it to a time of day at which something is due.

SPDX-License-Identifier: GPL-3.0-or-later
"""

import argparse
import os
import shutil
import signal
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Lost, Server, info  # noqa: E402

HOUR = 3600
STEPS = (-HOUR, HOUR)
WAIT_S_MAX = 15  # for what is to take a few seconds
ACK_MS = "2000"  # more than a slave needs, on a slow disk too
OPTIONS = ("--admin-plane", "all", "--repl-timeout", "4", "--repl-ping-slave-period", "1")


class Fail(Exception):
    """What is wrong."""


def need(condition, text):
    if not condition:
        raise Fail(text)


def until(true, text):
    end = time.monotonic() + WAIT_S_MAX
    while not true():
        need(time.monotonic() < end, text)
        time.sleep(0.02)


class Stepped(Server):
    """A server with a clock of its own."""

    def __init__(self, args, directory, options):
        self.step_path = directory + ".step"
        self.set_clock(0)
        env = {"LD_PRELOAD": os.path.abspath(args.library), "CLOCKSTEP": self.step_path}
        super().__init__(args.ckv, directory, options=(*OPTIONS, *options), env=env)

    def set_clock(self, seconds):
        with open(self.step_path, "r+b" if os.path.exists(self.step_path) else "wb") as file:
            file.write(struct.pack("q", seconds))

    def stop_for_now(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


class Pair:
    """A master that waits for its slave's confirmation, and the slave."""

    def __init__(self, args, parent):
        self.master = Stepped(args, os.path.join(parent, "master"), ("--ack", "slave", "--ack-timeout", ACK_MS))
        self.master.start()
        self.slave = Stepped(args, os.path.join(parent, "slave"), ("--slaveof", "127.0.0.1", str(self.master.port)))
        self.slave.start()
        self.operator = self.master.connect()
        self.watcher = self.slave.connect()
        self.until_linked()

    def close(self):
        for server in (self.slave, self.master):
            server.kill()

    def slaves(self):
        return info(self.operator, "replication")["connected_slaves"]

    def slave_is_up(self):
        return info(self.watcher, "replication")["master_link_status"] == "up"

    def linked(self):
        return self.slave_is_up() and self.slaves() == "1"

    def until_linked(self):
        until(lambda: self.linked() and self.operator.call("SET", "k", "v") == b"+OK", "the slave isn't in step again")


def stepped_while_silent(pair, step):
    """A write, WAIT, and the slave itself, which has stopped."""
    client = pair.master.connect_tcp()
    pair.slave.stop_for_now()
    try:
        client.send(b"SET k w\r\n")
        waiter = pair.master.connect_tcp()
        waiter.send(b"WAIT 1 500\r\n")
        pair.operator.call("PING")
        pair.master.set_clock(step)
        try:
            raise Fail("a write that nobody confirms is answered: %s" % client.read(1))
        except Lost as error:
            need("closed" in str(error), "a write that nobody confirms waits for ever")
        waiter.read(1)
        until(lambda: pair.slaves() == "0", "a silent slave isn't noticed")
    finally:
        pair.slave.go_on()
        pair.master.set_clock(0)
    pair.until_linked()


def stepped_without_link(pair, step):
    """The slave, while its master doesn't answer."""
    pair.master.stop_for_now()
    try:
        until(lambda: not pair.slave_is_up(), "a silent master isn't noticed")
        pair.slave.set_clock(step)
    finally:
        pair.master.go_on()
    pair.until_linked()
    pair.slave.set_clock(0)


def stepped_in_step(pair, step):
    """Either of them: the link stays, and so does an idle client; CLIENT PAUSE ends."""
    idle = pair.master.connect_tcp()
    idle.call("PING")
    pair.operator.call("CONFIG", "SET", "timeout", "600")
    syncs = info(pair.operator, "stats")["sync_partial_ok"]
    for server in (pair.master, pair.slave):
        server.set_clock(step)
        need(pair.operator.call("SET", "k", "x") == b"+OK", "a write is refused")
        time.sleep(1.5)  # in which whoever is thought to be silent is closed
    need(info(pair.operator, "stats")["sync_partial_ok"] == syncs, "the link was broken")
    need(idle.call("PING") == b"+PONG", "an idle client was closed")
    pair.operator.call("CLIENT", "PAUSE", "500")
    pair.master.set_clock(0)
    need(idle.call("PING") == b"+PONG", "a paused client isn't answered")
    pair.slave.set_clock(0)


SLOW_START = """#!/bin/sh
touch %s
while [ ! -e %s ]; do sleep 0.02; done
exec %s "$@"
"""


def due_during_upgrade(args, parent):
    """A backup at a time of day that comes while an upgrade lasts: the new process makes it."""
    due = (int(time.time()) // 60 + 2) * 60
    at = time.strftime("%H:%M", time.localtime(due))
    server = Stepped(args, os.path.join(parent, "server"), ("--backup-schedule", at))
    began, go, script = (os.path.join(parent, name) for name in ("began", "go", "slow.sh"))
    backups = os.path.join(server.directory, "backups")
    server.start()
    with open(script, "w") as file:
        file.write(SLOW_START % (began, go, os.path.abspath(args.ckv)))
    os.chmod(script, 0o755)
    operator = server.connect()
    try:
        operator.send(b"UPGRADE %s\r\n" % script.encode())
        until(lambda: os.path.exists(began), "the upgrade doesn't begin")
        server.set_clock(due + 1 - int(time.time()))
        open(go, "w").close()
        need(b"has taken over" in operator.read(1)[0], "the upgrade fails")
        until(lambda: os.path.exists(backups) and os.listdir(backups), "what was due during an upgrade isn't made")
    finally:
        open(go, "w").close()
        server.connect().send(b"SHUTDOWN NOSAVE\r\n")
        until(lambda: not server.serves(), "the process doesn't end")


def run_pair(args, parent, test, step):
    pair = Pair(args, parent)
    try:
        test(pair, step)
    finally:
        pair.close()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--library", default="build/clockstep.so", metavar="PATH", help="clockstep.so")
    args = options.parse_args()
    counts = {True: 0, False: 0}
    tests = [("%s by %+d s" % (test.__name__, step), run_pair, test, step)
             for test in (stepped_while_silent, stepped_without_link, stepped_in_step) for step in STEPS]
    tests.append((due_during_upgrade.__name__, due_during_upgrade))
    for name, run, *of in tests:
        parent = tempfile.mkdtemp(prefix="ckv-clock")
        wrong = ""
        try:
            run(args, parent, *of)
        except (Fail, Lost, OSError) as error:
            wrong = "%s %s" % (type(error).__name__, error)
            print("FAIL  %s: %s" % (name, wrong), flush=True)
        finally:
            shutil.rmtree(parent, ignore_errors=True)
        counts[not wrong] += 1
    print("%d passed, %d failed" % (counts[True], counts[False]))
    return counts[False] != 0


if __name__ == "__main__":
    sys.exit(main())
