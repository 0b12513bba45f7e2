"""shrink.py - makes a stream that fails short: delta debugging, and files of steps.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import time

from resp import quote, unquote
from session import Failure

SHRINK_S_MAX = 60


def failure_of(session, steps, dataset_every):
    """The failure of these steps on servers without data, or None."""
    session.reset()
    try:
        session.run(steps, dataset_every)
    except Failure as failure:
        return failure
    return None


def shrink(session, steps, failure):
    """The fewest steps found that still fail, and their failure."""
    steps = steps[:failure.at + 1]
    end = time.monotonic() + SHRINK_S_MAX
    again = failure_of(session, steps, len(steps))
    if not again:
        return steps, None
    failure = again
    steps = steps[:failure.at + 1]
    for key in about(failure):
        kept = [step for step in steps if key in step[1]]
        again = failure_of(session, kept, len(kept))
        if again:
            steps, failure = kept[:again.at + 1], again
            break
    chunk = max(1, len(steps) // 2)
    while True:
        at, removed = 0, False
        while at < len(steps) and time.monotonic() < end:
            kept = steps[:at] + steps[at + chunk:]
            again = failure_of(session, kept, len(kept)) if kept else None
            if again:
                steps, failure, removed = kept[:again.at + 1], again, True
            else:
                at += chunk
        if time.monotonic() >= end or (chunk == 1 and not removed):
            return steps, failure
        chunk = max(1, chunk // 2)


def about(failure):
    """The keys that a failure may be about."""
    if isinstance(failure.command, bytes):
        return [failure.command]
    return failure.command[1:3] if failure.command and isinstance(failure.command[0], bytes) else []


def write_steps(path, steps, heading):
    with open(path, "w", encoding="utf-8") as file:
        for line in heading:
            file.write("# %s\n" % line.replace("\n", "\n# "))
        for number, args in steps:
            file.write("%d %s\n" % (number, " ".join(map(quote, args))))


def read_steps(path):
    steps = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                number, text = line.split(" ", 1)
                steps.append((int(number), unquote(text)))
    return steps
