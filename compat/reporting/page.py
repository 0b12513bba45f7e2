"""page.py - the report as one HTML page that needs nothing beside it.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import html
import os

from reporting import content
from reporting.blocks import Filter, Fold, Heading, Paragraph, Pre, Table, cell_of, inline, number, visible

HERE = os.path.dirname(os.path.abspath(__file__))


def escape(text):
    return html.escape(visible(text))


def classes(*names):
    names = [name for name in names if name]
    return ' class="%s"' % " ".join(names) if names else ""


def write_inline(text):
    tags = {"plain": "%s", "code": "<code>%s</code>", "bold": "<strong>%s</strong>"}
    return "".join(tags[kind] % escape(piece) for kind, piece in inline(text))


def column_classes(name):
    """A column's classes, from the marks before its name."""
    return ["number" if "#" in name[:2] else "", "aside" if "~" in name[:2] else ""]


def write_table(table):
    columns = [column_classes(name) for name in table.head]
    out = ['<div class="scroll"><table>\n<thead><tr>']
    out += ["<th%s>%s</th>" % (classes(*column), escape(name.lstrip("#~")))
            for name, column in zip(table.head, columns)]
    out.append("</tr></thead>\n<tbody>\n")
    for row in table.rows:
        cells = map(cell_of, row)
        out.append("<tr>%s</tr>\n" % "".join("<td%s>%s</td>" % (classes(*column, cell.tone), write_inline(cell.text))
                                             for cell, column in zip(cells, columns)))
    return "".join(out) + "</tbody></table></div>\n"


def write_block(block):
    if isinstance(block, Heading):
        return "<h3%s>%s</h3>\n" % (classes(block.tone), escape(block.text))
    if isinstance(block, Paragraph):
        return "<p%s>%s</p>\n" % (classes(block.tone), write_inline(block.text))
    if isinstance(block, Pre):
        return "<pre>%s</pre>\n" % escape(block.text)
    if isinstance(block, Table):
        return write_table(block)
    if isinstance(block, Fold):
        return "<details><summary>%s</summary>\n%s</details>\n" % (escape(block.title),
                                                                  "".join(map(write_block, block.blocks)))
    assert isinstance(block, Filter), block
    return ('<p class="filter" hidden><input type="search" placeholder="%s" aria-label="%s"></p>\n'
            % (escape(block.hint), escape(block.hint)))


def write_card(suite):
    """A suite in the page's head: what it is, and a bar of its outcomes."""
    count = suite.count
    if not suite.was_run:
        return ('<a class="card bad" href="#suites"><h2>%s</h2><p class="figure">not run</p><p>%s</p></a>\n'
                % (escape(suite.kind.title), escape(suite.why_not)))
    shares = [(tone, value) for tone, value in (("good", count.passed), ("bad", count.failed), ("rest", count.skipped))
              if value]
    bar = "".join('<i class="%s" style="flex-grow:%d"></i>' % share for share in shares)
    figures = "%s passed" % number(count.passed)
    figures += ", %s failed" % number(count.failed) if count.failed else ""
    figures += ", %s skipped" % number(count.skipped) if count.skipped else ""
    return ('<a class="card%s" href="#suites"><h2>%s</h2><p class="figure">%s</p><div class="bar">%s</div>'
            '<p>%s; %s %s</p></a>\n' % (" bad" if count.failed else "", escape(suite.kind.title),
                                         number(count.passed + count.failed), bar, figures, number(count.checks),
                                         suite.kind.check))


def load(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return f.read()


def render(evidence):
    state, headline, counts = content.verdict(evidence)
    sections = content.build(evidence)
    facts = "".join("<div><dt>%s</dt><dd>%s</dd></div>\n" % (escape(what), write_inline(value))
                    for what, value in evidence.facts)
    links = "".join('<a href="#%s">%s</a>\n' % (section.anchor, escape(section.title)) for section in sections)
    body = "".join('<section id="%s">\n<h2>%s</h2>\n%s</section>\n' % (
        section.anchor, escape(section.title), "".join(map(write_block, section.blocks))) for section in sections)
    parts = {"STYLE": load("page.css"), "SCRIPT": load("page.js"), "STATE": state, "HEADLINE": escape(headline),
             "COUNTS": escape(counts), "FACTS": facts, "CARDS": "".join(map(write_card, evidence.suites)),
             "LINKS": links, "BODY": body}
    page = load("page.html")
    return "".join(parts.get(piece, piece) for piece in page.split("@"))
