"""server.py - the server that the clients of run.py talk to: starts, kills and restarts it, reads its counters.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import signal
import socket
import subprocess
import time

READY_S_MAX = 10
STOP_S_MAX = 20
REPORT_S_MAX = 10


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """One ckv on a port and in a directory of its own, with the given password ("" for none)."""

    def __init__(self, ckv, directory, password):
        self.ckv = ckv
        self.directory = directory
        self.password = password
        self.admin_password = "0perator"
        self.socket = os.path.join(directory, "ckv.sock")
        self.port = free_port()
        self.process = None
        self.operator = None
        self.counted = {}

    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        command = [self.ckv, "--port", str(self.port), "--dir", self.directory, "--admin-password",
                   self.admin_password]
        if self.password:
            command += ["--requirepass", self.password]
        with open(os.path.join(self.directory, "log"), "a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.counted = {}
        end = time.monotonic() + READY_S_MAX
        while not self.connect_operator():
            if time.monotonic() > end or not self.running():
                raise RuntimeError("the server did not start:\n" + self.log_end())
            time.sleep(0.01)

    def connect_operator(self):
        """Connects to the operator's socket and to the port, which shows that both are served."""
        self.operator = socket.socket(socket.AF_UNIX)
        self.operator.settimeout(REPORT_S_MAX)
        try:
            self.operator.connect(self.socket)
            socket.create_connection(("127.0.0.1", self.port), REPORT_S_MAX).close()
        except OSError:
            self.operator.close()
            return False
        return True

    def commands_run(self):
        """The names of the commands that were run since the last call (but for this method's own INFO)."""
        self.operator.sendall(b"INFO commandstats\r\n")
        reply = b""
        while b"\r\n" not in reply or len(reply) < reply.index(b"\r\n") + 4 + int(reply[1:reply.index(b"\r\n")]):
            reply += self.operator.recv(65536)
        counts = {}
        for line in reply.decode().splitlines():
            if line.startswith("cmdstat_"):
                name, _, fields = line[len("cmdstat_"):].partition(":calls=")
                counts[name] = int(fields.split(",")[0])
        before = self.counted
        self.counted = dict(counts, info=counts.get("info", 0) + 1)
        return sorted(name for name in counts if counts[name] > before.get(name, 0))

    def kill(self):
        self.operator.close()
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Stops it gently: what went wrong, or "". """
        if not self.running():
            return "it had ended: " + self.log_end()
        self.operator.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "it did not stop within %d s" % STOP_S_MAX
        return "exit status %d: %s" % (status, self.log_end()) if status else ""

    def log_end(self):
        with open(os.path.join(self.directory, "log"), errors="replace") as log:
            return log.read()[-4000:]
