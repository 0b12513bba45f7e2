"""nodes.py - the servers of the tests of replication and failover: each keeps its port and its directory over restarts.

A node is a ckv, a Redis (Debian's redis-server, or that which REDIS32 names), or a Sentinel. All listen on 127.0.0.1.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import signal
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "fault"))
from server import Connection, Lost, NotStarted, Server, free_port, info, sanitizer_report  # noqa: E402,F401

ADMIN_PASSWORD = "operator"
SYNCED_S_MAX = 30
STEP_S = 0.01


class DistantConnection(Connection):
    """A connection to a server that isn't at 127.0.0.1."""

    def __init__(self, host, port, seconds):
        self.socket = socket.create_connection((host, port), timeout=seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""


def answers_ping(connect):
    """Whether a connection can be had, and PING is answered on it."""
    try:
        connection = connect()
    except OSError:
        return False
    try:
        return connection.call("PING") == b"+PONG"
    except Lost:
        return False
    finally:
        connection.close()


def wait_for(what, condition, seconds=SYNCED_S_MAX):
    """Waits until the condition gives something true, which is returned; a lost connection is not yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            result = condition()
        except (Lost, OSError):
            result = None
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError("not within %g s: %s" % (seconds, what))
        time.sleep(STEP_S)


class Node(Server):
    """A server with a port of its own."""

    def __init__(self, program, directory, options=(), env=None):
        super().__init__(program, directory, options=options, env=env)
        self.port = free_port()

    def serves(self):
        """Redis answers by TCP only."""
        return answers_ping(self.connect_tcp)

    def admin(self):
        """The operator's connection."""
        return self.connect_tcp()

    def ask(self, *words):
        """One command by a connection of its own."""
        connection = self.admin()
        try:
            return connection.call(*words)
        finally:
            connection.close()

    def info(self, section="replication"):
        connection = self.admin()
        try:
            return info(connection, section)
        finally:
            connection.close()

    def offset(self):
        """How far its stream goes, or how far it has followed its master's."""
        fields = self.info()
        return int(fields["slave_repl_offset" if fields["role"] == "slave" else "master_repl_offset"])

    def follow(self, master):
        assert self.ask("SLAVEOF", "127.0.0.1", master.port).startswith(b"+OK")

    def is_linked(self):
        fields = self.info()
        return fields["role"] == "slave" and fields["master_link_status"] == "up"

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


class Ckv(Node):
    """A ckv, which takes everyone for its operator unless `guarded`."""

    def __init__(self, program, directory, *options, guarded=False):
        plane = ["--admin-password", ADMIN_PASSWORD, "--masterauth", "admin:" + ADMIN_PASSWORD]
        super().__init__(program, directory, [*(plane if guarded else ["--admin-plane", "all"]), *options])

    def command(self):
        return [self.program, "--port", str(self.port), "--dir", self.directory, "--bind", "127.0.0.1", *self.options]

    def admin(self):
        return self.connect()


class Redis(Node):
    """A Redis without files. 7.0 wants to be asked for DEBUG, and loses the sign of a score of -0 in a packed set."""

    def __init__(self, program, directory, version, *options):
        only_7 = ["--enable-debug-command", "local", "--zset-max-listpack-entries", "0"]
        super().__init__(program, directory, [*(only_7 if version.startswith("7.") else []), *options])

    def command(self):
        return [self.program, "--port", str(self.port), "--dir", self.directory, "--bind", "127.0.0.1", "--save", "",
                "--repl-diskless-sync-delay", "0", *self.options]


class Many:
    """Nodes of one test, all ended with it."""

    def __init__(self, folder):
        self.folder = folder
        self.nodes = []

    def add(self, node):
        self.nodes.append(node)
        return node

    def end(self):
        """What sanitizers have to say, or an empty text."""
        said = ""
        for node in self.nodes:
            if node.process is None:
                continue
            if node.running():
                node.resume()
            node.kill()
            with open(node.log_path, errors="replace") as log:
                said += sanitizer_report(log.read())
        return said


def same_offset(*nodes):
    """Whether they all are at the same place of the stream."""
    return len({node.offset() for node in nodes}) == 1


def digest(node):
    return node.ask("DEBUG", "DIGEST")
