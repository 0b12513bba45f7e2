"""results.py - the table that each compatibility runner writes and the report reads: DIR/<suite>.tsv.

UTF-8, a header, then a line for each test; tab, newline and backslash in a field are \\t, \\n and \\\\.

  suite     upstream | sentinel | transcripts | differential | clients
  group     upstream file, unit of Sentinel's tests, transcript, family or client
  name      of the test, unique in its group
  class     run | admin (run with the admin plane) | difference | refused | waits | not-applicable
  status    passed | failed | skipped
  checks    assertions, replies or steps that were compared
  seconds   with milliseconds, or 0
  commands  the commands that were sent, in lower case: `get set`; `get*3 set*5` says how many of the checks are whose
  detail    the failure, the reason of a skip, the difference's id, or nothing

SPDX-License-Identifier: GPL-3.0-or-later
"""
import collections
import os
import re

COLUMNS = ("suite", "group", "name", "class", "status", "checks", "seconds", "commands", "detail")
SUITES = ("upstream", "sentinel", "transcripts", "differential", "clients")
CLASSES = ("run", "admin", "difference", "refused", "waits", "not-applicable")
STATUSES = ("passed", "failed", "skipped")

# `kind` is the column class.
Row = collections.namedtuple("Row", ["kind" if name == "class" else name for name in COLUMNS],
                             defaults=("run", "passed", 0, 0.0, "", ""))

ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
UNESCAPES = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}


class Malformed(Exception):
    """A table that is not as described above."""


def write(directory, suite, rows):
    """Replaces DIR/<suite>.tsv whole; gives its path."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, suite + ".tsv")
    with open(path + ".new", "w", encoding="utf-8", errors="backslashreplace", newline="\n") as f:
        f.write("\t".join(COLUMNS) + "\n")
        for row in rows:
            fields = row._replace(seconds="%.3f" % row.seconds if row.seconds else "0")
            f.write("\t".join(str(field).translate(ESCAPES) for field in fields) + "\n")
    os.replace(path + ".new", path)
    return path


def read(path):
    """The rows of a table; raises Malformed, which names file and line."""
    with open(path, encoding="utf-8", errors="backslashreplace", newline="\n") as f:
        lines = f.read().split("\n")
    if lines[0].split("\t") != list(COLUMNS):
        raise Malformed("%s:1: the header must be: %s" % (path, " ".join(COLUMNS)))
    if lines.pop() != "":
        raise Malformed("%s: the last line is cut off" % path)
    return [parse(line, "%s:%d" % (path, number)) for number, line in enumerate(lines[1:], 2)]


def parse(line, place):
    fields = [re.sub(r"\\[\\tnr]", lambda found: UNESCAPES[found.group()], field) for field in line.split("\t")]
    if len(fields) != len(COLUMNS):
        raise Malformed("%s: %d fields instead of %d" % (place, len(fields), len(COLUMNS)))
    row = Row(*fields)
    for name, known in (("suite", SUITES), ("kind", CLASSES), ("status", STATUSES)):
        if getattr(row, name) not in known:
            raise Malformed("%s: %r is none of: %s" % (place, getattr(row, name), " ".join(known)))
    try:
        return row._replace(checks=int(row.checks), seconds=float(row.seconds))
    except ValueError as error:
        raise Malformed("%s: %s" % (place, error))


def commands_of(row):
    """{command: checks of the row that are its own}."""
    found = {}
    for word in row.commands.split():
        name, star, checks = word.partition("*")
        found[name] = int(checks) if star else row.checks
    return found
