"""terminal.py - a program on a pseudo-terminal: say a line, read what it answers.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

READ_S_MAX = 10
# Lines and columns: a line editor that finds none asks the terminal where its cursor is, and waits.
SIZE = struct.pack("HHHH", 50, 200, 0, 0)
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A program started on a terminal of its own. What it writes is kept without escapes and carriage returns."""

    def __init__(self, command, environment):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, SIZE)
            os.execvpe(command[0], command, environment)
        self.text = ""
        self.status = None

    def read(self):
        """Reads more; False at the end."""
        ready, _, _ = select.select([self.fd], [], [], READ_S_MAX)
        if not ready:
            raise TimeoutError("the terminal is silent after %r" % self.text[-300:])
        try:
            part = os.read(self.fd, 65536)
        except OSError:
            part = b""
        self.text += ESCAPE.sub("", part.decode(errors="replace"))
        return bool(part)

    def until(self, end):
        """All that it wrote, up to and with this end."""
        limit = time.monotonic() + READ_S_MAX
        while not self.text.replace("\r", "").endswith(end):
            if time.monotonic() > limit or not self.read():
                raise AssertionError("%r does not end with %r" % (self.text[-300:], end))
        text, self.text = self.text.replace("\r", ""), ""
        return text

    def prompt(self, prompt):
        self.until(prompt)

    def say(self, line, end, keep=False):
        """Types a line: what is written behind its echo and before the next prompt (or with the end, to keep it)."""
        os.write(self.fd, line.encode() + b"\r")
        while "\n" not in self.text:
            self.read()
        self.text = self.text.partition("\n")[2]
        answer = self.until(end)
        return answer if keep else answer[:-len(end)]

    def wait(self):
        while self.read():
            pass
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)

    def end(self, line):
        os.write(self.fd, line.encode() + b"\r")
        self.wait()

    def interrupt(self):
        os.kill(self.pid, signal.SIGINT)
