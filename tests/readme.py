#!/usr/bin/env python3
"""readme.py - keep README.md's generated parts, the matrix and the options, as the program has them.

  tests/readme.py BUILD            write them anew
  tests/readme.py BUILD --check    only say whether they are up to date

SPDX-License-Identifier: GPL-3.0-or-later
"""
import re
import subprocess
import sys

README = "README.md"


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()


def main():
    build = sys.argv[1]
    parts = {"matrix": run(build + "/matrix"), "options": "```\n" + run(build + "/ckv", "--help") + "\n```"}
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
