"""judge.py - the class table of the upstream suite's tests, and whether a test did what its class says.

tests.tsv has one row a test: `file test class what expect target`.

  class           what                   expect            the test must
  run             -                      -                 pass, and send commands of the matrix only
  admin           its needs beyond the   -                 pass, and need exactly that: commands of the admin plane, or
                  matrix                                   assert_encoding
  difference      id of differences.tsv  error, a glob     fail, exactly so
  refused         commands               -                 send each of them and be answered with CKV's refusal
  refused         commands               outcome, a glob   build on an earlier test of the file, in which they were
                                                           refused, and end like that: with this error, or `passed`
  waits           what it waits for      refused commands  be impossible yet: each of these is refused in the test, or
                                                           earlier in its file
  not-applicable  the reason             -                 be there; its body is not run

`target` is the reason why a row cannot be run on a server that is up already, beyond those that its class gives. There,
what an admin row needs is done by shims (shims.tcl), and nothing beyond the matrix may be sent at all. A test that no
row names fails, as does a row whose test did not run. `#2` after a name means its second run.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import csv
import fnmatch
import os
import re

import results

REFUSAL = "ERR unknown command '%s' (not supported by CKV Master/Slave)"
UNKNOWN_DEBUG = "ERR Unknown DEBUG subcommand or wrong number of arguments for '%s'"
HERE = os.path.dirname(os.path.abspath(__file__))
README = os.path.join(HERE, "..", "..", "README.md")
DIFFERENCES = os.path.join(HERE, "..", "differences.tsv")
# What shims.tcl replaces, so that an admin row can be run against a server that offers the matrix only.
SHIMMED = ("assert_encoding", "flushall", "flushdb", "debug populate", "config set *-max-*")
# Rows whose `target` says this can be run if the target is like that.
TARGETS_THAT_DO = {False: "needs a server without a password", True: "needs a server with a password"}


class Row:
    """A row of the class table."""

    def __init__(self, fields):
        self.file, self.name, self.cls = fields["file"], fields["test"], fields["class"]
        self.what, self.expect = fields["what"], fields["expect"]
        self.target = fields["target"]

    def needs(self):
        return split(self.what)


class Outcome:
    """What client.tcl wrote down about a test."""

    def __init__(self, fields):
        self.name, self.outcome, self.message, checks, seconds, sent, refused = fields
        self.checks, self.seconds = int(checks), float(seconds)
        self.sent, self.refused = set(split(sent)), set(split(refused))


def split(text):
    return [item.strip() for item in text.split(";") if item.strip()]


def unescape(text):
    return re.sub(r"\\[\\tnr]", lambda found: results.UNESCAPES[found.group()], text)


def read_tsv(path):
    with open(path, encoding="utf-8", newline="") as f:
        reader = csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [{key: unescape(value or "") for key, value in row.items()} for row in reader]


def read_table(path):
    """The rows by file and name; ValueError for a table that contradicts itself."""
    known = {row["id"] for row in read_tsv(DIFFERENCES)}
    table = {}
    for fields in read_tsv(path):
        row = Row(fields)
        where = "%s: %s: %s" % (os.path.basename(path), row.file, row.name)
        if row.cls not in results.CLASSES:
            raise ValueError("%s: no class '%s'" % (where, row.cls))
        if (row.file, row.name) in table:
            raise ValueError("%s: stands there twice" % where)
        if row.cls == "difference" and row.what not in known:
            raise ValueError("%s: no difference '%s' in differences.tsv" % (where, row.what))
        if row.cls in ("difference", "waits") and not row.expect or row.cls not in ("run",) and not row.what:
            raise ValueError("%s: a row of class %s says more" % (where, row.cls))
        table[row.file, row.name] = row
    return table


def read_matrix():
    """The matrix' commands and the others that the server knows, from README, which is written from its own table."""
    matrix, others, into = set(), set(), None
    with open(README, encoding="utf-8") as f:
        for line in f:
            if line.startswith("<!-- matrix"):
                into = matrix
            elif line.startswith("<!-- end of matrix"):
                break
            elif line.startswith("**Admin plane**"):
                into = others
            elif line.startswith("**Refused by name"):
                others.update(re.findall(r"[A-Z_:-]{3,}", line.split("):", 1)[1]))
            elif into is not None and (said := re.match(r"\| `([A-Z]+)", line)):
                into.add(said.group(1))
    return {name.lower() for name in matrix}, {name.lower() for name in others}


def is_refused(command, text):
    """Is CKV's refusal of this command in the text, to the byte but for the letters' case as it was sent?"""
    name, _, sub = command.partition(" ")
    refusals = [REFUSAL % command] + ([UNKNOWN_DEBUG % sub] if name == "debug" else [])
    return any(refusal.lower() in text.lower() for refusal in refusals)


