#!/usr/bin/env python3
"""powercut.py - cuts the power under checkpoints, a backup and rollbacks, and starts a server on what a disk has then.

A server runs once, with everything recorded that it does to its files (iofault.so). The record is then run again up to
some point, as a disk may have taken it: what was synced is there; of what was written since, all, nothing, or at random
some writes and some sectors of others; and of the changes of names, which a file system keeps in order, a beginning
that has at least what was synced. On each of these a server must start and have what it promised, and work. Each is a
test.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import collections
import os
import random
import shutil
import struct
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from faults import Plan  # noqa: E402
from model import read_state  # noqa: E402
from rollback import difference, state_after, step_commands  # noqa: E402
from server import Lost, NotStarted, Server, checkpoint, make_backup, roll_back  # noqa: E402

SECTOR = 512
HEAD = struct.Struct("=4sII4xQQQ")  # iofault.c: Recorded
OPTIONS = ("--journal-segment-bytes", "6000", "--journal-keep", "1", "--journal-keep-bytes", "20000",
           "--checkpoint-every", "0", "--port", "0")
LARGE = b"x" * 40000
FAILURES_SHOWN = 6

Operation = collections.namedtuple("Operation", "kind path to inode at length data end")


def read_record(path):
    """The operations, in order; `end` is where each ends in the record."""
    with open(path, "rb") as record:
        content = record.read()
    operations, at = [], 0
    while at < len(content):
        kind, path_len, to_len, inode, offset, length = HEAD.unpack_from(content, at)
        at += HEAD.size
        names = [os.path.normpath(content[start:start + size].decode())
                 for start, size in ((at, path_len), (at + path_len, to_len))]
        at += path_len + to_len
        kind = kind[:1].decode()
        data = content[at:at + length] if kind == "W" else b""
        at += len(data)
        operations.append(Operation(kind, names[0], names[1], inode, offset, length, data, at))
    return operations


# ---- a disk

class File:
    """What a file has for sure, and what was done since."""

    def __init__(self):
        self.durable = bytearray()
        self.pending = []

    def sync(self):
        for operation in self.pending:
            apply(self.durable, operation)
        self.pending = []

    def content(self, keep):
        """Of each sector, and of the file's length, what the first keep(n) of the n pending operations made of it: a
        sector is never written without what it had before."""
        whole, length = bytearray(self.durable), len(self.durable)
        kept = collections.defaultdict(lambda: keep(len(self.pending)))
        lengths = [length]
        for number, operation in enumerate(self.pending):
            for part in sectors(operation) if operation.kind == "W" else [operation]:
                if number < kept[part.at // SECTOR] or operation.kind != "W":
                    apply(whole, part)
            length = max(length, operation.at + operation.length) if operation.kind != "T" else operation.at
            lengths.append(length)
        length = lengths[kept["length"]]
        return whole[:length].ljust(length, b"\0")


def apply(content, operation):
    end = operation.at + (operation.length if operation.kind != "T" else 0)
    if operation.kind == "T":
        del content[end:]
    content.extend(bytes(max(0, end - len(content))))
    if operation.kind == "W":
        content[operation.at:end] = operation.data


def sectors(operation):
    """A write in pieces that no disk tears."""
    at, end = operation.at, operation.at + operation.length
    while at < end:
        stop = min(end, (at // SECTOR + 1) * SECTOR)
        yield operation._replace(at=at, length=stop - at, data=operation.data[at - operation.at:stop - operation.at])
        at = stop


def keep_some(rng):
    """Many sectors have all or nothing of what is pending, and some what is in between."""
    ends = rng.choice((0.5, 0.9))

    def keep(count):
        return rng.choice((0, count)) if rng.random() < ends else rng.randint(0, count)
    return keep


class Disk:
    """Takes operations one by one; at any time it says what a power cut may leave."""

    def __init__(self):
        self.files = {}   # by inode
        self.names = []   # changes of names: (kind, path, to, File)
        self.durable = 0  # so many of them are there for sure

    def take(self, operation):
        kind = operation.kind
        if kind == "C":
            self.files[operation.inode] = File()
            self.names.append((kind, operation.path, "", self.files[operation.inode]))
        elif kind in "RUM":
            self.names.append((kind, operation.path, operation.to, None))
        elif kind == "Y":
            self.sync_names(operation.path)
        elif operation.inode in self.files:
            file = self.files[operation.inode]
            file.sync() if kind == "S" else file.pending.append(operation)

    def sync_names(self, directory):
        for at in range(len(self.names), self.durable, -1):
            _, path, to, _ = self.names[at - 1]
            if directory in (os.path.dirname(path) or ".", to and (os.path.dirname(to) or ".")):
                self.durable = at
                return

    def tree(self, count):
        """The files, or None for directories, by path, after so many changes of names."""
        tree = {}
        for kind, path, to, file in self.names[:count]:
            if kind in "CM":
                tree[path] = file
            elif kind == "U":
                tree.pop(path, None)
            else:
                moved = {name: node for name, node in tree.items() if name == path or name.startswith(path + "/")}
                for name in moved:
                    del tree[name]
                tree.update((to + name[len(path):], node) for name, node in moved.items())
        return tree

    def leave(self, directory, keep, count):
        """Makes a directory of what a cut leaves."""
        os.mkdir(directory, 0o700)
        for path, file in sorted(self.tree(count).items()):
            path = os.path.join(directory, path)
            if file is None:
                os.mkdir(path, 0o700)
                continue
            with open(path, "wb") as to:
                to.write(file.content(keep))


# ---- what is recorded

Event = collections.namedtuple("Event", "sent answered state durable")


class Story:
    """A run of a server, and what it promised when: each change of its state is an Event."""

    def __init__(self, args, fsync, parent):
        self.path = os.path.join(parent, "record")
        self.directory = os.path.join(parent, "story")
        os.mkdir(self.directory, 0o700)
        self.server = Server(args.ckv, self.directory, fsync, OPTIONS)
        self.server.env = dict(Plan(args.library, self.directory, os.devnull).env, IOFAULT_RECORD=self.path)
        self.always = fsync == "always"
        self.steps, self.extra = 0, {}
        self.events = [Event(0, 0, {}, True)]
        self.connection = None

    def position(self):
        return os.path.getsize(self.path) if os.path.exists(self.path) else 0

    def do(self, action, durable=False):
        """Does what leads to a state, which is taken when it's done."""
        sent = self.position()
        action()
        self.events.append(Event(sent, self.position(), state_after(self.steps) | self.extra,
                                 durable or self.always))

    def step(self, count):
        for _ in range(count):
            self.do(lambda: self.call(step_commands(self.steps)))

    def call(self, commands):
        replies = self.connection.calls(commands)
        if any(isinstance(reply, bytes) and reply.startswith(b"-") for reply in replies):
            raise Lost("%r is answered with %r" % (commands[-1], replies))
        self.steps += commands[0] == (b"MULTI",)

    def set(self, key, value):
        self.extra = self.extra | {(1, key): value}
        self.do(lambda: self.call([(b"SELECT", b"1"), (b"SET", key, value), (b"SELECT", b"0")]))

    def save(self, action):
        error = action(self.connection)
        if error:
            raise Lost(error)

    def roll_back(self, identity, steps, extra):
        def action():
            self.save(lambda connection: roll_back(connection, identity))
            self.steps, self.extra = steps, extra
        self.do(action, durable=True)

    def start(self):
        self.server.start()
        self.connection = self.server.connect()

    def checkpoints(self, count):
        for _ in range(count):
            self.step(4)
            self.do(lambda: self.save(checkpoint), durable=True)

    def run(self):
        self.start()
        self.set(b"large", LARGE)
        self.checkpoints(3)
        self.step(3)
        self.do(lambda: self.save(make_backup))
        kept = self.steps, self.extra
        identity = next(iter(os.listdir(os.path.join(self.directory, "backups")))).encode()
        self.step(3)
        self.server.kill()
        self.start()
        self.checkpoints(1)
        self.step(2)
        self.roll_back(identity, *kept)
        self.set(b"era", b"2")
        self.step(2)
        self.checkpoints(2)
        self.roll_back(identity, *kept)
        self.set(b"era", b"3")
        self.step(3)
        self.do(self.server.stop, durable=True)
        self.start()
        self.step(2)
        self.server.kill()


