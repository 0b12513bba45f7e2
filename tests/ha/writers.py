"""writers.py - random writes of every command, type, expiry and database: the commands of compat/differential, sent to
one server without a look at what it answers.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "compat", "differential"))
from changes import Changes  # noqa: E402
from resp import Connection, Lost, encode  # noqa: E402
from stream import CLOCK, LISTENERS, expiring_steps, steps_of  # noqa: E402

BATCH_MAX = 64
EXPIRY_WAITS = 3
WAIT_S = 0.1


class Choice:
    """Which commands change data in the same way on every server that follows: not those that changes.tsv knows to
    differ in one of the versions, and few more. The master's version comes first, "" is ckv's."""

    def __init__(self, versions):
        self.lines = {}
        for line in [line for version in versions for line in Changes(version).lines]:
            if line.kind == "avoid" or line.after.startswith("drop"):
                for name in line.names:
                    self.lines.setdefault(name.encode(), []).append(line)
        self.others = set()
        if any(version.startswith("7.") for version in versions):
            # Of these 7.0 makes other bytes of the same meaning: an estimate is kept in a HyperLogLog.
            self.others |= {b"pfmerge", b"pfcount"}
        if versions[0].startswith("3.2"):
            # Goes to slaves as SET, which ends the lifetime that the key keeps on the master.
            self.others.add(b"incrbyfloat")

    def takes(self, args):
        name = args[0].lower()
        lines = self.lines.get(name, []) + self.lines.get(b"*", [])
        return name not in self.others and not any(line.holds(args) for line in lines)


class Writers:
    """The connections of the steps, opened again when the server has closed one (there is QUIT among them)."""

    def __init__(self, port, choice):
        self.port, self.choice = port, choice
        self.connections = {}
        self.sent = 0

    def send(self, number, batch):
        if number not in self.connections:
            self.connections[number] = Connection(self.port)
        connection = self.connections[number]
        try:
            connection.send(b"".join(map(encode, batch)))
            connection.read(len(batch))
            self.sent += len(batch)
        except Lost:
            del self.connections[number]
            connection.close()

    def run(self, steps):
        batch, number = [], 0
        for mine, args in steps:
            if batch and (mine != number or len(batch) >= BATCH_MAX):
                self.send(number, batch)
                batch = []
            if mine == CLOCK:
                time.sleep(WAIT_S)
            elif mine not in LISTENERS and self.choice.takes(args):
                number = mine
                batch.append(args)
        if batch:
            self.send(number, batch)

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.connections = {}


def write_at_random(port, choice, seed, count):
    """About `count` commands, some of them with short deadlines; how many were answered."""
    writers = Writers(port, choice)
    writers.run(steps_of(seed, count))
    writers.run(expiring_steps(seed, EXPIRY_WAITS))
    writers.close()
    return writers.sent


def random_of(*what):
    """A source of chance that is the same each time."""
    return random.Random("/".join(map(str, what)))
