"""servers.py - starts and stops the two servers that the differential tests compare.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from resp import Connection, Lost

CKV_ARGS = "--port %p --dir %d --admin-plane all"
ORACLE_DEFAULT = "redis-server --port %p --dir %d --bind 127.0.0.1 --save '' --appendonly no --loglevel warning"
READY_S_MAX = 20


class CannotRun(Exception):
    """Nothing was compared, and the text says what to do about it."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server process of its own: `command` has %p for its port and %d for its scratch directory."""

    def __init__(self, command):
        self.folder = tempfile.mkdtemp(prefix="ckv-differential-")
        self.port = free_port()
        words = [word.replace("%p", str(self.port)).replace("%d", self.folder) for word in shlex.split(command)]
        if not shutil.which(words[0]):
            shutil.rmtree(self.folder)
            raise CannotRun("%s: no such program; build ckv with `make`, install Debian's package redis-server, or "
                            "name another with --ckv or --oracle" % words[0])
        self.words = words
        self.start()

    def start(self):
        """Starts the process, or another one where the last has ended."""
        with open(os.path.join(self.folder, "log"), "a") as log:
            self.process = subprocess.Popen(self.words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            self.wait_ready(self.words[0])
        except CannotRun:
            self.stop()
            raise

    def restart(self, how=signal.SIGTERM):
        """Ends the process by a signal and starts it again with the same port and directory."""
        self.process.send_signal(how)
        self.process.wait(READY_S_MAX)
        self.start()

    def wait_ready(self, name):
        end = time.monotonic() + READY_S_MAX
        while time.monotonic() < end and self.process.poll() is None:
            try:
                connection = Connection(self.port)
            except OSError:
                time.sleep(0.02)
                continue
            self.version = info_version(connection)
            connection.close()
            return
        raise CannotRun("%s does not serve on port %d; its log ends:\n%s" % (name, self.port, self.log()[-2000:]))

    def log(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as log:
            return log.read()

    def stop(self):
        """What went wrong with the process, or an empty text."""
        said = ""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                said = "it did not stop"
        if self.process.returncode not in (0, -signal.SIGTERM) and not said:
            said = "it ended with status %s; its log ends:\n%s" % (self.process.returncode, self.log()[-4000:])
        shutil.rmtree(self.folder, ignore_errors=True)
        return said


def info_version(connection):
    """The version that the server gives in INFO, such as "7.0.15"."""
    try:
        text = connection.call("INFO", "server")
    except Lost:
        return "?"
    for line in (text or b"").split(b"\r\n"):
        if line.startswith(b"redis_version:"):
            return line.split(b":")[1].decode()
    return "?"
