"""words.py - what the random commands are made of: keys, members, numbers, ranges and odd values.

Keys have a class letter and a number. A command gets a key of its class most of the time, and one of another class
else, so that types collide. Three classes are kept apart, because what Redis answers would not be defined otherwise:
g (sorted sets of places), x (sorted sets whose scores are all 0, for the ranges by name) and p (HyperLogLogs).

SPDX-License-Identifier: GPL-3.0-or-later
"""
import struct

from changes import SEPARATOR

MIXED = b"siklehzn"  # the classes that any command may write to, each with what it likes
ODD = [
    b"", b" ", b" 1", b"1 ", b"+1", b"01", b"-0", b"0", b"-1", b"1e3", b"0x10", b"1.0", b".5", b"5.", b"nan", b"inf",
    b"-inf", b"+inf", b"(1", b"[a", b"-", b"+", b"(", b"[", b"abc", b"\x00", b"1\x00", b"*", b"#",
    b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"-9223372036854775809",
    b"18446744073709551616", b"2147483648",
    b"4294967296", b"99999999999999999999999", b"1e200", b"-1e200", b"2.3e-308", b"3.0e", b"--1", b"\xff\xfe\x00",
]
OPTIONS = [
    b"NX", b"XX", b"CH", b"INCR", b"GT", b"LT", b"EX", b"PX", b"EXAT", b"KEEPTTL", b"GET", b"WITHSCORES", b"LIMIT",
    b"BYSCORE", b"BYLEX", b"REV", b"COUNT", b"MATCH", b"TYPE", b"ASC", b"DESC", b"ALPHA", b"STORE", b"BY", b"WEIGHTS",
    b"AGGREGATE", b"SUM", b"BEFORE", b"BIT", b"BYTE", b"WITHDIST", b"km", b"ANY", b"KM", b"foo",
]
CITIES = [
    (b"13.361389", b"38.115556"), (b"15.087269", b"37.502669"), (b"2.3522", b"48.8566"), (b"-0.1276", b"51.5074"),
    (b"139.6917", b"35.6895"), (b"-74.006", b"40.7128"), (b"114.0579", b"22.5431"), (b"0", b"0"), (b"-70.6", b"-33.45"),
]


class Context:
    """What one round of a stream draws from."""

    def __init__(self, r):
        self.keys_max = r.choice((1, 2, 3, 4, 5, 6))
        self.pool = r.choice((6, 12, 40, 40, 150, 700))
        self.stray = r.choice((0.02, 0.05, 0.15))
        self.long_share = r.choice((0, 0.01, 0.05))
        self.published = 0


def index(r, n):
    return int(r.random() * n)


def pick(r, items):
    return items[int(r.random() * len(items))]


def name(r, context, letter):
    return b"%c%d" % (letter, int(r.random() * context.keys_max))


def key_of(letter, stray=MIXED):
    """The maker of keys of one class, which now and then makes one of the classes in `stray`."""
    letter = ord(letter)

    def make(r, context):
        if r.random() < context.stray:
            return name(r, context, stray[int(r.random() * len(stray))])
        return name(r, context, letter)
    return make


def any_key(r, context):
    """A key of any class, for commands that work on all."""
    draw = r.random()
    if draw < 0.9:
        return name(r, context, b"silehznxpg"[int(r.random() * 10)])
    return b"nokey" if draw < 0.95 else pick(r, (b"", b"\x00k\r\n", b"{tag}k", b"s*", b"[s]0"))


def mixed_key(r, context):
    return name(r, context, MIXED[int(r.random() * len(MIXED))])


def small_int(r, _):
    return b"%d" % (int(r.random() * 24) - 6)


def integer(r, context):
    draw = r.random()
    if draw < 0.8:
        return b"%d" % (int(r.random() * 300) - 100)
    if draw < 0.9:
        return b"%d" % (r.getrandbits(63) * pick(r, (1, -1)))
    return pick(r, (b"9223372036854775807", b"-9223372036854775808", b"-9223372036854775807", b"0", odd(r, context)))


def odd(r, _):
    return ODD[int(r.random() * len(ODD))]


def decimal(r, context):
    draw = r.random()
    if draw < 0.45:
        return small_int(r, context)
    if draw < 0.8:
        return b"%d.%d" % (int(r.random() * 40) - 20, pick(r, (5, 25, 75, 125)))
    if draw < 0.95:
        return pick(r, (b"1e3", b"2.5e-3", b"1e17", b"3.141592653589793", b"1e-7", b"0.1", b"-0.3", b"+2", b"1e20"))
    return odd(r, context)


