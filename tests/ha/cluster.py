"""cluster.py - a master, a slave and three Sentinels of Debian's, from the very files of deploy/ with other ports and
directories; and a client that finds the master by Sentinel, as client libraries do.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import shutil
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nodes import (Connection, DistantConnection, Lost, Node, Server, answers_ping, free_port,  # noqa: E402
                   sanitizer_report, wait_for)

DEPLOY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy")
NAME = "ckv"
PASSWORD = "ckv:change-me"
ADMIN = "admin:change-me-too"
SENTINELS = 3
AGREED_S_MAX = 30
SWITCHED_S_MAX = 30
REPLY_S_MAX = 3
CLIENT_PAUSE_S = 0.02
# Sentinel asks every ten seconds what the tests would have it know at once, and waits for twice the timeout from one
# failover to the next: in its own words, in ms.
PERIODS = ("INFO-PERIOD", 1000, "PUBLISH-PERIOD", 300)
FAILOVER_TIMEOUT_MS = 2000


LOCAL = "127.0.0.1"


def config_of(name, directory, port, master, extra="", bind=LOCAL):
    """A file of deploy/ for this port, directory and master (its address and port), in that directory; its path."""
    with open(os.path.join(DEPLOY, name), encoding="utf-8") as source:
        lines = source.read().splitlines()
    made = []
    for line in lines:
        words = line.split()
        if words[:1] == ["port"]:
            line = "port %d" % port
        elif words[:1] == ["dir"]:
            line = "dir " + directory
        elif words[:1] == ["slaveof"] or words[:2] == ["sentinel", "monitor"]:
            line = line.replace("127.0.0.1 6379", "%s %d" % master)
        elif words[:1] == ["bind"]:
            line = "bind " + bind
        made.append(line)
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as target:
        target.write("\n".join(made) + "\n" + extra)
    return path


class Member(Node):
    """A ckv from a configuration file, which CONFIG REWRITE changes."""

    def __init__(self, program, directory, name, master=None, extra="", bind=LOCAL):
        super().__init__(program, directory)
        self.config = config_of(name, directory, self.port, master, extra, bind)

    def command(self):
        return [self.program, self.config]

    def admin(self):
        return self.connect()

    def serves(self):
        """Also while it's a slave that nobody may read from."""
        return answers_ping(self.connect)


class Sentinel(Server):
    """Debian's redis-sentinel."""

    def __init__(self, directory, master, bind=LOCAL):
        super().__init__("redis-sentinel", directory)
        self.port = free_port()
        self.config = config_of("sentinel.conf", directory, self.port, master, bind=bind)

    def command(self):
        return [self.program, self.config]

    def serves(self):
        try:
            connection = Connection(self.port)
        except OSError:
            return False
        connection.close()
        return True

    def ask(self, *words):
        connection = Connection(self.port)
        try:
            return connection.call(*words)
        finally:
            connection.close()

    def master(self):
        """The master's address and port."""
        host, port = self.ask("SENTINEL", "get-master-addr-by-name", NAME)
        return host[1:].decode(), int(port[1:])

    def state(self, *words):
        """A reply of names and values as a list of dictionaries."""
        reply = self.ask("SENTINEL", *words, NAME)
        groups = reply if reply and isinstance(reply[0], list) else [reply]
        return [{key[1:].decode(): value[1:].decode() for key, value in zip(group[::2], group[1::2])}
                for group in groups]

    def knows_all(self):
        master, slaves = self.state("master")[0], self.state("slaves")
        good = [slave for slave in slaves if slave["flags"] == "slave" and slave["master-link-status"] == "ok"]
        return master["flags"] == "master" and int(master["num-other-sentinels"]) == SENTINELS - 1 and len(good) == 1


