"""stream.py - one round of random steps: which commands, on which connection, in which order.

A step is (connection, arguments). Connections 0 to 3 run commands of all kinds, 4 and 5 mostly subscribe. Connection
CLOCK is none: its only step is a wait, in seconds. The same seed always gives the same steps.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import random
from itertools import accumulate

from families import FAMILIES
from words import ODD, OPTIONS, WORDS, Context, any_key, member, mixed_key, pick, value

CLOCK = -1
LISTENERS = (4, 5)
SPOIL_SHARE = 0.04
SUBSCRIBING = ("SUBSCRIBE", "PSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE")


def spoil(r, context, args):
    """Makes a command wrong, or at least odd, in one way."""
    draw = int(r.random() * 8)
    at = 1 + int(r.random() * (len(args) - 1)) if len(args) > 1 else 0
    if draw == 0 and len(args) > 1:
        args.pop()
    elif draw == 1:
        args.append(pick(r, OPTIONS))
    elif draw == 2:
        args.append(value(r, context))
    elif draw == 3 and at:
        args[at] = pick(r, ODD)
    elif draw == 4 and at:
        args[at] = pick(r, OPTIONS)
    elif draw == 5 and at:
        del args[at]
    elif draw == 6 and at:
        args.insert(at, pick(r, OPTIONS) if r.random() < 0.5 else pick(r, ODD))
    elif at > 1:
        args[at] = args[at - 1]
    return args


def chooser(r, context):
    """What gives a command of the round's mix: some families are in its focus."""
    makers, weights = [], []
    focus = r.sample(sorted(FAMILIES), 3)
    for family, (weight, forms) in FAMILIES.items():
        share = weight * (5 if family in focus else 1) / sum(w for w, _ in forms)
        for form_weight, maker in forms:
            makers.append(maker)
            weights.append(share * form_weight)
    bounds = list(accumulate(weights))
    closed = (b"x", b"g", b"p")
    spoil_share = SPOIL_SHARE * r.choice((0, 1, 1, 3))

    def command():
        args = r.choices(makers, cum_weights=bounds)[0](r, context)
        if r.random() < spoil_share and args[0].lower() not in (b"multi", b"exec", b"spop", b"command"):
            if not any(arg[:1] in closed for arg in args[1:]):
                args = spoil(r, context, args)
        return args
    return command


def grow(r, context):
    """A command with hundreds of elements, so that collections pass the sizes at which their encoding changes."""
    draw = int(r.random() * 6)
    many = range(r.choice((100, 130, 300, 520)))
    if draw == 0:
        return [b"SADD", b"e0"] + [b"%d" % (n * 3) for n in many]
    if draw == 1:
        return [b"SADD", b"e1"] + [member(r, context) for _ in many]
    if draw == 2:
        return [b"HMSET", b"h0"] + [b"m%d" % (n // 2) for n in many[:len(many) // 2 * 2]]
    if draw == 3:
        return [b"ZADD", b"z0"] + [b"%d" % (n // 2 % 50) if n % 2 == 0 else b"m%d" % (n // 2) for n in many]
    if draw == 4:
        return [b"RPUSH", b"l0"] + [value(r, context) for _ in many]
    return [b"PFADD", b"p0"] + [b"el%d" % int(r.random() * 5000) for _ in many]


def transaction(r, context, command):
    """WATCH, perhaps a change by another connection, MULTI, commands, EXEC."""
    mine, other = r.sample(range(4), 2)
    steps = []
    if r.random() < 0.6:
        watched = [any_key(r, context) for _ in range(r.choice((1, 1, 2)))]
        steps.append((mine, [b"WATCH"] + watched))
        for _ in range(r.choice((0, 1, 3))):
            steps.append((r.choice((other, other, mine)), command()))
        if r.random() < 0.3:
            steps.append((other, [b"DEL", pick(r, watched)]))
    steps.append((mine, [b"MULTI"]))
    for _ in range(r.choice((0, 1, 2, 4, 8))):
        steps.append((mine, command()))
        if r.random() < 0.1:
            steps.append((other, command()))
    steps.append((mine, [pick(r, (b"EXEC", b"exec", b"EXEC", b"DISCARD"))]))
    return steps


def listening(r, context):
    """Steps of a subscribed connection, and messages to it."""
    mine = pick(r, LISTENERS)
    draw = r.random()
    if draw < 0.45:
        verb = SUBSCRIBING[int(r.random() * r.random() * 4)].encode()
        word = WORDS["chanpattern" if verb.startswith(b"P") else "channel"]
        many = 1 + int(r.random() * 3) if not verb.endswith(b"UNSUBSCRIBE") or r.random() < 0.8 else 0
        return [(mine, [verb] + [word(r, context) for _ in range(many)])]
    if draw < 0.65:
        context.published += 1
        message = b"news-%d" % context.published
        return [(r.randrange(4), [b"PUBLISH", WORDS["channel"](r, context), message]), (mine, [b"PING", message])]
    if draw < 0.8:
        return [(mine, [b"PING"] + [value(r, context)] * r.choice((0, 1, 2)))]
    if draw < 0.9:
        return [(mine, pick(r, ([b"GET", b"s0"], [b"SUBSCRIBE"], [b"MULTI"], [b"NOSUCH"], [b"PUBLISH", b"c1", b"x"],
                                [b"ECHO", b"x"])))]
    return [(mine, [b"UNSUBSCRIBE"]), (mine, [b"PUNSUBSCRIBE"]), (mine, [b"GET", mixed_key(r, context)])]


def steps_of(seed, count):
    """About `count` steps of the round that the text `seed` stands for."""
    r = random.Random(seed)
    context = Context(r)
    command = chooser(r, context)
    stay = r.choice((0.9, 0.98, 0.99, 0.995))
    connections = r.choice((1, 2, 4))
    special = r.choice((0, 0.004, 0.03))
    steps = []
    mine = 0
    while len(steps) < count:
        if r.random() > stay:
            mine = int(r.random() * connections)
        draw = r.random()
        if draw < special:
            steps += transaction(r, context, command)
        elif draw < 2 * special:
            steps += listening(r, context)
        elif draw > 0.998:
            steps.append((mine, grow(r, context)))
        else:
            args = command()
            if args[0].lower() == b"srandmember" and len(args) > 1:
                steps.append((mine, [b"SMEMBERS", args[1]]))
            elif args[0].lower() == b"randomkey":
                steps.append((mine, [b"KEYS", b"*"]))
            steps.append((mine, args))
    return steps


def expiring_steps(seed, waits):
    """A round with short deadlines, each followed by a wait that is well clear of them."""
    r = random.Random(seed)
    context = Context(r)
    command = chooser(r, context)
    steps = []
    for _ in range(waits):
        for _ in range(60):
            steps.append((0, command()))
        steps.append((1, [b"WATCH", b"s0"]))
        for _ in range(r.choice((3, 10))):
            key = any_key(r, context)
            draw = int(r.random() * 4)
            if draw == 0:
                steps.append((0, [b"SET", key, value(r, context), b"PX", b"%d" % r.randint(1, 60)]))
            elif draw == 1:
                steps.append((0, [b"PSETEX", key, b"%d" % r.randint(1, 60), b"v"]))
            elif draw == 2:
                steps.append((0, [b"PEXPIRE", key, b"%d" % r.randint(1, 60)]))
            else:
                steps += [(0, [b"PEXPIRE", key, b"60"]), (0, [b"PERSIST", key])]
        steps.append((CLOCK, [b"0.4"]))
        steps += [(0, [b"KEYS", b"*"]), (0, [b"DBSIZE"]), (1, [b"UNWATCH"])]
    return steps
