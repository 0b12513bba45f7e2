"""differences.py - the contract's differences from Redis 3.2 (differences.tsv), by the ids that the checks name.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import collections
import os

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "differences.tsv")

# `title` and `explanation` are a sentence in two parts, in Markdown.
Difference = collections.namedtuple("Difference", "id title explanation")


def load(path=PATH):
    """{id: Difference}, in the table's order; raises ValueError, which names file and line."""
    table = {}
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines()
    if not lines or lines[0].split("\t") != list(Difference._fields):
        raise ValueError("%s:1: the header must be: %s" % (path, " ".join(Difference._fields)))
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) != len(Difference._fields) or not all(fields):
            raise ValueError("%s:%d: not %d fields with tabs between" % (path, number, len(Difference._fields)))
        if fields[0] in table:
            raise ValueError("%s:%d: %s is there twice" % (path, number, fields[0]))
        table[fields[0]] = Difference(*fields)
    return table