# ---- the cuts

def promised(events, at):
    """The states that a cut at this place of the record may leave."""
    settled = max(n for n, event in enumerate(events) if event.answered <= at and event.durable)
    return [event.state for n, event in enumerate(events) if n >= settled and (event.sent <= at or n == settled)]


class Cut:
    """One directory that a power cut left."""

    def __init__(self, args, fsync, parent, story, disk, operation, number, how):
        self.name = "fsync %s, cut %d behind \"%s %s\", %s" % (fsync, number, operation.kind, operation.path, how)
        self.allowed = promised(story.events, operation.end)
        rng = random.Random("%s %s %d %s" % (args.seed, fsync, number, how))
        keep = {"all": lambda count: count, "synced": lambda _: 0}.get(how) or keep_some(rng)
        count = {"all": len(disk.names), "synced": disk.durable}.get(how, rng.randint(disk.durable, len(disk.names)))
        self.directory = os.path.join(parent, "cut-%d-%s" % (number, how))
        disk.leave(self.directory, keep, count)
        self.server = Server(args.ckv, self.directory, fsync, OPTIONS)
        self.keep = args.keep

    def read(self):
        self.server.start()
        connection = self.server.connect()
        state = {place: value.data for place, value in read_state(connection, (0, 1)).items()}
        return connection, state

    def check(self):
        """An empty text, or what is wrong."""
        connection, state = self.read()
        if state not in self.allowed:
            nearest = min(self.allowed, key=lambda allowed: sum(allowed.get(place) != state.get(place)
                                                                for place in set(allowed) | set(state)))
            return difference(nearest, state) + " (of %d states)" % len(self.allowed)
        if connection.calls([(b"SELECT", b"1"), (b"SET", b"after", b"1")]) != [b"+OK", b"+OK"]:
            return "a write is refused"
        error = checkpoint(connection)
        if error:
            return "no checkpoint: " + error
        self.server.kill()
        if self.read()[1] != state | {(1, b"after"): b"1"}:
            return "the start after that has something else"
        return ""

    def run(self):
        try:
            problem = self.check()
        except (NotStarted, Lost, OSError) as error:
            problem = "%s: %s" % (type(error).__name__, error)
        finally:
            self.server.kill()
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        return self.name, problem


