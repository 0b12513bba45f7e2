"""table.py - what a run of the clients found: rows for the report, and README's table, written or checked.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "compat"))
import results  # noqa: E402

HEAD = ["| client | version | option | commands | checks | result |", "| --- | --- | --- | --- | --- | --- |"]
BEGIN, END = "<!-- clients: written by `make clients-readme` -->", "<!-- end of clients -->"
PART = re.compile(re.escape(BEGIN) + "(.*?)" + re.escape(END), re.S)


class Row:
    """One check of one client; of none: of README's table."""

    def __init__(self, client, name, status, checks, seconds, commands, detail):
        self.client = client
        self.name = name
        self.status = status
        self.checks = checks
        self.seconds = seconds
        self.commands = commands
        self.detail = detail

    def result(self):
        return results.Row("clients", self.client.group() if self.client else "README", self.name, "run", self.status,
                           self.checks, self.seconds, " ".join(self.commands), self.detail)


def lines(rows):
    """README's lines for the clients that were run, by (library, version)."""
    found = {}
    for client in dict.fromkeys(row.client for row in rows):
        mine = [row for row in rows if row.client is client]
        if client.missing:
            continue
        commands = set().union(*(row.commands for row in mine))
        failed = sum(row.status == "failed" for row in mine)
        found[client.title, client.version] = "| %s | %s | %s | %d | %d | %s |" % (
            client.title, client.version, "`%s`" % client.option if client.option else "none", len(commands),
            sum(row.checks for row in mine), "%d failed" % failed if failed else "passed")
    return found


def read(path):
    """README's text, and its part with the table."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    part = PART.search(text)
    if not part:
        raise SystemExit("%s lacks the part marked %s" % (path, BEGIN))
    return text, part.group(1)


def write(path, rows):
    text, _ = read(path)
    table = "\n".join(HEAD + list(lines(rows).values()))
    with open(path, "w", encoding="utf-8") as f:
        f.write(PART.sub(lambda _: "%s\n\n%s\n\n%s" % (BEGIN, table, END), text))


def check(path, rows):
    """Rows that tell, for each line of README's table, whether this run saw the same."""
    seen = lines(rows)
    checked = []
    for line in read(path)[1].strip().splitlines()[len(HEAD):]:
        library, version = [cell.strip() for cell in line.strip("|").split("|")[:2]]
        now = seen.get((library, version))
        if now is None:
            status, detail = "skipped", "this version was not run here"
        else:
            status = "passed" if now == line else "failed"
            detail = "" if now == line else "this run says %s: run `make clients-readme`" % now
        checked.append(Row(None, "README: %s %s" % (library, version), status, 1, 0, [], detail))
        if detail:
            print("%s  README's table, %s %s: %s" % ("FAIL" if status == "failed" else "skip", library, version,
                                                     detail))
    return checked
