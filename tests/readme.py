#!/usr/bin/env python3
"""readme.py - keep README.md's generated parts as the program and its tables have them: the matrix, the differences and
the options.

  tests/readme.py BUILD            write them anew
  tests/readme.py BUILD --check    only say whether they are up to date

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "compat"))
import differences  # noqa: E402

README = "README.md"


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()


def difference_table():
    rows = ["| subject | what CKV does |", "| --- | --- |"]
    rows += ["| %s | %s |" % (one.title, one.explanation) for one in differences.load().values()]
    return "\n".join(rows)


def main():
    build = sys.argv[1]
    parts = {
        "matrix": run(build + "/matrix"),
        "differences": difference_table(),
        "options": "```\n" + run(build + "/ckv", "--help") + "\n```",
    }
    with open(README, encoding="utf-8") as f:
        old = f.read()
    new = old
    for name, text in parts.items():
        begin, end = "<!-- %s: written by `make readme` -->" % name, "<!-- end of %s -->" % name
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        new, count = re.subn(pattern, lambda _: begin + "\n\n" + text + "\n\n" + end, new, flags=re.S)
        if count != 1:
            sys.exit("%s must have one part marked %s" % (README, begin))
    if "--check" in sys.argv:
        if new != old:
            sys.exit("%s is out of date: run `make readme`" % README)
        return
    with open(README, "w", encoding="utf-8") as f:
        f.write(new)


if __name__ == "__main__":
    main()
