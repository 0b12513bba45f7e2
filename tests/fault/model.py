"""model.py - what a dataset must be: a small model of the commands that the fault tests send, and a server's state to
compare it with.

A key's deadline is an interval, since the test knows only between which moments the server ran the command.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import now_ms  # noqa: E402

SHARED = b"shared:"       # keys that several clients write; the model leaves them out
DEADLINE_SLACK_MS = 1200  # PTTL counts in whole seconds
EXPIRY_SLACK_MS = 150
READ_BATCH = 500


class Value:
    """One key's value: bytes, a list, a set, a dict of floats (zset) or of bytes (hash)."""
    __slots__ = ("kind", "data", "low", "high")

    def __init__(self, kind, data):
        self.kind = kind
        self.data = data
        self.low = self.high = None  # the deadline, unix ms

    def expires(self, low, high):
        self.low, self.high = low, high


EMPTY = {"string": bytes, "list": list, "set": set, "zset": dict, "hash": dict}


def number_text(number):
    return b"%d" % number if number == int(number) else repr(number).encode()


class Model:
    """Runs commands. `low` and `high` bound the time at which the server ran them."""

    def __init__(self):
        self.keys = {}
        self.db = 0
        self.touched = set()
        self.low = self.high = 0
        self.observed = {}  # lets an unanswered SPOP be followed

    def run(self, argv, low, high, reply=None):
        name = argv[0].decode().lower()
        if name in ("multi", "exec") or (len(argv) > 1 and argv[1].startswith(SHARED)):
            return
        self.low, self.high = low, high
        getattr(self, "do_" + name)(argv[1:], reply) if name == "spop" else getattr(self, "do_" + name)(*argv[1:])

    def place(self, key):
        place = (self.db, key)
        self.touched.add(place)
        return place

    def get(self, key, kind):
        """The value, made if it is missing."""
        place = self.place(key)
        value = self.keys.get(place)
        if value is None:
            value = self.keys[place] = Value(kind, EMPTY[kind]())
        if value.kind != kind:
            raise AssertionError("the test itself uses %r as %s and %s" % (key, value.kind, kind))
        return value

    def settle(self, key):
        """Removes the key if its collection is empty."""
        place = (self.db, key)
        if place in self.keys and not self.keys[place].data and self.keys[place].kind != "string":
            del self.keys[place]

    # ---- connection and keys

    def do_select(self, db):
        self.db = int(db)

    def do_flushdb(self):
        for place in [place for place in self.keys if place[0] == self.db]:
            self.touched.add(place)
            del self.keys[place]

    def do_del(self, *keys):
        for key in keys:
            self.keys.pop(self.place(key), None)

    def do_rename(self, old, new):
        value = self.keys.pop(self.place(old), None)
        if value is not None:
            self.keys[self.place(new)] = value

    def do_move(self, key, db):
        to = (int(db), key)
        if to not in self.keys and (self.db, key) in self.keys:
            self.keys[to] = self.keys.pop(self.place(key))
        self.touched.add(to)

    def do_pexpire(self, key, ms):
        if self.place(key) in self.keys:
            self.keys[(self.db, key)].expires(self.low + int(ms), self.high + int(ms))

    def do_expire(self, key, seconds):
        self.do_pexpire(key, int(seconds) * 1000)

    def do_pexpireat(self, key, ms):
        if self.place(key) in self.keys:
            self.keys[(self.db, key)].expires(int(ms), int(ms))

    def do_persist(self, key):
        if self.place(key) in self.keys:
            self.keys[(self.db, key)].expires(None, None)

    # ---- strings

    def do_set(self, key, text, *options):
        value = self.keys[self.place(key)] = Value("string", text)
        if options and options[0].lower() == b"px":
            value.expires(self.low + int(options[1]), self.high + int(options[1]))

    def do_psetex(self, key, ms, text):
        self.do_set(key, text, b"px", ms)

    def do_setex(self, key, seconds, text):
        self.do_set(key, text, b"px", int(seconds) * 1000)

    def do_mset(self, *pairs):
        for key, text in zip(pairs[::2], pairs[1::2]):
            self.do_set(key, text)

    def do_append(self, key, text):
        self.get(key, "string").data += text

    def do_setrange(self, key, at, text):
        value, at = self.get(key, "string"), int(at)
        old = value.data.ljust(at, b"\0")
        value.data = old[:at] + text + old[at + len(text):]

    def do_setbit(self, key, bit, on):
        value, byte = self.get(key, "string"), int(bit) // 8
        data = bytearray(value.data.ljust(byte + 1, b"\0"))
        mask = 128 >> int(bit) % 8
        data[byte] = data[byte] | mask if on == b"1" else data[byte] & ~mask
        value.data = bytes(data)

    def do_incrby(self, key, by):
        value = self.get(key, "string")
        value.data = b"%d" % (int(value.data or b"0") + int(by))

    def do_incrbyfloat(self, key, by):
        value = self.get(key, "string")
        value.data = number_text(float(value.data or b"0") + float(by))

    # ---- lists

    def do_rpush(self, key, *items):
        self.get(key, "list").data.extend(items)

    def do_lpush(self, key, *items):
        value = self.get(key, "list")
        value.data[:0] = items[::-1]

    def do_rpop(self, key):
        data = self.get(key, "list").data
        if data:
            data.pop()
        self.settle(key)

    def do_lpop(self, key):
        del self.get(key, "list").data[:1]
        self.settle(key)

    def do_ltrim(self, key, first, last):
        value = self.get(key, "list")
        value.data = value.data[int(first):int(last) + 1]
        self.settle(key)

    def do_rpoplpush(self, source, target):
        data = self.get(source, "list").data
        if data:
            item = data.pop()
            self.do_lpush(target, item)
        self.settle(source)

    # ---- sets

    def do_sadd(self, key, *members):
        self.get(key, "set").data.update(members)

    def do_srem(self, key, *members):
        self.get(key, "set").data.difference_update(members)
        self.settle(key)

    def do_spop(self, argv, reply):
        """Which member it was says the reply, or else what is missing now."""
        key = argv[0]
        value = self.get(key, "set")
        if reply is not None:
            value.data.discard(reply[1:])
        else:
            now = self.observed.get((self.db, key))
            missing = value.data - now.data if now is not None and now.kind == "set" else value.data
            if len(missing) == 1:
                value.data = value.data - missing
        self.settle(key)

    # ---- sorted sets

    def do_zadd(self, key, *pairs):
        for score, member in zip(pairs[::2], pairs[1::2]):
            self.get(key, "zset").data[member] = float(score)

    def do_zincrby(self, key, by, member):
        data = self.get(key, "zset").data
        data[member] = data.get(member, 0.0) + float(by)

    def do_zrem(self, key, *members):
        data = self.get(key, "zset").data
        for member in members:
            data.pop(member, None)
        self.settle(key)

    def do_zremrangebyrank(self, key, first, last):
        data = self.get(key, "zset").data
        order = sorted((score, member) for member, score in data.items())
        for _, member in order[int(first):int(last) + 1]:
            del data[member]
        self.settle(key)

    # ---- hashes

    def do_hset(self, key, *pairs):
        self.get(key, "hash").data.update(zip(pairs[::2], pairs[1::2]))

    do_hmset = do_hset

    def do_hdel(self, key, *fields):
        data = self.get(key, "hash").data
        for field in fields:
            data.pop(field, None)
        self.settle(key)

    def do_hincrby(self, key, field, by):
        data = self.get(key, "hash").data
        data[field] = b"%d" % (int(data.get(field, b"0")) + int(by))

    def do_hincrbyfloat(self, key, field, by):
        data = self.get(key, "hash").data
        data[field] = number_text(float(data.get(field, b"0")) + float(by))


