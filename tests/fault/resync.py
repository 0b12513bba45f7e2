#!/usr/bin/env python3
"""resync.py - a running slave that can't load what a full sync brought: the file can't be opened or read.

Once, at the first and later operations on the checkpoint: the slave says so, has nothing, and gets in step by itself;
or on the journal behind it: that's done again.
For good: it goes on trying at its leisure, piles nothing up, and neither becomes a master nor takes what an emptied
master has; a start on its directory refuses, or finds the data if it can be read by now; and when it can, the slave is
in step soon.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import errno
import os
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from faults import Plan  # noqa: E402
from server import NotStarted, Server, checkpoint, info, sanitizer_report  # noqa: E402

OLD_KEYS = 20
FAIL_S_MAX = 30
HEAL_S_MAX = 60
WATCH_S = 15
TRIES_MAX = 2     # in WATCH_S, at 10 s each
CPU_S_MAX = 5.0   # in WATCH_S; a busy loop takes more
CHECKPOINT = "checkpoint-a.gdbm"
FAILED = "Failed trying to load the MASTER synchronization DB from disk: "


def until(seconds, true):
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def digest(server):
    connection = server.connect()
    try:
        return connection.call("DEBUG", "DIGEST")
    finally:
        connection.close()


def fields_of(server):
    connection = server.connect()
    try:
        return info(connection, "all")
    finally:
        connection.close()


class Slave:
    """One on a directory of its own with a few old keys. Loads fail as planned while its control file is there."""

    def __init__(self, tests, name, mode="once", calls="read", at=1, match=CHECKPOINT, slave=False):
        self.tests = tests
        self.match = match
        self.name = "%s %s %d" % (name, calls, at)
        self.directory = os.path.join(tests.parent, self.name.replace(" ", "-"))
        self.control = self.directory + ".control"
        os.mkdir(self.directory)
        plan = Plan(tests.args.library, self.directory, self.directory + ".trace", mode=mode, calls=calls, at=at,
                    errno=errno.EIO, match="/" + match, control=self.control)
        self.plan = plan
        options = ["--slaveof", "127.0.0.1", str(tests.master.port)] if slave else []
        if slave:
            open(self.control, "w").close()
        # A sanitizer wants to be the first library.
        self.env = dict(plan.env, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")
        self.server = Server(tests.args.ckv, self.directory, env=self.env, options=options)
        tests.servers.append(self.server)
        self.server.start()
        if not slave:
            self.write_old()

    def write_old(self):
        connection = self.server.connect()
        for n in range(OLD_KEYS):
            connection.call("SET", "old:%d" % n, "old")
        connection.close()

    def follow(self):
        open(self.control, "w").close()
        connection = self.server.connect()
        connection.call("SLAVEOF", "127.0.0.1", str(self.tests.master.port))
        connection.close()

    def link(self):
        return fields_of(self.server)["master_link_status"]

    def await_failure(self):
        """Waits until it says that a load failed: what is wrong then."""
        wrong = []
        if not until(FAIL_S_MAX, lambda: not self.server.running() or FAILED in self.server.said()):
            return ["no load failed: " + self.server.said()[-1000:]]
        if not self.server.running():
            return ["it ended with status %s: %s" % (self.server.process.returncode, self.server.said()[-1000:])]
        line = next(line for line in self.server.said().splitlines() if FAILED in line)
        if self.match not in line or os.strerror(errno.EIO) not in line:
            wrong.append("it doesn't name the file and the cause: " + line)
        return wrong

    def has_nothing(self):
        """While it waits for the next try."""
        connection = self.server.connect()
        wrong = []
        if not until(1, lambda: "can't be loaded" in info(connection, "all").get("ckv_sync_error", "")):
            wrong.append("ckv_sync_error doesn't say it")
        fields = info(connection, "all")
        if (fields["loading"], fields["master_link_status"]) != ("0", "down"):
            wrong.append("loading:%s master_link_status:%s" % (fields["loading"], fields["master_link_status"]))
        for words, expected in ((("DBSIZE",), b":0"), (("GET", "old:1"), None), (("PING",), b"+PONG")):
            reply = connection.call(*words)
            if reply != expected:
                wrong.append("%s is answered %r" % (words, reply))
        connection.close()
        return wrong

    def await_data(self):
        """Waits until it's in step, then starts it anew: what is wrong."""
        if not until(HEAL_S_MAX, lambda: not self.server.running() or self.link() == "up"):
            return ["it doesn't get in step: " + self.server.said()[-1500:]]
        if not self.server.running():
            return ["it ended: " + self.server.said()[-1000:]]
        same = until(HEAL_S_MAX, lambda: digest(self.server) == self.tests.expected)
        return [] if same else ["in step, it has other data than the master"]

    def starts_with_data(self):
        self.server.kill()
        again = Server(self.tests.args.ckv, self.directory)
        try:
            again.start()
            return [] if digest(again) == self.tests.expected else ["started again, it has other data"]
        except NotStarted as error:
            return ["it doesn't start again: %s" % error]
        finally:
            again.kill()

    def backups(self):
        """Those that are there, and what is left of others."""
        place = os.path.join(self.directory, "backups")
        return sorted(os.listdir(place)) if os.path.isdir(place) else []

    def cpu_s(self):
        with open("/proc/%d/stat" % self.server.process.pid) as stat:
            words = stat.read().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class Tests:
    def __init__(self, args):
        self.args = args
        self.parent = os.path.realpath(tempfile.mkdtemp(prefix="ckv-resync-"))
        self.master = Server(args.ckv, os.path.join(self.parent, "master"), options=["--admin-plane", "all"])
        self.master.start()
        self.servers = [self.master]
        self.runs = self.failed = 0
        self.expected = ""
        self.change("DEBUG", "POPULATE", str(args.keys))

    def change(self, *words):
        """Runs a command on the master, and notes what all are to have then."""
        connection = self.master.connect()
        connection.call(*words)
        connection.close()
        self.expected = digest(self.master)

    def end(self, slave, wrong):
        """Says what was wrong in a slave's run, and ends it."""
        if slave.server.running() and slave.server.stop() != 0:
            wrong.append("it doesn't stop as it should: " + slave.server.said()[-1000:])
        report = sanitizer_report(slave.server.said())
        if report:
            wrong.append(report)
        self.runs += 1
        self.failed += bool(wrong)
        for text in wrong:
            print("FAIL  %s: %s" % (slave.name, text), flush=True)
        slave.server.kill()
        shutil.rmtree(slave.directory, ignore_errors=True)

    def count(self):
        """How many operations a load is."""
        slave = Slave(self, "count", calls="read", at=0)
        slave.follow()
        wrong = slave.await_data() + slave.starts_with_data()
        reads = len(slave.plan.lines())
        self.end(slave, wrong)
        return reads

    def once(self, reads):
        plans = [("open", 1, CHECKPOINT), ("open", 2, CHECKPOINT), ("read", 1, CHECKPOINT),
                 ("read", reads // 2, CHECKPOINT), ("read", reads, CHECKPOINT)]
        slaves = [Slave(self, "once", calls=calls, at=at, match=match) for calls, at, match in plans]
        wrong = {}
        for slave in slaves:
            slave.follow()
            wrong[slave] = slave.await_failure()
            if slave.server.running():
                wrong[slave] += slave.has_nothing()
        self.change("SET", "later", "value")
        for slave in slaves:
            if slave.server.running():
                wrong[slave] += slave.await_data()
            if slave.server.said().count("Full resync from master") != 2:
                wrong[slave].append("it wasn't two full syncs")
        self.change("SET", "streamed", "value")
        for slave in slaves:
            if slave.server.running():
                wrong[slave] += slave.await_data() + slave.starts_with_data()
            self.end(slave, wrong[slave])

    def mended(self):
        """What fails once of the journal that goes on behind it is done again: there's no second full sync."""
        slave = Slave(self, "mended", calls="mkdir", at=2, match="journal")
        slave.follow()
        wrong = slave.await_data()
        if slave.server.said().count("it's tried again.") != 1:
            wrong.append("it wasn't tried again once")
        if slave.server.said().count("Full resync from master") != 1:
            wrong.append("it wasn't one full sync")
        if slave.server.running():
            wrong += slave.starts_with_data()
        self.end(slave, wrong)

    def for_good(self):
        checkpoint(self.master.connect())  # what the slave gets has all, without the stream
        slave = Slave(self, "always", mode="from", calls="open")
        slave.follow()
        wrong = slave.await_failure()
        if slave.server.running():
            wrong += self.watch(slave)
            wrong += slave.has_nothing() + self.refuses(slave) + self.start_on_copy(slave)
            os.unlink(slave.control)
            wrong += slave.await_data() + self.drops_backups(slave)
        self.end(slave, wrong)

    def watch(self, slave):
        """It tries now and then, and piles nothing up."""
        wrong = []
        tries, cpu_s = slave.server.said().count("Full resync from master"), slave.cpu_s()
        ended = slave.server.ended_within(WATCH_S)
        if ended:
            return ["it ended: " + slave.server.said()[-1000:]]
        tries = slave.server.said().count("Full resync from master") - tries
        cpu_s = slave.cpu_s() - cpu_s
        if not 1 <= tries <= TRIES_MAX or cpu_s > CPU_S_MAX:
            wrong.append("%d tries and %.1f s of processor in %d s" % (tries, cpu_s, WATCH_S))
        if not until(5, lambda: len(slave.backups()) == 1):
            wrong.append("there are backups %s" % slave.backups())
        return wrong

    @staticmethod
    def refuses(slave):
        """What needs data says why there's none."""
        wrong = []
        connection = slave.server.connect()
        for words in (("SLAVEOF", "NO", "ONE"), ("BGSAVE",), ("BACKUP", "CREATE"), ("DEBUG", "RELOAD")):
            reply = connection.call(*words)
            if not isinstance(reply, bytes) or not reply.startswith(b"-") or b"can't be loaded" not in reply:
                wrong.append("%s is answered %r" % (" ".join(words), reply))
        if not connection.call("SET", "k", "v").startswith(b"-READONLY"):
            wrong.append("it takes writes")
        connection.close()
        return wrong

    def start_on_copy(self, slave):
        """What a start does with what the slave would leave now."""
        wrong = []
        copy = slave.directory + "-copy"
        shutil.copytree(slave.directory, copy, ignore=shutil.ignore_patterns("ckv.sock", "ckv.lock"))
        server = Server(self.args.ckv, copy, env=dict(slave.env, IOFAULT_DIR=copy))
        try:
            server.start()
            wrong.append("it starts without what it should load")
        except NotStarted as error:
            if error.status != 1 or CHECKPOINT not in str(error) or "there's no other checkpoint" not in str(error):
                wrong.append("a start without its data: %s" % error)
        server.kill()
        server = Server(self.args.ckv, copy)
        try:
            server.start()
            if digest(server) != self.expected:
                wrong.append("a start that can read again has other data than the master")
        except NotStarted as error:
            wrong.append("it doesn't start when it can read again: %s" % error)
        server.kill()
        shutil.rmtree(copy)
        return wrong

    @staticmethod
    def drops_backups(slave):
        connection = slave.server.connect()
        connection.call("CONFIG", "SET", "read-only-slave", "yes")
        said = checkpoint(connection)
        connection.close()
        if said or not until(10, lambda: not slave.backups()):
            return ["after a checkpoint (%s) there are backups %s" % (said, slave.backups())]
        return []

    def guarded(self):
        """Nobody consented: what may be whole on its disk isn't given up for what a master that was emptied has."""
        slave = Slave(self, "guarded", mode="from", calls="open", slave=True)
        wrong = slave.await_failure()
        self.change("FLUSHALL")
        if slave.server.running():
            refused = "the master has no keys"
            if not until(FAIL_S_MAX, lambda: fields_of(slave.server).get("ckv_sync_refused") == refused):
                wrong.append("it would take an emptied master's data: " + slave.server.said()[-1000:])
            os.unlink(slave.control)
            connection = slave.server.connect()
            connection.call("CONFIG", "SET", "accept-data-loss", "yes")
            connection.close()
            wrong += slave.await_data()
        self.end(slave, wrong)

    def close(self):
        for server in self.servers:
            server.kill()
        shutil.rmtree(self.parent, ignore_errors=True)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--library", default="build/iofault.so", metavar="PATH", help="iofault.so")
    options.add_argument("--keys", type=int, default=500000, help="the master's: so many are loaded in slices")
    tests = Tests(options.parse_args())
    try:
        tests.once(tests.count())
        tests.mended()
        tests.for_good()
        tests.guarded()
    finally:
        tests.close()
    print("%d passed, %d failed" % (tests.runs - tests.failed, tests.failed))
    return tests.failed != 0


if __name__ == "__main__":
    sys.exit(main())
