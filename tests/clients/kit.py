"""kit.py - what the Python scripts of the clients share: the protocol of run.py (see there), assertions, checks.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import re
import signal
import sys
import time
import traceback

PORT = os.environ["CKV_PORT"]
SOCKET = os.environ["CKV_SOCKET"]
PASSWORD = os.environ["CKV_PASSWORD"]
ADMIN = os.environ["CKV_ADMIN"]
CHECK_S_MAX = 30
WHY_LENGTH_MAX = 500
WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
count = 0


def tell(line):
    """Prints a line and waits for run.py's `go`."""
    print(line.replace("\n", " "), flush=True)
    if not sys.stdin.readline():
        sys.exit(3)


def equal(actual, expected, about=""):
    global count
    count += 1
    if actual != expected or type(actual) is not type(expected):
        raise AssertionError("%s%.*r is not %.*r" % (about and about + ": ", WHY_LENGTH_MAX, actual, WHY_LENGTH_MAX,
                                                    expected))


def matches(actual, pattern):
    global count
    count += 1
    if not re.search(pattern, actual):
        raise AssertionError("%.*r does not match %s" % (WHY_LENGTH_MAX, actual, pattern))


def raises(kind, text, call, *args):
    """The call must raise an error of that kind whose text begins so."""
    global count
    count += 1
    try:
        reply = call(*args)
    except kind as error:
        if not str(error).startswith(text):
            raise AssertionError("the error is %s, not %s" % (error, text)) from error
        return
    raise AssertionError("no error but %r" % (reply,))


def until(condition):
    """Waits until the condition holds; the check's own limit ends the wait."""
    while not condition():
        time.sleep(0.005)


def too_late(*_):
    raise TimeoutError("it took over %d s" % CHECK_S_MAX)


def check(name, body, *args):
    global count
    count = 0
    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(CHECK_S_MAX)
    try:
        body(*args)
        signal.alarm(0)
        tell("ok %d %s" % (count, name))
    except Exception as error:
        signal.alarm(0)
        where = ["%s:%d" % (frame.name, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)[1:]]
        tell("not ok %d %s: %s: %s (%s)" % (count, name, type(error).__name__, error, ", ".join(where[:4])))
