"""evidence.py - what the runs found: the suites' rows, counted by class, group, command, difference and reason.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import collections
import os
import re

import results

# Each suite, what its groups are and its checks, what a command's column counts, and whether those are its checks (or
# its tests).
SuiteKind = collections.namedtuple("SuiteKind", "title what group check column by_checks")
KINDS = {
    "upstream": SuiteKind("Upstream suite", "the unmodified tests of Redis 3.2.13", "file", "assertions",
                          "upstream tests", False),
    "sentinel": SuiteKind("Sentinel", "the suite's tests of Sentinel, with Debian's redis-sentinel over ckv", "unit",
                          "assertions", "Sentinel tests", False),
    "transcripts": SuiteKind("Transcripts", "replies that Redis 3.2.13 gave, byte for byte", "transcript", "replies",
                             "transcript replies", True),
    "differential": SuiteKind("Differential", "the same random commands to ckv and to Debian's redis-server", "family",
                              "steps", "random steps", True),
    "clients": SuiteKind("Clients", "client libraries and tools, used as applications use them", "client", "checks",
                         "client checks", False),
}

Command = collections.namedtuple("Command", "name family plane arity flags summary")


class Count:
    """Tests by their outcome."""

    def __init__(self, rows=()):
        self.passed = self.failed = self.skipped = self.checks = 0
        self.seconds = 0.0
        for row in rows:
            self.add(row)

    def add(self, row):
        setattr(self, row.status, getattr(self, row.status) + 1)
        self.checks += 0 if row.status == "skipped" else row.checks
        self.seconds += row.seconds

    @property
    def total(self):
        return self.passed + self.failed + self.skipped


class Suite:
    """One suite's table; `rows` is None without one."""

    def __init__(self, name, rows=None, written=None, outdated=False):
        self.name = name
        self.kind = KINDS[name]
        self.rows = rows
        self.written = written    # when, in seconds since 1970
        self.outdated = outdated  # the server was built after that
        self.count = Count(rows or ())

    @property
    def was_run(self):
        return self.count.passed + self.count.failed > 0

    @property
    def why_not(self):
        """Why it was not run."""
        if self.rows is None:
            return "there is no result file"
        reasons = dict.fromkeys(row.detail for row in self.rows if row.detail)
        return "; ".join(reasons) or "its result file holds no test that was run"

    def by(self, key):
        """{key(row): Count}, in the order of their first rows."""
        counts = {}
        for row in self.rows or ():
            counts.setdefault(key(row), Count()).add(row)
        return counts


def load_suite(directory, name, built=None):
    path = os.path.join(directory, name + ".tsv")
    if not os.path.exists(path):
        return Suite(name)
    written = os.path.getmtime(path)
    return Suite(name, results.read(path), written, built is not None and written < built)


def parse_matrix(text):
    """The commands of `matrix --tsv`."""
    lines = text.splitlines()
    if not lines or lines[0].split("\t") != list(Command._fields):
        raise ValueError("the matrix must begin with: " + " ".join(Command._fields))
    return [Command(*line.split("\t")) for line in lines[1:]]


class Evidence:
    """All that a report tells."""

    def __init__(self, suites, commands, differences, facts):
        self.suites = suites            # those that were due
        self.commands = commands
        self.differences = differences  # {id: Difference}
        self.facts = facts              # [(what, value)]: versions, machine
        self.count = Count(row for suite in suites for row in suite.rows or ())

    def rows(self):
        return [row for suite in self.suites for row in suite.rows or ()]

    @property
    def not_run(self):
        return [suite for suite in self.suites if not suite.was_run]

    @property
    def state(self):
        if self.count.failed:
            return "failed"
        return "incomplete" if self.not_run else "passed"

    def failures(self):
        return [row for row in self.rows() if row.status == "failed"]

    def by_command(self):
        """{command: {suite: [passed, failed]}}, in tests or, for suites that count so, checks."""
        found = {}
        for suite in self.suites:
            for row in suite.rows or ():
                if row.status == "skipped":
                    continue
                for name, checks in results.commands_of(row).items():
                    outcome = found.setdefault(name, {}).setdefault(suite.name, [0, 0])
                    outcome[row.status == "failed"] += checks if suite.kind.by_checks else 1
        return found

    def by_difference(self):
        """{id: the rows in which it showed}."""
        found = {name: [] for name in self.differences}
        for row in self.rows():
            if row.status == "passed" and row.kind in ("difference", "refused"):
                for name in row.detail.split() if row.kind == "difference" else ["refused-command"]:
                    found.get(name, []).append(row)
        return found

    def by_refusal(self):
        """{refused command: the rows that saw the refusal}."""
        refused = {command.name: [] for command in self.commands if command.plane == "refused"}
        for row in self.rows():
            if row.kind == "refused" and row.status == "passed":
                words = set(row.commands.split()) | set(re.findall(r"[\w:-]+", row.detail.lower()))
                for name in words & set(refused):
                    refused[name].append(row)
        return refused

    def skipped(self, kind):
        """{reason: the rows of the class that were skipped for it}; class None: of all classes that are to be run."""
        found = {}
        for row in self.rows():
            other = row.kind not in ("waits", "not-applicable")
            if row.status == "skipped" and (row.kind == kind or kind is None and other):
                found.setdefault(row.detail or "no reason given", []).append(row)
        return found