class Judge:
    def __init__(self, on_target=False):
        self.matrix, self.others = read_matrix()
        self.on_target = on_target

    def beyond_matrix(self, outcome):
        """What the body needed beyond the matrix. (A name that is no command at all needs nothing.)"""
        return {command for command in outcome.sent
                if " " in command or command in self.others or command == "assert_encoding"}

    def failure(self, row, outcome, history):
        """Why the test did not do what its row says; None if it did. `history` holds what was refused before it."""
        return getattr(self, "fails_" + row.cls.replace("-", "_"))(row, outcome, history)

    def fails_run(self, row, outcome, _history):
        if outcome.outcome != "passed":
            return outcome.message or "failed"
        if beyond := self.beyond_matrix(outcome):
            return "misclassed: sends more than the matrix: " + "; ".join(sorted(beyond))
        return None

    def fails_admin(self, row, outcome, _history):
        if outcome.outcome != "passed":
            return outcome.message or "failed"
        beyond = self.beyond_matrix(outcome)
        if beyond != (set() if self.on_target else set(row.needs())):
            return "misclassed: needs %s" % ("; ".join(sorted(beyond)) or "nothing beyond the matrix")
        return None

    def fails_difference(self, row, outcome, _history):
        if outcome.outcome == "passed":
            return "stale: passes, so there is no difference"
        if not fnmatch.fnmatchcase(outcome.message, row.expect):
            return "not the documented difference '%s' but: %s" % (row.expect, outcome.message)
        return None

    def fails_refused(self, row, outcome, history):
        said = "it says: %s" % (outcome.message or outcome.outcome)
        if row.expect:
            if not all(is_refused(command, history) for command in row.needs()):
                return "not refused before this test: %s; %s" % (row.what, said)
            met = fnmatch.fnmatchcase(outcome.message or outcome.outcome, row.expect)
            return None if met else "expected '%s'; %s" % (row.expect, said)
        refused = "\n".join(outcome.refused)
        missing = [command for command in row.needs() if not is_refused(command, refused) or
                   not any((sent + " ").startswith(command + " ") for sent in outcome.sent)]
        return "not seen refused: %s; %s" % ("; ".join(missing), said) if missing else None

    def fails_waits(self, row, outcome, history):
        refused = "\n".join(outcome.refused) + history
        possible = [command for command in split(row.expect) if not is_refused(command, refused)]
        if possible:
            return "stale: %s not refused; it says: %s" % ("; ".join(possible), outcome.message or outcome.outcome)
        return None

    def fails_not_applicable(self, _row, outcome, _history):
        return None if outcome.outcome == "skipped" else "was run"

    def result(self, row, outcome, history):
        """The row of the results."""
        why = self.failure(row, outcome, history)
        status = "failed" if why else "skipped" if row.cls in ("waits", "not-applicable") else "passed"
        detail = why or {"difference": row.what, "refused": "refuses " + row.what,
                         "waits": "waits for %s: %s" % (row.what, row.expect),
                         "not-applicable": row.what}.get(row.cls, "")
        known = self.matrix if self.on_target else self.matrix | self.others
        commands = " ".join(sorted(known & {command.partition(" ")[0] for command in outcome.sent}))
        return result(row.file, row.name, row.cls, status, outcome.checks, outcome.seconds, commands, detail)


def result(file, name, cls, status, checks=0, seconds=0.0, commands="", detail=""):
    return results.Row("upstream", file, name, cls, status, checks, seconds, commands, detail)


def is_shimmable(row):
    return all(any(fnmatch.fnmatchcase(need, shim) for shim in SHIMMED) for need in row.needs())


def why_not_on_target(row, has_password):
    """The reason to skip a row when the server is up already; "" to run it."""
    if row.target and row.target != TARGETS_THAT_DO[has_password]:
        return row.target
    if row.cls == "run" or row.cls == "admin" and is_shimmable(row):
        return ""
    return {"admin": "needs the admin plane: ", "difference": "differs by contract: ", "refused": "refuses: ",
            "waits": "waits for ", "not-applicable": ""}[row.cls] + row.what


def missing_titles(rows, source):
    """The rows whose tests a file's text does not contain."""
    titles = re.findall(r'^\s*test(?:_\w+)?\s+(?:"([^"]*)"|\{([^}]*)\})', source, re.MULTILINE)
    patterns = [re.sub(r"\\\$\w+", ".*", re.escape(quoted or braced)) for quoted, braced in titles]
    return [row for row in rows
            if not any(re.fullmatch(pattern, row.name.split(" #")[0]) for pattern in patterns)]
