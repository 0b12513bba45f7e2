#!/usr/bin/env python3
"""replicas.py - real Redis servers as slaves of ckv: after random commands of every family, and cut links, paused
processes and restarts of either side, they must hold the same data.

  compat/differential/replicas.py [--ckv build/ckv] [--rounds 6] [--seed 1]
  compat/differential/replicas.py --replica '/opt/redis-3.2.13/redis-server --port %p --dir %d --save ""'

--replica names the slave's command line (%p: its port, %d: a directory); Debian's redis-server otherwise. Data is
compared key by key, element by element, once the slave has the master's offset.

The last line is `N passed, N failed, N skipped`; a round is a test, in which only a slave that was killed may need a
full resync. Exit status 0: all passed, 1: something failed, 2: could not run.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import random
import signal
import sys
import time

from dataset import Dataset
from resp import Connection, Lost
from servers import CKV_ARGS, ORACLE_DEFAULT, CannotRun, Server
from stream import CLOCK, LISTENERS, expiring_steps, steps_of

ROUND_STEPS = 4000
SYNC_S_MAX = 30
ODD_STEPS = 300
DUMPED = b"(what DUMP answered)"
LEFT_OUT = (b"subscribe", b"unsubscribe", b"psubscribe", b"punsubscribe", b"quit")


def is_sent(number, args):
    """Whether a step is answered by one reply."""
    return number not in LISTENERS and args[0].lower() not in LEFT_OUT


def odd_steps(seed):
    """Commands that are sent on as others, or that versions differ in: random ones seldom are."""
    r = random.Random(seed)
    numbers = (b"", b"1\x00x", b"\x00", b"1.5", b"-3", b"1e3", b"inf", b"0.1")
    steps = []

    def add(*args):
        steps.append((0, [arg if isinstance(arg, bytes) else b"%d" % arg for arg in args]))

    def number():
        return r.choice(numbers)

    forms = (
        lambda: add(b"DECRBY", b"i%d" % r.randint(0, 3), b"-9223372036854775808"),
        lambda: add(b"INCRBYFLOAT", b"i%d" % r.randint(0, 3), number()),
        lambda: add(b"SET", b"i%d" % r.randint(0, 3), -r.randint(0, 9), b"PX", r.choice((40, 100000))),
        lambda: add(b"ZADD", b"z%d" % r.randint(0, 3), number(), b"a", number(), b"b%d" % r.randint(0, 9)),
        lambda: add(b"ZINCRBY", b"z%d" % r.randint(0, 3), number(), b"b%d" % r.randint(0, 9)),
        lambda: add(b"ZUNIONSTORE", b"z4", 3, b"z0", b"z1", b"z2", b"WEIGHTS", number(), number(), number()),
        lambda: add(b"ZINTERSTORE", b"z5", 2, b"z0", b"z1", b"WEIGHTS", number(), number(), b"AGGREGATE", b"MAX"),
        lambda: add(b"GEOADD", b"g0", number(), number(), b"p%d" % r.randint(0, 9)),
        lambda: add(b"GEORADIUS", b"g0", number(), b"", b"900", b"km", b"STORE", b"z%d" % r.randint(6, 7)),
        lambda: add(b"GEORADIUSBYMEMBER", b"g0", b"p1", b"9000", b"mi", b"STOREDIST", b"z%d" % r.randint(6, 7)),
        lambda: add(b"SADD", b"e0", *(b"m%d" % r.randint(0, 9999) for _ in range(400))),
        lambda: add(b"SPOP", b"e0", r.choice((1, 3, 200, 1500))),
        lambda: add(b"SORT", b"e0", b"ALPHA", b"LIMIT", 0, r.choice((5, 5000)), b"STORE", b"l9"),
        lambda: add(b"BITOP", r.choice((b"AND", b"XOR")), b"s9", b"i0", b"i1", b"i2"),
        lambda: add(b"PFADD", b"p%d" % r.randint(0, 3), number(), r.randint(0, 99)),
        lambda: add(b"PFMERGE", b"p4", b"p0", b"p1", b"p2"),
        lambda: (add(b"DUMP", r.choice((b"z0", b"z4", b"e0", b"l9", b"i0"))),
                 add(b"RESTORE", b"r%d" % r.randint(0, 3), r.choice((0, 100000, 50)), DUMPED, b"REPLACE")),
        lambda: add(b"SELECT", r.choice((0, 0, 3))),
        lambda: add(b"EXPIRE", b"z%d" % r.randint(0, 7), r.choice((-1, 0, 1000))),
        lambda: (add(b"MULTI"), r.choice(forms[:12])(), r.choice(forms[:12])(), add(b"EXEC")),
    )
    while len(steps) < ODD_STEPS:
        r.choice(forms)()
    add(b"SELECT", 0)
    steps.append((CLOCK, [b"0.4"]))  # short deadlines have passed, and their DELs are sent
    return steps


class Load:
    """Random commands on several connections; of the replies only DUMP's matters."""

    def __init__(self, port):
        self.port = port
        self.connections = {}
        self.dumped = b""

    def connection(self, number):
        if number not in self.connections:
            self.connections[number] = Connection(self.port)
        return self.connections[number]

    def run(self, steps):
        for number, args in steps:
            if number == CLOCK:
                time.sleep(float(args[0]))
            elif is_sent(number, args):
                args = [self.dumped if arg == DUMPED else arg for arg in args]
                [reply] = self.connection(number).calls([args])
                if args[0] == b"DUMP" and reply:
                    self.dumped = reply[1:]

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.connections = {}


