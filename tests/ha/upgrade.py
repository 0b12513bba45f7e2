"""upgrade.py - live upgrades: connections in every state, one upgrade after the other, and what is to be refused.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "fault")]
from cluster import Client, Cluster, have_sentinel  # noqa: E402
from server import UnixConnection, free_port, info, sanitizer_report  # noqa: E402

BIG = 32 * 1024 * 1024
READY_S_MAX = 60
UPGRADE_S_MAX = 120
UPGRADE_TRIES = 5


def encode(*words):
    data = b"*%d\r\n" % len(words)
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        data += b"$%d\r\n%s\r\n" % (len(word), word)
    return data


class Peer:
    """A raw connection: what is sent and what must come are bytes."""

    def __init__(self, server, unix=False):
        if unix:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(os.path.join(server.directory, "ckv.sock"))
        else:
            self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.settimeout(READY_S_MAX)

    def send(self, data):
        self.socket.sendall(data)

    def expect(self, data):
        got = b""
        while len(got) < len(data):
            part = self.socket.recv(min(len(data) - len(got), 1 << 20))
            assert part, "the connection was closed; %r was due" % data[len(got):len(got) + 60]
            got += part
        if got != data:
            at = next(i for i in range(len(data)) if got[i] != data[i])
            raise AssertionError("at byte %d: %r instead of %r" % (at, got[at:at + 80], data[at:at + 80]))

    def ask(self, reply, *words):
        self.send(encode(*words))
        self.expect(reply)


class Upgraded:
    """A server whose process changes: it's asked for its id, and ended by that."""

    def __init__(self, program, directory, options=(), port=None, env=None):
        self.program, self.directory, self.port = program, directory, port or free_port()
        self.log = open(os.path.join(directory, "..", os.path.basename(directory) + ".log"), "ab+")
        self.words = [program, "--port", str(self.port), "--dir", directory, *options]
        self.process = subprocess.Popen(self.words, stdout=self.log, stderr=self.log, env=env)
        end = time.monotonic() + READY_S_MAX
        while True:
            try:
                if self.call("INFO").find(b"loading:0") >= 0:
                    break
            except OSError:
                assert time.monotonic() < end and self.process.poll() is None, self.said()[-2000:]
                time.sleep(0.01)
        self.first = self.process.pid

    def said(self):
        with open(self.log.name, "rb") as log:  # the server's own has one position for all, which its writes move
            return log.read().decode("utf-8", "replace")

    def call(self, *words):
        connection = UnixConnection(os.path.join(self.directory, "ckv.sock"))
        try:
            return connection.call(*words)
        finally:
            connection.close()

    def info(self, section="server"):
        connection = UnixConnection(os.path.join(self.directory, "ckv.sock"))
        try:
            return info(connection, section)
        finally:
            connection.close()

    def pid(self):
        return int(self.info()["process_id"])

    def upgrade(self, binary=None, good=True):
        words = [self.program, "upgrade", "--dir", self.directory] + (["--binary", binary] if binary else [])
        for _ in range(UPGRADE_TRIES):
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=UPGRADE_S_MAX)
            said = (done.stdout + done.stderr).decode()
            if not good or "took more than" not in said:  # the machine was busy, and the old process went on
                break
        assert (done.returncode == 0) == good, said + self.said()[-3000:]
        return said

    def stop(self):
        pid = self.pid()
        os.kill(pid, signal.SIGTERM)
        self.ended(pid)

    def keeps(self):
        return "no" not in self.words

    def ended(self, pid):
        """It stops, and everything is in order."""
        end = time.monotonic() + READY_S_MAX
        while os.path.exists("/proc/%d" % pid) and time.monotonic() < end:
            if self.process.poll() is not None and self.process.pid == pid:
                break
            time.sleep(0.01)
        self.process.wait()
        report = sanitizer_report(self.said())
        assert not report, report
        in_background = "--daemonize" in self.words  # and says nothing any more
        assert in_background or self.said().rstrip().endswith("ckv has stopped, bye."), self.said()[-2000:]
        if not self.keeps():
            assert os.listdir(self.directory) == ["ckv.lock"], os.listdir(self.directory)
            return
        check = subprocess.run([self.program, "check", self.directory], stdout=subprocess.PIPE)
        assert check.returncode == 0, check.stdout.decode()[-2000:]


