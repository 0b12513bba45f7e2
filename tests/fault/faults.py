"""faults.py - what nth.py, full.py and flip.py share: plans for iofault.so, a session that remembers what was
acknowledged, a small data directory to begin with.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import errno
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from model import Comparison, Model, read_state  # noqa: E402
from server import checkpoint, now_ms  # noqa: E402

HEAL_S_MAX = 2.0
REPLY_S_MAX = 5
DBS = (0, 1, 3)


class Plan:
    """What iofault.so is to do to one run of a server."""

    def __init__(self, library, directory, trace, **settings):
        self.trace = trace
        self.settings = settings
        self.env = {"LD_PRELOAD": os.path.abspath(library), "IOFAULT_DIR": os.path.realpath(directory),
                    "IOFAULT_TRACE": trace}
        for name, value in settings.items():
            self.env["IOFAULT_" + name.upper()] = str(value)

    def lines(self):
        """What was counted: (number, fault, operation, path), in order."""
        try:
            with open(self.trace, errors="replace") as trace:
                parts = [line.rstrip("\n").split(" ", 3) for line in trace]
        except FileNotFoundError:
            return []
        return sorted((int(part[0]), part[1] == "FAULT", part[2], part[3]) for part in parts if len(part) == 4)

    def fault(self):
        """(operation, path) of the first that was made to fail, or None."""
        return next(((operation, path) for _, fault, operation, path in self.lines() if fault), None)

    def error_text(self):
        return os.strerror(int(self.settings.get("errno", errno.EIO)))


def names_fault(said, operation, path, error_text):
    """Whether what was said names the error and the file of a fault."""
    base = os.path.basename(path)
    base = base[:-4] if base.endswith(".tmp") else base
    return error_text in said and (path == "." or operation == "mkdir" or base in said)


def commands(text):
    """Commands of a text with one a line, words separated by blanks."""
    return [tuple(word.encode() for word in line.split()) for line in text.strip().splitlines()]


# One of each kind of change, for scripted runs. Several lines between MULTI and EXEC are one step.
SEED = """
SET s:1 one
SET s:2 twelve
APPEND s:1 %(large)s
INCRBY n:1 41
INCRBYFLOAT f:1 2.5
RPUSH l:1 a b c d e f
LPOP l:1
SADD t:1 x y z
SADD t:2 1 2 3 500
ZADD z:1 1.5 one 2 two 3 three
HMSET h:1 f v g w
HSET h:2 large %(large)s
SETRANGE s:3 5 hello
PEXPIREAT s:2 %(at)d
SELECT 3
SET s:db3 three
RPUSH l:1 other
SELECT 0
MULTI
INCRBY a:1 -10
INCRBY a:2 10
SELECT 1
SET a:stamp both
SELECT 0
EXEC
"""
CHANGES = """
SET %(p)s:s one
SET s:1 changed-by-%(p)s
RPUSH l:1 %(p)s
SADD t:1 %(p)s
SREM t:2 500
ZADD z:1 7 %(p)s
HSET h:1 %(p)s v
EXPIRE h:1 5000
MULTI
INCRBY a:1 -7
INCRBY a:2 7
EXEC
DEL %(p)s:s
SELECT 3
APPEND s:db3 %(p)s
SELECT 0
SET %(p)s:large %(large)s
"""


def script(text, **values):
    """A text's commands as steps: lists of one command, or of a whole transaction."""
    values = dict({"large": "L" * 3000, "at": int(now_ms()) + 86400000}, **values)
    steps = []
    inside = False
    for command in commands(text % values):
        if inside:
            steps[-1].append(command)
        else:
            steps.append([command])
        inside = command[0] == b"MULTI" or (inside and command[0] != b"EXEC")
    return steps


class Session:
    """A client that sends one step at a time and keeps the model of what was acknowledged. A step that was sent and not
    answered is doubtful: `check` finds out whether it was done."""

    def __init__(self, model=None):
        self.model = model or Model()
        self.doubtful = []  # (step, when it was sent)
        self.errors = []    # texts of refusals
        self.connection = None

    def connect(self, server):
        if self.connection:
            self.connection.close()
        self.connection = server.connect()
        self.connection.socket.settimeout(REPLY_S_MAX)
        self.model.db = 0

    def send(self, step):
        """The error that refused the step, or None."""
        low = now_ms()
        self.doubtful.append((step, low))
        replies = self.connection.calls(step)
        self.doubtful.pop()
        return self.note(step, low, replies)

    def note(self, step, low, replies):
        """Takes a step's replies: the error, or None and the step is in the model."""
        error = next((reply for reply in replies if isinstance(reply, bytes) and reply.startswith(b"-")), None)
        if error is None:
            self.apply(step, low)
        else:
            self.errors.append(error.decode(errors="replace"))
        return error

    def apply(self, step, low):
        for command in step:
            self.model.run(command, low, now_ms())

    def insist(self, step):
        """Sends the step until it is done, but gives up after HEAL_S_MAX: an empty text, or what is wrong."""
        end = time.monotonic() + HEAL_S_MAX
        while True:
            error = self.send(step)
            if error is None:
                return ""
            if b"MISCONF" not in error:
                return "%r was refused with %r, not with MISCONF" % (step[-1][:2], error[:300])
            if time.monotonic() > end:
                return "%r is still refused after %.1f s: %r" % (step[-1][:2], HEAL_S_MAX, error[:300])
            time.sleep(0.02)

    def check(self, server, dbs=DBS):
        """Compares a server's state with the model: an empty text, or what is wrong."""
        connection = server.connect()
        before = now_ms()
        comparison = Comparison(self.model, read_state(connection, dbs), before, now_ms())
        connection.close()
        for step, low in self.doubtful:
            if comparison.wrong:
                self.model.touched.clear()
                self.apply(step, low)
                comparison.follow()
        self.doubtful = []
        return comparison.describe() if comparison.wrong else ""


def seed_directory(server):
    """Makes a server's directory with a checkpoint and some journal after it, ended by a kill: the session."""
    server.start()
    session = Session()
    session.connect(server)
    for step in script(SEED):
        if session.send(step):
            raise AssertionError("seeding: " + session.errors[-1])
    said = checkpoint(session.connection)
    if said:
        raise AssertionError("seeding: BGSAVE: " + said)
    for step in script(CHANGES, p="seed"):
        session.send(step)
    server.kill()
    session.connection.close()
    session.connection = None
    return session