def info(port, field):
    """A field of INFO as text, or an empty one."""
    connection = Connection(port)
    text = connection.call("INFO")
    connection.close()
    for line in text.split(b"\r\n"):
        if line.startswith(field.encode() + b":"):
            return line.split(b":", 1)[1].decode()
    return ""


def await_offset(master, slave):
    """Waits until the slave has all that the master wrote; what is wrong otherwise."""
    end = time.monotonic() + SYNC_S_MAX
    said = ""
    while time.monotonic() < end:
        try:
            ours, theirs = info(master.port, "master_repl_offset"), info(slave.port, "slave_repl_offset")
            said = "the master is at %s, the slave at %s" % (ours, theirs)
            if ours == theirs and info(slave.port, "master_link_status") == "up":
                return ""
        except (Lost, OSError, TypeError, AttributeError) as error:
            said = str(error)
        time.sleep(0.05)
    return "not the same offset within %d s: %s" % (SYNC_S_MAX, said)


def disturb(r, master, slave):
    """Does something to the pair that it must get over; says what, and whether a full resync may follow."""
    draw = int(r.random() * 5)
    if draw == 0:
        connection = Connection(master.port)
        connection.call("CLIENT", "KILL", "TYPE", "slave")
        connection.close()
        return "cut link", False
    if draw == 1:
        slave.process.send_signal(signal.SIGSTOP)
        time.sleep(r.random())
        slave.process.send_signal(signal.SIGCONT)
        return "paused slave", False
    if draw == 2:
        master.restart(signal.SIGKILL)
        return "killed master", False
    if draw == 3:
        master.restart()
        return "restarted master", False
    slave.restart(signal.SIGKILL)
    return "killed slave", True


def run_round(name, master, slave):
    """Random load with disturbances; what is wrong at the end, and what was done."""
    r = random.Random(name)
    done = []
    steps = expiring_steps(name, 2) + odd_steps(name) + steps_of(name, ROUND_STEPS) + odd_steps(name + "/end")
    parts = r.choice((1, 2, 4))
    for part in range(parts):
        load = Load(master.port)
        load.run(steps[part * len(steps) // parts:(part + 1) * len(steps) // parts])
        load.close()
        if part + 1 < parts:
            before = int(info(master.port, "sync_full"))
            what, may_be_full = disturb(r, master, slave)
            done.append(what)
            said = await_offset(master, slave)
            if said:
                return said, done
            after = int(info(master.port, "sync_full"))
            if after > (0 if "master" in what else before) and not may_be_full:
                return "a full resync after: %s" % what, done
    said = await_offset(master, slave)
    if said:
        return said, done
    exact = slave.version.startswith("3.2.")
    sets = []
    for port in (slave.port, master.port):
        connection = Connection(port)
        sets.append(Dataset(connection, exact))
        connection.close()
    return sets[0].difference(sets[1]), done + ["%d keys" % len(sets[0].keys)]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser()
    parser.add_argument("--ckv", default=os.path.join(here, "..", "..", "build", "ckv"))
    parser.add_argument("--replica", default=ORACLE_DEFAULT)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    passed = failed = 0
    started = []
    try:
        master = Server("%s %s" % (os.path.abspath(options.ckv), CKV_ARGS))
        started.append(master)
        Load(master.port).run(steps_of("%d/before" % options.seed, ROUND_STEPS))
        slave = Server("%s --slaveof 127.0.0.1 %d" % (options.replica, master.port))
        started.append(slave)
        print("slave: Redis %s" % slave.version)
        for number in range(options.rounds):
            said, done = run_round("%d/%d" % (options.seed, number), master, slave)
            passed, failed = passed + (not said), failed + bool(said)
            print("%s round %d/%d (%s)%s" % ("FAIL " if said else "ok   ", options.seed, number, ", ".join(done),
                                             ": " + said if said else ""))
    except CannotRun as error:
        print(error)
        return 2
    finally:
        for server in reversed(started):
            said = server.stop()
            if said:
                failed += 1
                print("FAIL  a server: %s" % said)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
