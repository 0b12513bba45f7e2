"""blocks.py - what a report consists of, whatever it is written in.

A text is a str, which is shown as it is, or Markup, which is Markdown with **bold** and `code` only.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import re
from dataclasses import dataclass, field


class Markup(str):
    """A text with **bold** and `code` in it."""


@dataclass
class Cell:
    text: str
    tone: str = ""  # good | bad | warn | quiet


@dataclass
class Section:
    title: str
    anchor: str
    blocks: list


@dataclass
class Heading:
    """Of a part of a section."""
    text: str
    tone: str = ""


@dataclass
class Paragraph:
    text: str
    tone: str = ""


@dataclass
class Pre:
    """Output, as it came."""
    text: str


@dataclass
class Table:
    head: list  # of str; a column whose name begins with # holds numbers, with ~ may be left out on a small screen
    rows: list  # of lists of str, Markup or Cell


@dataclass
class Fold:
    """Blocks that are shown on demand."""
    title: str
    blocks: list = field(default_factory=list)


@dataclass
class Filter:
    """Where a page offers to filter the tables that follow in the section."""
    hint: str


def visible(text):
    """Characters that no document may hold, or that nobody sees, as escapes; line feeds and tabs stay."""
    def escape(found):
        code = ord(found.group())
        return "\\x%02x" % code if code < 256 else "\\u%04x" % code
    return re.sub("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", escape, text.replace("\r\n", "\n"))


def inline(text):
    """The pieces of a text: (kind, text), where kind is plain, code or bold."""
    if not isinstance(text, Markup):
        return [("plain", text)]
    pieces = re.split(r"(`[^`]*`|\*\*.*?\*\*)", text)
    return [("code", piece[1:-1]) if piece.startswith("`") else
            ("bold", piece[2:-2]) if piece.startswith("**") else ("plain", piece) for piece in pieces if piece]


def cell_of(value):
    return value if isinstance(value, Cell) else Cell(value)


def number(value):
    return format(value, ",")


def counted(count, noun):
    """`1 test`, `2 tests`."""
    return "%s %s%s" % (number(count), noun, "" if count == 1 else "s")