# ---- what a server has

READERS = {
    b"+string": lambda key: (b"GET", key),
    b"+list": lambda key: (b"LRANGE", key, b"0", b"-1"),
    b"+set": lambda key: (b"SMEMBERS", key),
    b"+zset": lambda key: (b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"),
    b"+hash": lambda key: (b"HGETALL", key),
}


def decode(kind, reply):
    """A Value of a reply, None if the key has gone in between."""
    if reply is None or reply == []:
        return None
    if kind == "string":
        return Value(kind, reply[1:])
    items = [item[1:] for item in reply]
    if kind == "list":
        return Value(kind, items)
    if kind == "set":
        return Value(kind, set(items))
    pairs = zip(items[::2], items[1::2])
    return Value(kind, {member: float(score) for member, score in pairs} if kind == "zset" else dict(pairs))


def calls(connection, commands):
    replies = []
    for at in range(0, len(commands), READ_BATCH):
        replies += connection.calls(commands[at:at + READ_BATCH])
    return replies


def read_db(connection, db, state):
    connection.call("SELECT", db)
    keys = [key[1:] for key in connection.call("KEYS", "*")]
    types = calls(connection, [(b"TYPE", key) for key in keys])
    there = [(key, kind) for key, kind in zip(keys, types) if kind in READERS]
    asked = now_ms()
    deadlines = calls(connection, [(b"PTTL", key) for key, _ in there])
    told = now_ms()
    values = calls(connection, [READERS[kind](key) for key, kind in there])
    for (key, kind), deadline, reply in zip(there, deadlines, values):
        value = decode(kind[1:].decode(), reply)
        if value is not None and deadline != b":-2":
            ttl = int(deadline[1:])
            if ttl >= 0:
                value.expires(asked + ttl, told + ttl)
            state[(db, key)] = value


def read_state(connection, dbs):
    """All that a server has in these databases: { (db, key): Value }."""
    state = {}
    for db in dbs:
        read_db(connection, db, state)
    return state


# ---- the comparison

def brief(value):
    if value is None:
        return "nothing"
    text = repr(value.data)
    deadline = "" if value.low is None else " until %d..%d" % (value.low, value.high)
    return "%s of %d: %s%s" % (value.kind, len(value.data), text if len(text) < 120 else text[:120] + "...", deadline)


def same_deadline(expected, actual):
    if expected.low is None or actual.low is None:
        return expected.low is actual.low
    return expected.low - DEADLINE_SLACK_MS <= actual.high and actual.low <= expected.high + DEADLINE_SLACK_MS


def agrees(expected, actual, before_ms, after_ms):
    """Whether a key that was read between two moments is as expected (either may be None)."""
    if actual is None:
        return expected is None or (expected.low is not None and after_ms > expected.low - EXPIRY_SLACK_MS)
    if expected is None or (expected.high is not None and before_ms > expected.high + EXPIRY_SLACK_MS):
        return False
    return expected.kind == actual.kind and expected.data == actual.data and same_deadline(expected, actual)


class Comparison:
    """Which keys differ between a model and an observed state; follows a model that goes on."""

    def __init__(self, model, observed, before_ms, after_ms):
        self.model, self.observed = model, observed
        self.before_ms, self.after_ms = before_ms, after_ms
        self.wrong = set()
        self.look(set(model.keys) | set(observed))

    def look(self, places):
        for place in places:
            good = agrees(self.model.keys.get(place), self.observed.get(place), self.before_ms, self.after_ms)
            (self.wrong.discard if good else self.wrong.add)(place)

    def follow(self):
        self.look(self.model.touched)
        self.model.touched.clear()

    def describe(self, most=3):
        lines = ["%d keys differ" % len(self.wrong)]
        for place in sorted(self.wrong)[:most]:
            lines.append("  db %d %r: expected %s; there is %s" % (
                place[0], place[1][:60], brief(self.model.keys.get(place)), brief(self.observed.get(place))))
        return "\n".join(lines)

    def adopt(self):
        """The model forgets what has expired meanwhile."""
        for place in [place for place in self.model.keys if place not in self.observed]:
            del self.model.keys[place]
