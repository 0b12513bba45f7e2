"""load.py - the writes that kill.py's clients send: operations of one command or one transaction, drawn at random, and
clients that send them in pipelines and remember what was answered.

Each client writes keys of its own, whose names begin with its own letters, so that its model alone says what they must
hold. The keys that begin with "shared:" are written by all of them, only in transactions: see Writer.transfer,
Writer.stamp and Writer.count.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Lost, now_ms  # noqa: E402
from resp import encode  # noqa: E402  (server.py knows where it is)

DBS = (0, 1, 2)
ACCOUNTS = 8
LARGE_BYTES_MAX = 1 << 20
BIG_MEMBERS = 6000
PIPELINES = (1, 1, 2, 5, 16)
WIDE_KEYS = 6000
WIDE_PIPELINE = 64


class Op:
    """One step that is done whole or not at all: a command, or a transaction with its MULTI and EXEC."""
    __slots__ = ("commands", "low")

    def __init__(self, commands):
        self.commands = commands
        self.low = 0

    def bytes(self):
        return b"".join(map(encode, self.commands))

    def apply(self, model, high, replies=None):
        for at, command in enumerate(self.commands):
            model.run(command, self.low, high, replies[at] if replies else None)


def flatten(parts):
    return tuple(part if isinstance(part, bytes) else str(part).encode() for part in parts)


class Writer:
    """Draws a client's operations."""

    def __init__(self, rng, name, operator):
        self.rng = rng
        self.name = name
        self.operator = operator  # may use the admin plane's commands
        self.own_db = 8 + int(name[1:])
        self.db = 0
        self.makers = ([self.string] * 4 + [self.list] * 4 + [self.set] * 3 + [self.zset] * 3 + [self.hash] * 4 +
                       [self.expiry] * 3 + [self.volatile] * 2 + [self.keys] * 2 + [self.large] + [self.select] +
                       [self.transfer] * 2 + [self.stamp] + [self.count] + [self.multi] * 2 +
                       ([self.big] * 4 if operator else []))

    # ---- parts

    def key(self, kind, count=4):
        return b"%s:%s:%d" % (self.name.encode(), kind, self.rng.randrange(count))

    def text(self):
        return self.rng.randbytes(self.rng.choice((0, 1, 8, 20, 64, 65, 300, 5000)))

    def member(self):
        return b"m%d" % self.rng.randrange(200)

    def some(self, make):
        return [make() for _ in range(self.rng.choice((1, 2, 5, 40)))]

    def choose(self, *commands):
        return flatten(self.rng.choice(commands))

    # ---- single commands

    def string(self):
        key, n = self.key(b"s"), self.rng.randrange(-1000, 100000)
        return self.choose(("SET", key, self.text()), ("APPEND", key, self.text()),
                           ("SETRANGE", key, self.rng.randrange(300), b"x" + self.text()),
                           ("INCRBY", self.key(b"n"), n), ("INCRBYFLOAT", self.key(b"f"), n / 4),
                           ("SETBIT", self.key(b"b"), self.rng.randrange(3000), self.rng.randrange(2)),
                           ("MSET", key, self.text(), self.key(b"s"), self.text()), ("DEL", key))

    def list(self):
        key, other = self.key(b"l"), self.key(b"l")
        return self.choose(("RPUSH", key, *self.some(self.text)), ("LPUSH", key, *self.some(self.text)),
                           ("RPOP", key), ("LPOP", key), ("LTRIM", key, 1, 60), ("RPOPLPUSH", key, other),
                           ("DEL", key))

    def set(self):
        key = self.key(b"t")
        members = self.some(self.member if key.endswith((b"0", b"1")) else lambda: str(self.rng.randrange(900)))
        return self.choose(("SADD", key, *members), ("SADD", key, *members), ("SREM", key, *members), ("SPOP", key))

    def zset(self):
        key, score = self.key(b"z"), self.rng.randrange(-4000, 4000) / 8
        pairs = [part for member in self.some(self.member) for part in (score, member)]
        return self.choose(("ZADD", key, *pairs), ("ZADD", key, *pairs), ("ZINCRBY", key, score, self.member()),
                           ("ZREM", key, *self.some(self.member)), ("ZREMRANGEBYRANK", key, 0, 20))

    def hash(self):
        key, n = self.key(b"h"), self.rng.randrange(1000)
        pairs = [part for member in self.some(self.member) for part in (member, self.text())]
        return self.choose(("HMSET", key, *pairs), ("HSET", key, self.member(), self.text()),
                           ("HINCRBY", key, "counter", n), ("HINCRBYFLOAT", key, "float", n / 8),
                           ("HDEL", key, *self.some(self.member)))

    def expiry(self):
        """Deadlines beyond the test's end."""
        key = self.key(self.rng.choice((b"s", b"n", b"l", b"t", b"z", b"h")))
        at = int(now_ms()) + self.rng.randrange(2000000, 9000000)
        return self.choose(("EXPIRE", key, self.rng.randrange(1000, 90000)), ("PERSIST", key),
                           ("PEXPIRE", key, self.rng.randrange(1000000, 90000000)), ("PEXPIREAT", key, at))

    def volatile(self):
        """Deadlines that pass within the test; whatever was there does not matter to them."""
        key, ms = self.key(b"e", 12), self.rng.choice((20, 100, 400, 1500, 500000))
        return self.choose(("SET", key, self.text(), "PX", ms), ("PSETEX", key, ms, self.text()), ("DEL", key))

    def keys(self):
        kind = self.rng.choice((b"s", b"l", b"z", b"h"))
        key = self.key(kind)
        return self.choose(("DEL", key, self.key(kind)), ("RENAME", b"%s:n:0" % self.name.encode(), self.key(b"n")),
                           ("MOVE", key, self.rng.choice([db for db in DBS if db != self.db])))

    def large(self):
        size = self.rng.choice((40000, 100000, LARGE_BYTES_MAX))
        key, text = self.key(b"L", 2), self.rng.randbytes(size)
        return self.choose(("SET", key, text), ("HSET", self.key(b"H", 1), self.rng.randrange(3), text[:size // 3]),
                           ("LPUSH", self.key(b"Q", 1), text[:size // 3]), ("DEL", self.key(b"Q", 1)), ("DEL", key))

    def big(self):
        """Collections of thousands of elements, which checkpoints keep as pages of their own. They are all in database
        0, grow for a while, and then go."""
        kind = self.rng.choice((b"bs", b"bz", b"bh", b"bl"))
        key, other = [b"%s:%b:%d" % (self.name.encode(), kind, n) for n in (0, 1)]
        if self.rng.random() < 0.08:
            inner = self.choose(("DEL", key), ("RENAME", key, other), ("DEL", other), ("EXPIRE", key, 5000),
                                *self.shrink(kind, key))
        else:
            inner = flatten(self.grow(kind, key))
        self.db = 0
        return [flatten(("MULTI",)), flatten(("SELECT", 0)), inner, flatten(("EXEC",))]

    def big_members(self, count):
        return [b"member-%020d" % self.rng.randrange(BIG_MEMBERS) for _ in range(count)]

    def grow(self, kind, key):
        members = self.big_members(self.rng.choice((1, 3, 400)))
        scored = [part for member in members for part in (self.rng.randrange(10000), member)]
        return {b"bs": ("SADD", key, *members), b"bz": ("ZADD", key, *scored), b"bh": ("HMSET", key, *scored[::-1]),
                b"bl": (self.rng.choice(("RPUSH", "LPUSH")), key, *members)}[kind]

    def shrink(self, kind, key):
        members = self.big_members(200)
        return {b"bs": [("SREM", key, *members)], b"bz": [("ZREM", key, *members), ("ZREMRANGEBYRANK", key, 0, 1500)],
                b"bh": [("HDEL", key, *members)], b"bl": [("LTRIM", key, 700, 3000), ("LPOP", key)]}[kind]

    def select(self):
        self.db = self.rng.choice(DBS)
        return flatten(("SELECT", self.db))

    # ---- transactions

    def simple(self):
        return self.rng.choice((self.string, self.list, self.zset, self.hash))()

    def multi(self):
        """Several commands, perhaps in several databases."""
        inner = [self.simple() for _ in range(self.rng.randrange(1, 6))]
        if self.rng.random() < 0.3:
            other = self.rng.choice(DBS)
            inner[1:1] = [flatten(("SELECT", other))]
            self.db = other
        return [flatten(("MULTI",)), *inner, flatten(("EXEC",))]

    def transfer(self):
        """Between two accounts and this client's own, whose sum is and stays 0."""
        self.db = 0
        one, two = self.rng.randrange(ACCOUNTS), self.rng.randrange(ACCOUNTS)
        amount = self.rng.randrange(1, 1000)
        return [flatten(command) for command in (
            ("MULTI",), ("SELECT", 0), ("INCRBY", "shared:account:%d" % one, -3 * amount),
            ("INCRBY", self.name + ":given", amount), ("INCRBY", "shared:account:%d" % two, 2 * amount), ("EXEC",))]

    def stamp(self):
        """The same text into two keys in two databases."""
        self.db = 1
        text = b"%s %d" % (self.name.encode(), self.rng.getrandbits(60))
        return [flatten(command) for command in (
            ("MULTI",), ("SELECT", 0), ("SET", "shared:stamp", text), self.string(), ("SELECT", 1),
            ("SET", "shared:stamp", text), ("EXEC",))]

    def count(self):
        """A counter in a key of its own, and the same in a field of a hash that all clients write."""
        self.db = 0
        return [flatten(command) for command in (
            ("MULTI",), ("SELECT", 0), ("HINCRBY", "shared:counts", self.name, 1),
            ("INCRBY", self.name + ":count", 1), ("EXEC",))]

    def flush(self):
        """A database that no other client uses is filled and emptied."""
        fill = [flatten(("SET", b"%s:flush:%d" % (self.name.encode(), n), self.text())) for n in range(3)]
        drop = [flatten(("FLUSHDB",))] if self.rng.random() < 0.4 else []
        return [[flatten(("SELECT", self.own_db))], *[[step] for step in fill + drop], [flatten(("SELECT", self.db))]]

    def draw(self):
        """The next operations."""
        if self.operator and self.rng.random() < 0.02:
            return [Op(commands) for commands in self.flush()]
        made = self.rng.choice(self.makers)()
        return [Op(made if isinstance(made, list) else [made])]

    def pipeline(self):
        """Operations to send in one go. What SPOP took cannot be told if others change the set after it, so it is the
        last."""
        ops = []
        for _ in range(self.rng.choice(PIPELINES)):
            ops += self.draw()
            if any(command[0] == b"SPOP" for command in ops[-1].commands):
                break
        return ops


class WideWriter:
    """Draws small writes all over many keys, so that a checkpoint has pages to write."""

    def __init__(self, rng, name):
        self.rng = rng
        self.name = name

    def pipeline(self):
        name = self.name.encode()
        return [Op([(b"SET", b"%s:%d" % (name, self.rng.randrange(WIDE_KEYS)), b"%x" % self.rng.getrandbits(400))])
                for _ in range(WIDE_PIPELINE)]


class Client(threading.Thread):
    """Sends a writer's operations until the connection breaks. What was answered is in the model; `pending` is what was
    sent and was not answered, in order."""

    def __init__(self, connection, writer, model):
        super().__init__(daemon=True)
        self.connection = connection
        self.writer = writer
        self.model = model
        self.pending = []
        self.answered = 0
        self.problem = ""

    def run(self):
        try:
            while True:
                self.step()
        except Lost:
            pass
        except Exception as error:
            self.problem = "%s: %s" % (type(error).__name__, error)
        self.connection.close()

    def step(self):
        ops = self.writer.pipeline()
        low = now_ms()
        for op in ops:
            op.low = low
        self.pending = ops
        self.connection.send(b"".join(op.bytes() for op in ops))
        while self.pending:
            op = self.pending[0]
            replies = self.connection.read(len(op.commands))
            self.check(op, replies)
            op.apply(self.model, now_ms(), replies)
            self.answered += 1
            del self.pending[0]

    def check(self, op, replies):
        flat = replies[:-1] + (replies[-1] if isinstance(replies[-1], list) else [replies[-1]])
        for reply in flat:
            refused = isinstance(reply, bytes) and reply.startswith(b"-") and not reply.startswith(b"-ERR no such key")
            if refused and not self.problem:
                self.problem = "%r was answered with %r" % (op.commands[-1][:2], reply[:200])
