"""compare.py - decides whether two replies to one command say the same.

Equal replies do, unless the table of changes owes another one. Where Redis promises no order, the order does not count;
random replies are compared by shape, and with the members that a step before them showed.

SPDX-License-Identifier: GPL-3.0-or-later
"""
from resp import flat, show

TTL_MS_APART_MAX = 2100


def sortable(item):
    return flat(item)


def same_unordered(_, theirs, ours):
    return isinstance(theirs, list) and isinstance(ours, list) and sorted(map(flat, theirs)) == sorted(map(flat, ours))


def pairs(items):
    return sorted(zip(items[::2], items[1::2]))


def same_pairs(_, theirs, ours):
    return same_shape(_, theirs, ours) and isinstance(theirs, list) and pairs(theirs) == pairs(ours)


def numbers(theirs, ours):
    if not (isinstance(theirs, bytes) and isinstance(ours, bytes) and theirs[:1] == ours[:1] == b":"):
        return None
    return int(theirs[1:]), int(ours[1:])


def same_ttl(args, theirs, ours):
    """Deadlines are far away: a second may pass between the two servers. PTTL has whole seconds here (pttl-seconds)."""
    both = numbers(theirs, ours)
    if not both or min(both) < 0:
        return False
    if args[0].lower() == b"ttl":
        return abs(both[0] - both[1]) <= 2
    return both[1] % 1000 == 0 and abs(both[0] - both[1]) <= TTL_MS_APART_MAX


def same_shape(_, theirs, ours):
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours)
    return isinstance(theirs, bytes) and isinstance(ours, bytes) and theirs[:1] == ours[:1] and theirs[:1] in b"$:*+"


def same_list_of(_, theirs, ours):
    return isinstance(theirs, list) and isinstance(ours, list) and bool(theirs) and bool(ours)


def same_time(_, theirs, ours):
    return same_shape(_, theirs, ours) and abs(int(theirs[0][1:]) - int(ours[0][1:])) <= 2


def same_info(args, theirs, ours):
    """INFO's figures are each server's own; keyspace is compared as text, without the average of the deadlines."""
    if not (isinstance(theirs, bytes) and isinstance(ours, bytes) and theirs[:1] == ours[:1] == b"$"):
        return False
    if len(args) == 2 and args[1].lower() == b"keyspace":
        strip = [[line.split(b",avg_ttl")[0] for line in text.split(b"\r\n")] for text in (theirs, ours)]
        return strip[0] == strip[1]
    return bool(theirs[1:]) == bool(ours[1:])


def same_pubsub(args, theirs, ours):
    return len(args) > 1 and args[1].lower() == b"channels" and same_unordered(args, theirs, ours)


def same_places(args, theirs, ours):
    """Places are in no order unless one is asked for, also by COUNT."""
    asked = {arg.lower() for arg in args[5 if args[0].lower() == b"georadiusbymember" else 6:]}
    return not asked & {b"asc", b"desc", b"count"} and same_unordered(args, theirs, ours)


def same_sorted(args, theirs, ours):
    """Where SORT leaves the order to chance: BY a pattern without a star keeps the collection's own, which a set does
    not have; and texts are equal for it if they, or the weights BY gives them, are equal up to a zero byte."""
    words = [arg.lower() for arg in args[2:]]
    nosort = any(word == b"by" and b"*" not in after for word, after in zip(words, args[3:]))
    if not nosort and b"alpha" not in words or not same_shape(args, theirs, ours) or not isinstance(theirs, list):
        return False
    if not nosort and b"by" not in words and b"get" not in words:
        return [item.split(b"\0")[0] for item in theirs] == [item.split(b"\0")[0] for item in ours]
    return b"limit" in words or same_unordered(args, theirs, ours)