def score(r, context):
    draw = r.random()
    if draw < 0.75:
        return b"%d" % (int(r.random() * 40) - 10)
    if draw < 0.9:
        return b"%d.5" % (int(r.random() * 20) - 5)
    return pick(r, (b"inf", b"-inf", b"+inf", b"1e17", b"3.3", b"0.1", b"-0", b"1e300", b"1.7e308", b"4503599627370496",
                    odd(r, context)))


def value(r, context):
    draw = r.random()
    if draw < 0.45:
        return b"v%d" % (int(r.random() * 50))
    if draw < 0.65:
        return integer(r, context)
    if draw < 0.75:
        return decimal(r, context)
    if draw < 0.85:
        return struct.pack("<Q", r.getrandbits(64))[:int(r.random() * 9)].replace(SEPARATOR, b"")
    if draw < 1 - context.long_share:
        return b"lorem ipsum dolor sit amet"[:int(r.random() * 27)]
    return pick(r, (b"a", b"xyz", b"\x00\xff")) * pick(r, (31, 32, 33, 40, 63, 64, 65, 100, 1000, 5000))


def member(r, context):
    draw = r.random()
    if draw < 0.80:
        return b"m%d" % int(r.random() * r.random() * context.pool)
    if draw < 0.94:
        return b"%d" % int(r.random() * r.random() * context.pool)
    if draw < 0.985:
        return pick(r, (b"a", b"b", b"ab", b"abc", b"B", b"z", b"", b"\x00", b"-1", b"32768", b"3000000000", b"\xe9"))
    return value(r, context)


def offset(r, _):
    draw = r.random()
    if draw < 0.93:
        return b"%d" % int(r.random() * r.random() * 60)
    if draw < 0.96:
        return b"%d" % int(r.random() * 5000)
    return pick(r, (b"-1", b"536870912", b"4294967296", b"9223372036854775806", b"x", b"", b"1.5", b"33554433"))


def bit_offset(r, _):
    draw = r.random()
    if draw < 0.93:
        return b"%d" % int(r.random() * r.random() * 500)
    if draw < 0.96:
        return b"%d" % int(r.random() * 40000)
    return pick(r, (b"-1", b"4294967296", b"9223372036854775807", b"x", b"", b"1.5", b"268435456"))


def rank(r, context):
    draw = r.random()
    if draw < 0.85:
        return b"%d" % (int(r.random() * 16) - 6)
    if draw < 0.95:
        return b"%d" % (int(r.random() * 2000) - 1000)
    return odd(r, context)


def count(r, context):
    return b"%d" % int(r.random() * 12) if r.random() < 0.95 else odd(r, context)


def ttl(r, _):
    draw = r.random()
    if draw < 0.8:
        return b"%d" % (1000 + int(r.random() * 100000))
    return pick(r, (b"0", b"-1", b"-100000", b"abc", b"", b"1.5", b"2147483648", b"9223372036854775807",
                    b"-9223372036854775808", b"9223372036854775", b"99999999999999999999"))


def ttl_ms(r, _):
    draw = r.random()
    if draw < 0.8:
        return b"%d" % (1000000 + int(r.random() * 100000000))
    return pick(r, (b"0", b"-1", b"-100000000", b"abc", b"", b"1.5", b"9223372036854775807", b"-9223372036854775808"))


def deadline(r, _):
    draw = r.random()
    if draw < 0.7:
        return b"%d" % (4102444800 + int(r.random() * 1000))
    return pick(r, (b"1", b"0", b"-1", b"abc", b"", b"1.5", b"-9223372036854775808", b"9223372036854775807"))


def deadline_ms(r, context):
    made = deadline(r, context)
    return made + b"000" if len(made) == 10 else made


def score_bound(r, context):
    draw = r.random()
    if draw < 0.2:
        return pick(r, (b"-inf", b"+inf", b"inf", b"(-inf", b"(+inf"))
    made = score(r, context)
    return b"(" + made if draw < 0.45 else made


def lex_bound(r, context):
    draw = r.random()
    if draw < 0.35:
        return b"-" if draw < 0.18 else b"+"
    if draw < 0.95:
        return (b"[" if draw < 0.7 else b"(") + member(r, context)
    return odd(r, context)


def low(r, context):
    return pick(r, (b"-inf", b"(0", b"-5", b"0", b"2")) if r.random() < 0.7 else score_bound(r, context)


