"""grammar.py - turns a line such as `ZADD zkey [NX|XX] [CH] (score member)+` into a maker of random commands.

In a line, a word that `words` knows is made by its maker; any other word is sent as it is, in either case of letters.
[a b] is there or not, (a|b) is one of them, x+ is x once to four times, x* none to three times.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import re

TOKEN = re.compile(r"[\[\]()|]|[^\s\[\]()|+*]+|[+*]")
OPTION_SHARE = 0.4


def compile_line(line, words):
    """A function of (random, context) that gives the command's arguments."""
    tokens = TOKEN.findall(line)
    node, after = alternatives(tokens, 0, words)
    if after != len(tokens):
        raise ValueError("unbalanced: " + line)

    def make(r, context):
        args = []
        node(r, context, args)
        return args

    return make


def alternatives(tokens, at, words):
    choices = []
    sequence = []
    while at < len(tokens) and tokens[at] not in ")]":
        if tokens[at] == "|":
            choices.append(in_order(sequence))
            sequence = []
            at += 1
            continue
        node, at = single(tokens, at, words)
        sequence.append(node)
    choices.append(in_order(sequence))
    return (choices[0] if len(choices) == 1 else one_of(choices)), at


def single(tokens, at, words):
    token = tokens[at]
    if token in "([":
        node, at = alternatives(tokens, at + 1, words)
        if token == "[":
            node = maybe(node)
    elif token in words:
        node = made(words[token])
    else:
        node = literal(token)
    at += 1
    if at < len(tokens) and tokens[at] in "+*":
        node = repeated(node, tokens[at] == "+")
        at += 1
    return node, at


def made(maker):
    return lambda r, context, args: args.append(maker(r, context))


def literal(token):
    upper, lower = token.upper().encode(), token.lower().encode()
    return lambda r, context, args: args.append(upper if r.random() < 0.5 else lower)


def maybe(node):
    def option(r, context, args):
        if r.random() < OPTION_SHARE:
            node(r, context, args)
    return option


def repeated(node, at_least_one):
    first = 1 if at_least_one else 0

    def several(r, context, args):
        for _ in range(first + int(r.random() * r.random() * 4)):
            node(r, context, args)
    return several


def one_of(choices):
    return lambda r, context, args: choices[int(r.random() * len(choices))](r, context, args)


def in_order(nodes):
    if len(nodes) == 1:
        return nodes[0]

    def sequence(r, context, args):
        for node in nodes:
            node(r, context, args)
    return sequence