MODES = {
    b"smembers": same_unordered, b"sinter": same_unordered, b"sunion": same_unordered, b"sdiff": same_unordered,
    b"keys": same_unordered, b"hkeys": same_unordered, b"hvals": same_unordered, b"hgetall": same_pairs,
    b"ttl": same_ttl, b"pttl": same_ttl, b"srandmember": same_shape, b"randomkey": same_shape, b"time": same_time,
    b"info": same_info, b"command": same_list_of, b"pubsub": same_pubsub, b"georadius": same_places,
    b"georadiusbymember": same_places, b"sort": same_sorted,
}


# ---- checks that a `rule` of the table names: may the replies to this command differ like this?

def leaves(theirs, ours):
    """The pairs of scalar replies of two replies of one shape; None where the shapes differ."""
    if isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            return None
        out = []
        for a, b in zip(theirs, ours):
            inner = leaves(a, b)
            if inner is None:
                return None
            out += inner
        return out
    return None if isinstance(theirs, list) or isinstance(ours, list) else [(theirs, ours)]


def minus_zero(_, theirs, ours):
    """3.2 prints a score of minus zero with its sign, later versions not always."""
    zeros = (b"$0", b"$-0")
    return all(a == b or a in zeros and b in zeros for a, b in leaves(theirs, ours) or [(0, 1)])


def at_least(_, theirs, ours):
    both = numbers(theirs, ours)
    return bool(both) and both[1] >= both[0]


def near(_, theirs, ours):
    """Two estimates of the same number of elements."""
    both = numbers(theirs, ours)
    return bool(both) and abs(both[0] - both[1]) <= 1 + 0.02 * both[0]


RULES = {"minus_zero": minus_zero, "at_least": at_least, "near": near}


# ---- one step

def compare(changes, args, theirs, ours):
    """None if the replies agree, or what is wrong."""
    name = args[0].lower()
    lines = changes.by_name.get(name, ())
    error = isinstance(theirs, bytes) and theirs[:1] == b"-"
    if error or (lines and not (theirs == ours and isinstance(theirs, list) and len(theirs) > 3)):
        due = answer_due(changes, lines, args, theirs, ours, error)
        if due is not None:
            return due or None
    if theirs == ours:
        return None
    mode = MODES.get(name)
    if mode and mode(args, theirs, ours):
        return None
    for change in lines:
        if change.kind == "rule" and change.holds(args) and RULES[change.ours](args, theirs, ours):
            change.fired += 1
            return None
    return "theirs: %s\n  ours:   %s" % (show(theirs), show(ours))


def answer_due(changes, lines, args, theirs, ours, error):
    """None if no line of the table is about this reply, "" if we answer what it says, else what is wrong."""
    text = flat(theirs)
    for change in [*lines, *changes.any] if error else lines:
        match = change.theirs_re.fullmatch(text) if change.kind == "answer" else None
        if not match or not change.holds(args):
            continue
        change.fired += 1
        if change.owed(args, match, flat(ours)):
            return ""
        return "theirs: %s\n  ours:   %s\n  due, by changes.tsv:%d: %s (%s)" % (
            show(theirs), show(ours), change.number, change.ours, change.why)
    return None


def compare_witnessed(witness, theirs, ours):
    """What is wrong with random replies, given all members (theirs, ours) that they may be drawn from."""
    for whose, members, reply in (("theirs", witness[0], theirs), ("ours", witness[1], ours)):
        drawn = reply if isinstance(reply, list) else [reply]
        known = set(members)
        if reply is not None and any(item not in known for item in drawn):
            return "%s: not members: %s" % (whose, show([item for item in drawn if item not in known]))
    return None


def messages_in_order(pushed):
    """Messages, in which the order of the several copies of one does not count: which pattern comes first is chance."""
    groups = []
    for message in pushed:
        key = message[-2:]
        if groups and groups[-1][0] == key:
            groups[-1][1].append(message)
        else:
            groups.append((key, [message]))
    return [sorted(group, key=flat) for _, group in groups]