def high(r, context):
    return pick(r, (b"+inf", b"(9", b"15", b"7", b"30")) if r.random() < 0.7 else score_bound(r, context)


def glob(r, _):
    return pick(r, (b"*", b"*", b"m*", b"*1*", b"[a-m]*", b"?", b"s?", b"?[^1]*", b"\\m1", b"m[0-5]", b"", b"[", b"*\\",
                    b"h*", b"[z-a]*", b"m1?", b"**", b"a*b", b"?*?"))


def sort_pattern(r, _):
    return pick(r, (b"w_*", b"w_*", b"h*->n0", b"h*->n1", b"i*", b"s*", b"nosort", b"x", b"*", b"h*->", b"nokey_*",
                    b"*->n0"))


def sort_get(r, _):
    return pick(r, (b"#", b"#", b"w_*", b"h*->n0", b"h*->n1", b"s*", b"l*", b"x", b"nokey_*", b"h*->"))


def longitude(r, context):
    draw = r.random()
    if draw < 0.5:
        return b"%.4f" % (10 + r.random() * 8)
    if draw < 0.9:
        return b"%.6f" % (r.random() * 359 - 179.5)
    return pick(r, (b"0", b"-0", b"13.361389", b"180.1", b"-181", b"500", b"1e2", b"179.9999", odd(r, context)))


def latitude(r, context):
    draw = r.random()
    if draw < 0.5:
        return b"%.4f" % (35 + r.random() * 6)
    if draw < 0.9:
        return b"%.6f" % (r.random() * 169 - 84.5)
    return pick(r, (b"0", b"-0", b"38.115556", b"85.06", b"-86", b"90", b"8e1", b"84.9999", odd(r, context)))


def place(r, context):
    return b"c%d" % int(r.random() * min(context.pool, 60)) if r.random() < 0.97 else value(r, context)


def radius(r, context):
    return pick(r, (b"0", b"1", b"50", b"200.5", b"800", b"3000")) if r.random() < 0.97 else odd(r, context)


def small_key(letter):
    return lambda r, _: b"%s%d" % (letter, int(r.random() * 6))


WORDS = {
    "skey": key_of("s"), "ikey": key_of("i"), "lkey": key_of("l"), "ekey": key_of("e"), "hkey": key_of("h"),
    "zkey": key_of("z"), "nkey": key_of("n"), "gkey": key_of("g", b"sleh"), "xkey": key_of("x", b"x"),
    "gonly": key_of("g", b"g"), "ponly": key_of("p", b"p"),
    "pkey": key_of("p", b"sleh"), "key": mixed_key, "anykey": any_key, "wkey": small_key(b"w_"),
    "db": lambda r, _: b"%d" % int(r.random() * 3) if r.random() < 0.93 else pick(
        r, (b"3", b"15", b"16", b"-1", b"x", b"", b"01", b"1.5", b"99999999999")),
    "value": value, "member": member, "field": member, "nfield": lambda r, c: (
        b"n%d" % int(r.random() * 3) if r.random() < 0.85 else member(r, c)),
    "int": integer, "smallint": small_int, "digit": lambda r, _: b"%d" % int(r.random() * 10), "float": decimal,
    "score": score, "zero": lambda r, _: b"0", "offset": offset, "bitoffset": bit_offset,
    "bit": lambda r, c: b"%d" % int(r.random() * 2) if r.random() < 0.97 else odd(r, c),
    "bitvalue": lambda r, c: b"%d" % int(r.random() * 2) if r.random() < 0.97 else odd(r, c),
    "rank": rank, "count": count, "ttl": ttl, "ttlms": ttl_ms, "deadline": deadline, "deadlinems": deadline_ms,
    "bound": score_bound, "low": low, "high": high, "lex": lex_bound, "glob": glob, "sortpattern": sort_pattern,
    "sortget": sort_get, "longitude": longitude, "latitude": latitude, "place": place, "radius": radius,
    "channel": lambda r, _: pick(r, (b"c1", b"c2", b"c3", b"news", b"\x00")),
    "chanpattern": lambda r, _: pick(r, (b"c*", b"c?", b"*", b"n[a-f]ws", b"c1", b"x*")),
    "odd": odd, "unit": lambda r, c: pick(r, (b"m", b"km", b"km", b"ft", b"mi")) if r.random() < 0.97 else pick(
        r, (b"KM", b"yd", b"", b"Mi")),
    "unknown": lambda r, _: pick(r, (b"NOSUCH", b"getx", b"get ", b"", b"foo\x00bar", b"z" * 200)),
}
