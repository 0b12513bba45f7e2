"""dataset.py - all data of a server, and how two servers' data differ.

SPDX-License-Identifier: GPL-3.0-or-later
"""
from resp import show

DATABASES = 16
TTL_MS_APART_MAX = 3000
READERS = {
    b"+string": lambda key: [b"GET", key],
    b"+list": lambda key: [b"LRANGE", key, b"0", b"-1"],
    b"+set": lambda key: [b"SMEMBERS", key],
    b"+hash": lambda key: [b"HGETALL", key],
    b"+zset": lambda key: [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
}


class Difference(str):
    """What differs, and the key that does."""

    key = None


class Dataset:
    """Type, time to live and value of every key of every database."""

    def __init__(self, connection, exact):
        self.exact = exact
        self.keys = {}
        listed = connection.calls([c for db in range(DATABASES) for c in ([b"SELECT", b"%d" % db], [b"KEYS", b"*"])])
        for db, keys in enumerate(listed[1::2]):
            if keys:
                self.read(connection, db, [key[1:] for key in keys])

    def read(self, connection, db, keys):
        connection.call("SELECT", db)
        about = connection.calls([c for key in keys for c in ([b"TYPE", key], [b"PTTL", key])])
        values = connection.calls([READERS.get(kind, READERS[b"+string"])(key) for key, kind in zip(keys, about[::2])])
        for key, kind, ttl, value in zip(keys, about[::2], about[1::2], values):
            if kind == b"+set":
                value = sorted(value)
            elif kind == b"+hash":
                value = sorted(zip(value[::2], value[1::2]))
            elif kind == b"+zset" and not self.exact:
                value = [b"$0" if item == b"$-0" else item for item in value]
            elif kind == b"+string" and not self.exact and value[1:5] == b"HYLL":
                value = connection.call(b"PFCOUNT", key)
            self.keys[db, key] = kind, int(ttl[1:]), value

    def difference(self, other):
        """None, or how `other` (ours) differs from this one (theirs)."""
        for db, key in sorted(set(self.keys) | set(other.keys)):
            pair = self.keys.get((db, key)), other.keys.get((db, key))
            if None not in pair and self.same(*pair):
                continue
            said = Difference("database %d, key %r\n  theirs: %s\n  ours:   %s" % (
                (db, key) + tuple("none" if entry is None else "%s, PTTL %d, %s" % (
                    entry[0][1:].decode(), entry[1],
                    show([list(x) if isinstance(x, tuple) else x for x in entry[2]]
                         if isinstance(entry[2], list) else entry[2])) for entry in pair)))
            said.key = key
            return said
        return None

    def same(self, theirs, ours):
        if theirs[0] != ours[0] or (theirs[1] < 0) != (ours[1] < 0) or abs(theirs[1] - ours[1]) > TTL_MS_APART_MAX:
            return False
        if theirs[2] == ours[2]:
            return True
        if self.exact or theirs[0] != b"+string" or theirs[2][:1] != b":" or ours[2][:1] != b":":
            return False
        counts = int(theirs[2][1:]), int(ours[2][1:])
        return abs(counts[0] - counts[1]) <= 1 + 0.02 * counts[0]
