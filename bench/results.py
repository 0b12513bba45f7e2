"""results.py - writes what bench.py found: RESULTS.md, a table for each section, and results.svg, a chart of the same.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
from xml.sax.saxutils import escape

MET = {True: "yes", False: "**NO**", None: ""}

# The chart, in pixels.
WIDTH, LABEL, BAR, GAP, ROOM = 1100, 460, 11, 8, 460
COLOURS = ("#1f6f8b", "#c0c5ce")
NAN = float("nan")


def figure(form, value):
    if value != value:
        return "-"
    return f"{value:,.0f}" if form == "%.0f" else form % value


def ratio_of(row):
    return row.ckv / row.other if row.other else NAN


def both(row, field, form):
    return " / ".join(form % getattr(one, field) for one in row.found)


def table(rows, names):
    """Rows with what the load found have more columns: so they get a table of their own."""
    lines = []
    fast, others = [row for row in rows if row.found], [row for row in rows if not row.found]
    if fast:
        lines += ["| requests a second | %s | %s | ratio | target | met | CPU us | p50 us | p99 us | p99.9 us "
                  "| load's core | load |" % tuple(names), "|---|--:|--:|--:|---|---|--:|--:|--:|--:|--:|---|"]
    for row in fast:
        lines.append("| %s | %s | %s | %.2f | %s | %s | %s | %s | %s | %s | %s | `%s` |" % (
            row.what, figure(row.form, row.ckv), figure(row.form, row.other), ratio_of(row), row.target, MET[row.met],
            both(row, "cpu_us", "%.2f"), both(row, "p50_us", "%.0f"), both(row, "p99_us", "%.0f"),
            both(row, "p999_us", "%.0f"), both(row, "load_part", "%.2f"), row.by))
    if others:
        lines += [""] if fast else []
        lines += ["| what | %s | %s | ratio | target | met | load |" % tuple(names), "|---|--:|--:|--:|---|---|---|"]
    for row in others:
        lines.append("| %s | %s | %s | %s | %s | %s | %s |" % (
            row.what, figure(row.form, row.ckv), figure(row.form, row.other), figure("%.2f", ratio_of(row)), row.target,
            MET[row.met], "`%s`" % row.by if row.by else "-"))
    return lines


def sections(rows):
    """Rows by their section, in order."""
    found = {}
    for row in rows:
        found.setdefault(row.section, []).append(row)
    return found


def markdown(rows, about, notes, names):
    judged = [row for row in rows if row.met is not None]
    lines = ["# %s against %s, measured" % tuple(names), "",
             "%d of %d targets are met. This file and [the chart](results.svg) are written by bench/bench.py." % (
                 sum(row.met for row in judged), len(judged)), "", "| | |", "|---|---|"]
    lines += ["| %s | %s |" % line for line in about]
    lines += ["", "CPU us: the server's CPU time a request. Latencies in tables of throughput are those of a batch at "
              "full load, from sending it. Pairs are %s / %s. Where the load's core is near 1, it was the load that "
              "was measured. `load` is build/load, by `--port`; where it isn't told, 50 clients." % tuple(names)]
    lines += ["", *["%s\n" % note for note in notes]] if notes else []
    for section, some in sections(rows).items():
        lines += ["", "## " + section, "", *table(some, names)]
    return "\n".join(lines) + "\n"


# ---- the chart

def panels(rows):
    """What can share a scale: (title, [(label, form, ckv, other, met)])."""
    found = {}

    def add(title, label, form, ckv, other, met):
        found.setdefault(title, []).append((label, form, ckv, other, met))
    for row in rows:
        if row.found:
            title = "requests a second, %s" % ("-P 1" if "-P 1" in row.what.replace("-P 16", "") else "pipelined")
            add(title, row.what, row.form, row.ckv, row.other, row.met)
            add("server CPU, us a request", row.what, "%.2f", *[one.cpu_us for one in row.found], None)
        elif " CPU us " not in row.what:
            add(row.section, row.what, row.form, row.ckv, row.other, row.met)
    return found


def bars(at, line, names):
    """One line of a panel: a pair of bars, each as long as its part of the greater, and its figure."""
    label, form, *values, met = line
    most = max([value for value in values if value == value] + [1e-9])
    parts = ['<text x="%d" y="%d" text-anchor="end">%s%s</text>' % (
        LABEL - 12, at + BAR + 4, escape(label), {True: " ✓", False: " ✗", None: ""}[met])]
    for place, value in enumerate(values):
        if value == value:
            length, top = max(1, ROOM * value / most), at + place * BAR
            parts.append('<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"><title>%s: %s</title></rect>' % (
                LABEL, top, length, BAR - 1, COLOURS[place], escape(names[place]), figure(form, value)))
            parts.append('<text x="%.1f" y="%d" class="n">%s</text>' % (LABEL + length + 5, top + BAR - 2,
                                                                        figure(form, value)))
    return parts


def chart(rows, names):
    """Pairs of horizontal bars. Each pair has a scale of its own: what is compared is the two."""
    parts, at = [], 74
    for title, lines in panels(rows).items():
        parts.append('<text x="12" y="%d" class="t">%s</text>' % (at + 12, escape(title)))
        at += 24
        for line in lines:
            parts += bars(at, line, names)
            at += 2 * BAR + GAP
        at += 14
    head = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d">' % (WIDTH, at),
            "<style>text { font: 12px sans-serif; fill: #222 } .t { font-size: 15px; font-weight: bold } "
            ".n { font-size: 10px }</style>", '<rect width="%d" height="%d" fill="#fff"/>' % (WIDTH, at),
            '<text x="12" y="26" class="t">%s against %s</text>' % tuple(map(escape, names))]
    for place, name in enumerate(names):
        head.append('<rect x="%d" y="40" width="14" height="12" fill="%s"/><text x="%d" y="51">%s</text>' % (
            12 + 140 * place, COLOURS[place], 32 + 140 * place, escape(name)))
    head.append('<text x="300" y="51">each pair has a scale of its own; ✓ ✗: its target is met, or missed</text>')
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def write_results(directory, rows, about, notes, names):
    os.makedirs(directory, exist_ok=True)
    for name, text in (("RESULTS.md", markdown(rows, about, notes, names)), ("results.svg", chart(rows, names))):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)
