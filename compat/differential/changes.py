r"""changes.py - reads changes.tsv: what the other server answers differently on purpose, and what CKV answers there.

Each line of the table has the columns (separated by tabs; none may be empty, `-` stands for nothing):
  oracle   the versions it holds for, as the beginning of the version: 7.0, 3.2, or * for all
  kind     `answer`: where the other's reply matches `theirs`, ours must match `ours`
           `rule`:   `ours` is the name of a check in compare.py, which may allow a difference
           `avoid`:  such a command is not sent, since what it does, and not only its reply, has changed
           `unwatched`: it is not sent while a connection watches keys
  command  the name in lower case (several: a|b; any: *), then a regular expression for the arguments, which are parted
           by one space each; ARG stands for any one of them, and * alone for all or none. The case of letters does
           not count
  theirs   regular expression for the other's whole reply (as resp.flat writes it)
  ours     our whole reply, in which {0} is the command's name as sent and \1 the group of `theirs`; or, after ~, a
           regular expression, in which \1 is that group's text
  after    what makes the data equal again if the replies differ: `-` nothing, `drop N` argument N is a key to delete on
           both servers, `drop stored` the key after STORE or STOREDIST is. Not sent within a transaction, unless `-`;
           `alone` is for just that
  why      for people; begins with the name of a difference in compat/differences.tsv where the contract is the reason

SPDX-License-Identifier: GPL-3.0-or-later
"""
import functools
import os
import re

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "changes.tsv")
SEPARATOR = b"\x1f"
ONE_ARGUMENT = r"[^\x1f]*"
COLUMNS = ("oracle", "kind", "command", "theirs", "ours", "after", "why")


@functools.lru_cache(maxsize=None)
def compiled(pattern, flags):
    return re.compile((flags + pattern).encode("latin-1"))


class Change:
    """One line of the table."""

    def __init__(self, line, number):
        cells = line.split("\t")
        if len(cells) != len(COLUMNS) or not all(cells):
            raise ValueError("changes.tsv:%d: %d cells, not %d, or an empty one" % (number, len(cells), len(COLUMNS)))
        self.oracle, self.kind, self.command, theirs, self.ours, self.after, self.why = cells
        self.number = number
        self.fired = 0
        names, _, rest = self.command.partition(" ")
        self.names = names.split("|")
        name_pattern = ".*" if names == "*" else "(?:%s)" % "|".join(map(re.escape, self.names))
        rest = "(?: .*)?" if rest == "*" else " " + rest if rest else ""
        self.command_re = compiled((name_pattern + rest).replace(" ", SEPARATOR.decode()).replace("ARG", ONE_ARGUMENT),
                                   "(?is)")
        self.theirs_re = compiled(theirs, "(?s)")

    def holds(self, args):
        return self.command_re.fullmatch(SEPARATOR.join(args))

    def owed(self, args, match, ours):
        """Whether `ours` is what CKV owes, given how the other's reply matched."""
        if self.ours[0] == "~":
            pattern = self.ours[1:]
            if match.re.groups:
                pattern = pattern.replace("\\1", re.escape((match.group(1) or b"").decode("latin-1")))
            return compiled(pattern, "(?s)").fullmatch(ours)
        due = self.ours.encode("latin-1")
        if match.re.groups:
            due = due.replace(b"\\1", match.group(1) or b"")
        return ours == due.replace(b"{0}", args[0].split(b"\0")[0])

    def to_drop(self, args):
        """The keys to delete on both servers when their replies differ."""
        if self.after == "drop stored":
            return [key for word, key in zip(args, args[1:]) if word.lower() in (b"store", b"storedist")]
        return [args[int(self.after.split()[1])]] if self.after.startswith("drop ") else []


class Changes:
    """The lines of the table that hold for one version of the other server."""

    def __init__(self, version, path=TABLE):
        self.lines = []
        # Later, scores of -0 are printed as 0, and HyperLogLogs have other bytes.
        self.exact = version.startswith("3.2")
        with open(path, encoding="utf-8") as table:
            for number, line in enumerate(table, 1):
                line = line.rstrip("\n")
                if number == 1 or not line or line.startswith("#"):
                    continue
                change = Change(line, number)
                if change.oracle == "*" or version.startswith(change.oracle):
                    self.lines.append(change)
        self.by_name = {}
        for change in self.lines:
            for name in change.names:
                self.by_name.setdefault(name.encode(), []).append(change)
        self.any = self.by_name.pop(b"*", [])
        self.guards = {name: [c for c in changes if c.kind in ("avoid", "unwatched") or c.after != "-"]
                       for name, changes in self.by_name.items()}

    def guard(self, name, args):
        """The line that says that a command is not to be sent, not in a transaction, or to be followed by a repair."""
        for change in self.guards.get(name, ()):
            if change.holds(args):
                return change
        return None