class Cluster:
    """Two ckv and three Sentinels."""

    def __init__(self, program, folder, extra="", hurried=True):
        self.hurried = hurried
        self.make(program, folder, extra)

    def make(self, program, folder, extra):
        master = Member(program, os.path.join(folder, "one"), "master.conf", extra=extra)
        address = LOCAL, master.port
        self.members = [master, Member(program, os.path.join(folder, "two"), "slave.conf", address, extra)]
        self.sentinels = [Sentinel(os.path.join(folder, "sentinel%d" % i), address) for i in range(1, SENTINELS + 1)]

    def start(self):
        for server in [*self.members, *self.sentinels]:
            server.start()
        for sentinel in self.sentinels:
            if self.hurried:
                assert sentinel.ask("SENTINEL", "DEBUG", *PERIODS) == b"+OK"
                assert sentinel.ask("SENTINEL", "SET", NAME, "failover-timeout", FAILOVER_TIMEOUT_MS) == b"+OK"
        self.await_calm()

    def by_port(self, port):
        return next(member for member in self.members if member.port == port)

    def master(self):
        """Whom the Sentinels call so, if they agree."""
        ports = {sentinel.master()[1] for sentinel in self.sentinels}
        return self.by_port(ports.pop()) if len(ports) == 1 else None

    def other(self, member):
        return self.members[1 - self.members.index(member)]

    def is_calm(self):
        master = self.master()
        return (master is not None and all(sentinel.knows_all() for sentinel in self.sentinels) and
                self.other(master).is_linked() and master.offset() == self.other(master).offset())

    def await_calm(self):
        """Until all is as it's meant to be: the pair in step, the Sentinels of one mind."""
        wait_for("a calm pair", self.is_calm, AGREED_S_MAX)

    def end(self):
        """What sanitizers have to say, or an empty text."""
        for server in [*self.sentinels, *self.members]:
            if server.process is not None:
                server.kill()
        said = ""
        for member in self.members:
            if os.path.exists(member.log_path):
                with open(member.log_path, errors="replace") as log:
                    said += sanitizer_report(log.read())
        return said


class Client(threading.Thread):
    """Writes one field after the other of a hash of its own to the master that the Sentinels name. A write that got no
    answer is never sent again, so that what is acknowledged is known exactly."""

    def __init__(self, cluster, number, pause_s=0.0):
        super().__init__(daemon=True)
        self.cluster, self.key, self.pause_s = cluster, "writes:%d" % number, pause_s
        self.ended = threading.Event()
        self.acked = []  # (number of the write, port, when sent, when answered)
        self.errors = {}
        self.sent = 0
        self.pinned = None  # an address and port: written to whatever Sentinel says
        self.value = "x"

    def connect(self):
        host, port = self.pinned or self.cluster.sentinels[self.sent % SENTINELS].master()
        connection = DistantConnection(host, port, REPLY_S_MAX)
        reply = connection.call("AUTH", PASSWORD)
        if reply != b"+OK":
            raise Lost(reply)
        return connection, port

    def write(self, connection, port):
        self.sent += 1
        number, start = self.sent, time.monotonic()
        reply = connection.call("HSET", self.key, number, self.value)
        if reply[:1] == b"-":
            raise Lost(reply.decode())
        self.acked.append((number, port, start, time.monotonic()))

    def run(self):
        connection = None
        while not self.ended.is_set():
            try:
                if connection is None:
                    connection, port = self.connect()
                self.write(connection, port)
                time.sleep(self.pause_s)
            except (Lost, OSError, TypeError, ValueError) as error:
                text = str(error).split(" (")[0]
                self.errors[text] = self.errors.get(text, 0) + 1
                if connection is not None:
                    connection.close()
                    connection = None
                time.sleep(CLIENT_PAUSE_S)

    def end(self):
        self.ended.set()
        self.join()

    def missing(self, node):
        """Acknowledged writes that a node doesn't have."""
        reply = node.ask("HKEYS", self.key)
        there = {int(field[1:]) for field in reply}
        return [number for number, *_ in self.acked if number not in there]


def first_ack_after(clients, moment, port):
    """When the first write that was sent after a moment was acknowledged by that port; None: none was."""
    times = [answered for client in clients for _, at, sent, answered in list(client.acked)
             if at == port and sent >= moment]
    return min(times, default=None)


def both_acknowledged(clients, old_port, new_port, moment):
    """Writes of the old master that were sent after the new one had acknowledged one, since a moment."""
    first = first_ack_after(clients, moment, new_port)
    return [ack for client in clients for ack in client.acked
            if first is not None and ack[1] == old_port and ack[2] > first]


def have_sentinel():
    return shutil.which("redis-sentinel") is not None


def log_end(server, lines=25):
    with open(server.log_path, errors="replace") as log:
        return "".join(log.readlines()[-lines:])