def choose(operations, count, rng):
    """Places to cut: half of them behind what isn't a write, since there is most to go wrong."""
    numbers = range(len(operations))
    others = [n for n in numbers if operations[n].kind != "W"]
    chosen = set(rng.sample(others, min(len(others), count - count // 2)))
    return sorted(chosen | set(rng.sample(numbers, min(len(operations), count // 2))))


def cuts(args, fsync, parent, rng):
    """The cuts of one story, made one after the other."""
    story = Story(args, fsync, parent)
    try:
        story.run()
    finally:
        story.server.kill()
    operations = read_record(story.path)
    places = choose(operations, args.cuts, rng)
    print("fsync %s: %d operations, cut at %d of them" % (fsync, len(operations), len(places)), flush=True)
    disk = Disk()
    for number, operation in enumerate(operations):
        disk.take(operation)
        if number in places:
            for how in ["all", "synced"] + ["some-%d" % n for n in range(args.tries)]:
                yield Cut(args, fsync, parent, story, disk, operation, number, how)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--library", default="build/iofault.so", metavar="PATH", help="iofault.so")
    options.add_argument("--cuts", type=int, default=200, help="places to cut in each fsync mode")
    options.add_argument("--tries", type=int, default=3, help="random states at each place")
    options.add_argument("--fsync", default="always,everysec")
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--keep", action="store_true", help="leave the directories")
    options.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    args = options.parse_args()
    print("seed %d" % args.seed, flush=True)
    passed = failed = 0
    parent = tempfile.mkdtemp(prefix="ckv-powercut-")
    try:
        for fsync in args.fsync.split(","):
            below = os.path.join(parent, fsync)
            os.mkdir(below)
            with ThreadPoolExecutor(args.jobs) as pool:
                running = [pool.submit(cut.run) for cut in cuts(args, fsync, below, random.Random(args.seed))]
            for name, problem in (one.result() for one in running):
                passed, failed = passed + (not problem), failed + bool(problem)
                if problem and failed <= FAILURES_SHOWN:
                    print("FAIL  %s: %s" % (name, problem))
    finally:
        if not args.keep:
            shutil.rmtree(parent, ignore_errors=True)
    print("%d passed, %d failed" % (passed, failed))
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
