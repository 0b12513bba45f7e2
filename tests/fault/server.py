"""server.py - the server under fault tests: starts, kills, stops it in a data directory, and speaks to it.

Debian's redis-server can stand in for ckv, to test the tests: name it by --ckv.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "compat", "differential"))
from resp import Connection, Lost, REPLY_S_MAX  # noqa: E402

SOCKET = "ckv.sock"
READY_S_MAX = 30
STOP_S_MAX = 30
CHECKPOINT_S_MAX = 30
IN_PROGRESS = "rdb_bgsave_in_progress"
SANITIZERS = ("AddressSanitizer", "ThreadSanitizer", "LeakSanitizer", "runtime error:")
LAST_STATUS = "rdb_last_bgsave_status"


class NotStarted(Exception):
    """The server ended, or did not answer, instead of starting; the text is what it said."""

    def __init__(self, status, said):
        super().__init__("status %s: %s" % (status, said[-2000:].strip()))
        self.status = status
        self.said = said


class UnixConnection(Connection):
    """A connection by a Unix socket: the operator's."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(REPLY_S_MAX)
        self.data = b""
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def sanitizer_report(said):
    """The beginning of what a sanitizer has to say, or an empty text."""
    places = [said.find(word) for word in SANITIZERS if word in said]
    return said[min(places):][:3000] if places else ""


def is_redis(program):
    return os.path.basename(program) == "redis-server"


class Server:
    """One server on a directory. Its log is kept beside the directory, so that it always has room."""

    def __init__(self, program, directory, fsync="everysec", options=(), env=None):
        self.program = program
        self.directory = directory
        self.path = os.path.join(directory, SOCKET)
        self.log_path = directory.rstrip("/") + ".log"
        self.log_at = 0
        self.fsync = fsync
        self.options = list(options)
        self.env = env
        self.process = None
        self.port = 0

    def command(self):
        self.port = free_port()
        common = ["--port", str(self.port), "--dir", self.directory, "--bind", "127.0.0.1"]
        if is_redis(self.program):
            return [self.program, *common, "--unixsocket", self.path, "--save", "", "--appendonly", "yes",
                    "--appendfsync", self.fsync, *self.options]
        return [self.program, *common, "--fsync", self.fsync, *self.options]

    def launch(self):
        os.makedirs(self.directory, exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.log_at = log.tell()
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env=dict(os.environ, **self.env) if self.env else None)

    def start(self):
        """Starts it and waits until it serves."""
        self.launch()
        end = time.monotonic() + READY_S_MAX
        while not self.serves():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise NotStarted(self.process.returncode, self.said())
            time.sleep(0.003)

    def serves(self):
        try:
            connection = self.connect()
        except OSError:
            return False
        try:
            return not connection.call("PING").startswith(b"-LOADING")
        except Lost:
            return False
        finally:
            connection.close()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def connect(self):
        """The operator's connection."""
        return UnixConnection(self.path)

    def connect_tcp(self):
        return Connection(self.port)

    def said(self):
        """What it has logged since its last start."""
        with open(self.log_path, errors="replace") as log:
            log.seek(self.log_at)
            return log.read()

    def ended_within(self, seconds):
        """Waits so long for it to end by itself: whether it did."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self):
        """Ends it at once; the exit status it had, if it had ended already."""
        if self.process is None:
            return None
        ended = self.process.poll()
        self.process.kill()
        self.process.wait()
        return ended

    def stop(self):
        """Stops it gently: the exit status; None if it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


def info(connection, section="persistence"):
    """INFO's fields as a dictionary of texts."""
    text = connection.call("INFO", section)[1:].decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def wait_checkpoint(connection, seconds=CHECKPOINT_S_MAX):
    """Waits until no checkpoint runs: whether the last one succeeded."""
    end = time.monotonic() + seconds
    while True:
        fields = info(connection)
        if fields[IN_PROGRESS] == "0":
            return fields[LAST_STATUS] == "ok"
        if time.monotonic() > end:
            raise Lost("the checkpoint does not end within %d s" % seconds)
        time.sleep(0.002)


def checkpoint(connection):
    """Makes a checkpoint: an empty text, or why there is none."""
    reply = connection.call("BGSAVE")
    if not reply.startswith(b"+"):
        return reply.decode(errors="replace")
    return "" if wait_checkpoint(connection) else "INFO: %s is not ok" % LAST_STATUS


def make_backup(connection, seconds=CHECKPOINT_S_MAX):
    """Makes a backup and waits for it: an empty text, or why there is none."""
    reply = connection.call("BACKUP", "CREATE")
    if not reply.startswith(b"+"):
        return reply.decode(errors="replace")
    end = time.monotonic() + seconds
    while True:
        status = connection.call("BACKUP", "STATUS")[1:].decode(errors="replace")
        if not status.startswith("running"):
            return "" if status.startswith("done") else "BACKUP STATUS: " + status
        if time.monotonic() > end:
            raise Lost("the backup does not end within %d s" % seconds)
        time.sleep(0.005)


def roll_back(connection, identity, seconds=CHECKPOINT_S_MAX):
    """Goes back to a backup and waits until its data is there: an empty text, or why it isn't."""
    reply = connection.call("ROLLBACK", identity)
    if not reply.startswith(b"+"):
        return reply.decode(errors="replace")
    end = time.monotonic() + seconds
    while True:
        status = connection.call("ROLLBACK", "STATUS")[1:].decode(errors="replace")
        if not status.startswith(("running", "LOADING")):
            return "" if status.startswith("done") else "ROLLBACK STATUS: " + status
        if time.monotonic() > end:
            raise Lost("the rollback does not end")
        time.sleep(0.002)


def now_ms():
    return time.time() * 1000
