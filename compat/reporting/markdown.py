"""markdown.py - the report as Markdown.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import re

from reporting import content
from reporting.blocks import Filter, Fold, Heading, Paragraph, Pre, Table, cell_of, inline, visible

MARKS = {"bad": "❌ ", "warn": "⚠️ "}


def escape(text):
    return re.sub(r"([\\`*_|<>\[\]#~])", r"\\\1", visible(text)).replace("\n", " ")


def write_inline(text):
    out = []
    for kind, piece in inline(text):
        if kind == "code":
            out.append("`%s`" % visible(piece).replace("|", "\\|"))
        else:
            out.append(("**%s**" if kind == "bold" else "%s") % escape(piece))
    return "".join(out)


def write_pre(text):
    text = visible(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return "%s\n%s\n%s" % (fence, text.rstrip("\n"), fence)


def write_table(table):
    lines = ["| %s |" % " | ".join(name.lstrip("#~") for name in table.head),
             "| %s |" % " | ".join("---:" if name.startswith("#") else "---" for name in table.head)]
    for row in table.rows:
        cells = map(cell_of, row)
        lines.append("| %s |" % " | ".join(MARKS.get(cell.tone, "") + write_inline(cell.text) for cell in cells))
    return "\n".join(lines)


def write_block(block):
    if isinstance(block, Heading):
        return "### " + MARKS.get(block.tone, "") + escape(block.text)
    if isinstance(block, Paragraph):
        return MARKS.get(block.tone, "") + write_inline(block.text)
    if isinstance(block, Pre):
        return write_pre(block.text)
    if isinstance(block, Table):
        return write_table(block)
    if isinstance(block, Fold):
        return "<details><summary>%s</summary>\n\n%s\n\n</details>" % (
            escape(block.title), "\n\n".join(map(write_block, block.blocks)))
    assert isinstance(block, Filter), block
    return ""


def render(evidence):
    state, headline, counts = content.verdict(evidence)
    mark = {"passed": "✅", "incomplete": "⚠️", "failed": "❌"}[state]
    parts = ["# Compatibility report", "%s **%s.** %s." % (mark, headline, counts)]
    parts.append("\n".join("* %s: %s" % (what, write_inline(value)) for what, value in evidence.facts))
    parts.append("Written by compat/report.py from what the suites found; see [README.md](README.md).")
    for section in content.build(evidence):
        parts.append("## " + escape(section.title))
        parts += [text for text in map(write_block, section.blocks) if text]
    return "\n\n".join(parts) + "\n"