class Writer(threading.Thread):
    """INCR in pipelines, without a pause: each answer is the one before and one more."""

    def __init__(self, server, key):
        super().__init__(daemon=True)  # a test that fails doesn't wait for it
        self.peer, self.key, self.count, self.ending, self.wrong = Peer(server), key, 0, False, None
        self.longest_s = 0
        self.start()

    def run(self):
        try:
            while not self.ending:
                begun = time.monotonic()
                self.peer.send(encode("INCR", self.key) * 20)
                self.peer.expect(b"".join(b":%d\r\n" % (self.count + i) for i in range(1, 21)))
                self.count += 20
                self.longest_s = max(self.longest_s, time.monotonic() - begun)
        except (AssertionError, OSError) as wrong:
            self.wrong = wrong

    def end(self):
        self.ending = True
        self.join()
        assert self.wrong is None, "%s: %s" % (self.key, self.wrong)


def bulk(data):
    return b"$%d\r\n%s\r\n" % (len(data), data)


class States:
    """A connection in each state; `settle` brings all of them to where an upgrade finds them, `check` goes on."""

    def __init__(self, server):
        self.server = server
        self.names = ("half", "big", "slow", "multi", "clean", "dirty", "subscriber", "publisher", "monitor",
                      "selected", "waiter", "silent", "skipping")
        for name in self.names:
            setattr(self, name, Peer(server, unix=name in ("half", "monitor", "waiter", "silent", "skipping")))
        self.value = os.urandom(BIG)
        self.monitor.ask(b"+OK\r\n", "MONITOR")
        self.subscriber.ask(b"*3\r\n" + bulk(b"subscribe") + bulk(b"news") + b":1\r\n", "SUBSCRIBE", "news")
        self.subscriber.ask(b"*3\r\n" + bulk(b"psubscribe") + bulk(b"n*") + b":2\r\n", "PSUBSCRIBE", "n*")
        self.slow.ask(b"+OK\r\n", "SET", "large", self.value)
        self.selected.ask(b"+OK\r\n", "SELECT", "3")
        self.sent = 0

    def settle(self, turn):
        self.turn = turn
        self.half_words = encode("SET", "half", "value %d" % turn)
        self.half.send(self.half_words[:-5])
        self.big_words = encode("SET", "big%d" % (turn % 2), self.value)
        self.big.send(self.big_words[:BIG // 2])
        for _ in range(3):
            self.slow.send(encode("GET", "large"))
        self.multi.ask(b"+OK\r\n", "MULTI")
        self.multi.ask(b"+QUEUED\r\n", "SET", "multi", turn)
        self.multi.ask(b"+QUEUED\r\n", "GET", "multi")
        for name in ("clean", "dirty"):
            getattr(self, name).ask(b"+OK\r\n", "WATCH", "watched-" + name)
        self.publisher.ask(b"+OK\r\n", "SET", "watched-dirty", turn)
        self.clean.ask(b"+OK\r\n", "MULTI")
        self.clean.ask(b"+QUEUED\r\n", "PING")
        self.selected.ask(b"+OK\r\n", "SET", "in3", turn)
        self.silent.send(encode("CLIENT", "REPLY", "OFF"))
        self.skipping.send(encode("CLIENT", "REPLY", "SKIP"))
        self.waiter.send(encode("WAIT", "1", "3000" if turn == 0 else "50"))

    def publish(self):
        self.publisher.ask(b":2\r\n", "PUBLISH", "news", self.sent)
        self.sent += 1

    def check(self):
        turn = b"%d" % self.turn
        self.half.send(self.half_words[-5:])
        self.half.expect(b"+OK\r\n")
        self.big.send(self.big_words[BIG // 2:])
        self.big.expect(b"+OK\r\n")
        for _ in range(3):
            self.slow.expect(bulk(self.value))
        self.multi.ask(b"*2\r\n+OK\r\n" + bulk(turn), "EXEC")
        self.clean.ask(b"*1\r\n+PONG\r\n", "EXEC")
        self.dirty.ask(b"+OK\r\n", "MULTI")
        self.dirty.ask(b"*-1\r\n", "EXEC")
        self.selected.ask(bulk(turn), "GET", "in3")
        self.waiter.expect(b":0\r\n")
        self.silent.send(encode("SET", "silent", turn))
        self.silent.ask(b"+OK\r\n", "CLIENT", "REPLY", "ON")
        self.silent.ask(bulk(turn), "GET", "silent")
        self.skipping.send(encode("SET", "skipped", turn))
        self.skipping.ask(bulk(turn), "GET", "skipped")

    def messages(self):
        for i in range(self.sent):
            text = bulk(b"%d" % i)
            self.subscriber.expect(b"*3\r\n" + bulk(b"message") + bulk(b"news") + text +
                                   b"*4\r\n" + bulk(b"pmessage") + bulk(b"n*") + bulk(b"news") + text)

    def drain_monitor(self):
        self.monitor.socket.setblocking(False)
        try:
            while self.monitor.socket.recv(1 << 20):
                pass
            raise AssertionError("MONITOR's connection was closed")
        except BlockingIOError:
            self.monitor.socket.settimeout(READY_S_MAX)


def test_states(program, other, directory, rounds, options):
    server = Upgraded(program, directory, ("--databases", "16", *options))
    run_id = server.info()["run_id"]
    states = States(server)
    writers = [Writer(server, "counter%d" % i) for i in range(4)]
    for turn in range(rounds):
        states.settle(turn)
        states.publish()
        before = server.pid()
        said = server.upgrade(other if turn % 2 == 0 else program)
        if turn < 2 or turn == rounds - 1:
            print("   ", said.strip())
        assert server.pid() != before and server.info()["run_id"] == run_id
        states.publish()
        states.drain_monitor()
        states.check()
    states.messages()
    for writer in writers:
        writer.end()
        states.publisher.ask(bulk(b"%d" % writer.count), "GET", writer.key)
    print("    longest pipeline of a writer: %.1f ms" % (1000 * max(writer.longest_s for writer in writers)))
    server.stop()


def test_refused(program, other, directory, rounds, options):
    del other, rounds
    path = os.path.join(directory, "..", "refused.conf")

    def write(*lines):
        with open(path, "w") as config:
            config.write("\n".join(lines) + "\n")
    port = free_port()
    write("slowlog-max-len 7")
    server = Upgraded(program, directory, options, port=port)
    server.stop()
    write("port %d" % port, "dir %s" % directory, "slowlog-max-len 7")
    server.process = subprocess.Popen([program, path, *options], stdout=server.log, stderr=server.log)
    time.sleep(0.5)
    before = server.pid()
    peer = Peer(server)
    write("port %d" % (port + 1), "dir %s" % directory)
    assert "port can't be changed by an upgrade" in server.upgrade(good=False)
    write("no such option")
    assert "there is no option" in server.upgrade(good=False)
    assert "can't be started" in server.upgrade("/nonexistent/ckv", good=False)
    assert "exit status 1" in server.upgrade("/bin/false", good=False)
    peer.ask(b"+OK\r\n", "SET", "a", "1")
    assert server.pid() == before
    server.call("CONFIG", "SET", "hz", "33")
    server.call("CONFIG", "SET", "slowlog-max-len", "9")
    write("port %d" % port, "dir %s" % directory, "slowlog-max-len 8", "timeout 77")
    server.upgrade()
    peer.ask(bulk(b"1"), "GET", "a")
    for option, value in (("hz", b"33"), ("slowlog-max-len", b"8"), ("timeout", b"77")):
        got = server.call("CONFIG", "GET", option)
        assert got == [b"$" + option.encode(), b"$" + value], got
    server.stop()


def test_slaves(program, other, directory, rounds):
    del rounds
    os.mkdir(directory + "-slave")
    master = Upgraded(program, directory, ("--ack", "slave", "--admin-plane", "all"))
    slave = Upgraded(program, directory + "-slave", ("--slaveof", "127.0.0.1", str(master.port)))
    end = time.monotonic() + READY_S_MAX
    while slave.info("replication")["master_link_status"] != "up":
        assert time.monotonic() < end, slave.said()[-2000:]
        time.sleep(0.05)
    syncs = master.info("stats")["sync_full"]
    writers = [Writer(master, "counter%d" % i) for i in range(2)]
    for upgraded in (master, slave, master, slave):
        before = upgraded.info("replication")
        upgraded.upgrade(other)
        after = upgraded.info("replication")
        assert before["master_replid"] == after["master_replid"]
    assert master.info("stats")["sync_full"] == syncs and master.info("stats")["sync_partial_ok"] == "0"
    for writer in writers:
        writer.end()
    while slave.info("replication")["slave_repl_offset"] != master.info("replication")["master_repl_offset"]:
        assert time.monotonic() < end + 60
        time.sleep(0.05)
    slave.stop()
    master.stop()


def test_stream(program, other, directory, rounds):
    """What slaves are sent goes on where it was, in the database where it was, also for one that is far behind."""
    del rounds
    server = Upgraded(program, directory, ("--admin-plane", "all", "--repl-ping-slave-period", "1000"))
    history = server.info("replication")["master_replid"]
    peer, near, far = Peer(server), Peer(server), Peer(server)
    for slave in (near, far):
        slave.ask(b"+CONTINUE\r\n", "PSYNC", history, 1)
    stream = b""

    def change(db, value):
        change = encode("SELECT", db) + encode("SET", "k", value)
        peer.send(change)
        peer.expect(b"+OK\r\n" * 2)
        return change

    for db, value in ((2, b"v"), (3, b"v" * BIG)):
        stream += change(db, value)
    near.expect(stream)
    near.send(encode("REPLCONF", "ACK", len(stream)))
    peer.ask(b":1\r\n", "WAIT", 1, 0)
    before = server.info("replication")
    server.upgrade(other)
    after = server.info("replication")
    for slave in ("slave0", "slave1"):
        assert before[slave].split(",lag=")[0] == after[slave].split(",lag=")[0], (before, after)
    more = change(0, b"w")
    near.expect(more)
    far.expect(stream + more)
    server.stop()


def test_waits(program, other, directory, rounds):
    """For a job that is at work: here a rollback, to a backup whose file is a pipe that nobody writes into yet."""
    del rounds
    server = Upgraded(program, directory, ("--admin-plane", "all"))

    def outcome(command):
        while (status := server.call(command, "STATUS")).startswith(b"$running"):
            time.sleep(0.05)
        return status[1:].split()
    server.call("BACKUP", "CREATE")
    done, backup = outcome("BACKUP")
    assert done == b"done", (done, backup)
    path = os.path.join(directory, "backups", backup.decode(), "checkpoint.gdbm")
    os.rename(path, path + ".kept")
    os.mkfifo(path)
    before = server.pid()
    server.call("ROLLBACK", backup)
    upgrade = threading.Thread(target=server.upgrade, args=(other,))
    upgrade.start()
    time.sleep(1)
    assert server.pid() == before and server.call("ROLLBACK", "STATUS").startswith(b"$running")
    with open(path, "wb"):
        pass
    assert outcome("ROLLBACK")[0] == b"failed"
    os.replace(path + ".kept", path)
    upgrade.join()
    assert server.pid() != before
    server.stop()


def test_always(program, other, directory, rounds):
    """In the background, each write synced."""
    del rounds
    server = Upgraded(program, directory, ("--fsync", "always", "--daemonize", "yes"))
    server.process.wait(READY_S_MAX)
    writers = [Writer(server, "counter%d" % i) for i in range(4)]
    for binary in (other, program, other):
        before = server.pid()
        server.upgrade(binary)
        assert server.pid() != before
    for writer in writers:
        writer.end()
        Peer(server).ask(bulk(b"%d" % writer.count), "GET", writer.key)
    server.stop()


def test_sentinel(program, other, directory, rounds):
    """Sentinel sees neither a failover nor another process; nobody is synced anew."""
    del rounds
    if not have_sentinel():
        print("    there is no redis-sentinel")
        return
    cluster = Cluster(program, directory)
    try:
        cluster.start()
        master = cluster.master()
        clients = [Client(cluster, i, 0.001) for i in range(2)]
        seen = sentinel_sees(cluster)
        for client in clients:
            client.start()
        for member in (master, cluster.other(master)) * 2:
            words = [program, "upgrade", "--dir", member.directory, "--binary", other]
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=UPGRADE_S_MAX)
            assert done.returncode == 0, done.stdout
            assert cluster.master() is master and cluster.other(master).is_linked()
        for client in clients:
            client.end()
            assert client.acked and not client.errors and not client.missing(master), client.errors
        cluster.await_calm()
        assert sentinel_sees(cluster) == seen, (sentinel_sees(cluster), seen)
    finally:
        cluster.end()


def sentinel_sees(cluster):
    epochs = [sentinel.state("master")[0]["config-epoch"] for sentinel in cluster.sentinels]
    return epochs, [(member.info("server")["run_id"], member.info("stats")["sync_full"]) for member in cluster.members]


def end_all(top):
    """Whatever a test that failed has left running on that directory."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink("/proc/%s/cwd" % name).startswith(top):
                os.kill(int(name), signal.SIGKILL)
        except OSError:
            pass


KEEPS_NOTHING = ("--persistence", "no")
TESTS = ((test_refused, ()), (test_refused, KEEPS_NOTHING), (test_slaves,), (test_stream,), (test_waits,),
         (test_always,), (test_sentinel,), (test_states, ()), (test_states, KEEPS_NOTHING))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ckv", default="build/ckv")
    parser.add_argument("--other", help="a ckv of another version; without, the same")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    program, other = os.path.abspath(args.ckv), os.path.abspath(args.other or args.ckv)
    for test, *options in TESTS:
        if args.only not in test.__name__:
            continue
        nothing = options == [KEEPS_NOTHING]
        rounds = max(args.rounds // 4, 1) if nothing else args.rounds  # the exchange is the same
        with tempfile.TemporaryDirectory() as top:
            directory = os.path.join(top, "data")
            os.mkdir(directory)
            begun = time.monotonic()
            try:
                test(program, other, directory, rounds, *options)
            finally:
                end_all(top)
            print("%s%s: ok, %.1f s" % (test.__name__, " (persistence no)" if nothing else "",
                                        time.monotonic() - begun), flush=True)


if __name__ == "__main__":
    main()
