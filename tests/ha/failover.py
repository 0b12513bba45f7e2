#!/usr/bin/env python3
"""failover.py - a master fails under load, in several ways, and Debian's Sentinels make the slave the master: nothing
that was acknowledged is missing there, and no two masters acknowledge at once.

A round is a test: clients that know Sentinel write all the time; then one of

  kill    the master is killed, and started again later
  pause   it's stopped for a while by SIGSTOP, with clients that go on to write to it when it wakes up
  ask     an operator tells a Sentinel to switch (SENTINEL FAILOVER)
  plan    an operator tells the master to (FAILOVER): the Sentinels follow at once, and start no failover of their own
  local   with `ack local`, killed while its slave is behind: what is lost is counted, and must be in the file that the
          old master leaves when it's back

At the end of each the old master is a slave, without a full sync, and the next round goes on from there.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import glob
import itertools
import os
import shutil
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import LOCAL, Client, Cluster, both_acknowledged, first_ack_after, have_sentinel, log_end  # noqa: E402
from nodes import NotStarted, wait_for  # noqa: E402

CLIENTS = 4
CLIENT_PAUSE_S = 0.001
LOAD_S = 0.3
AFTER_S = 0.3
LAG_S = 0.3
SMALL = "x"
LARGE = "x" * 40000  # such writes soon fill what the kernel keeps for a slave that doesn't read
SWITCH_S_MAX = 30
ROUNDS_A_CLUSTER = 10
ROUND_TRIES = 3
QUICK = ("kill", "pause", "local", "ask", "plan")


class SwitchedBack(Exception):
    """The Sentinels took the new master for down as well, and made the old one the master again before it had what the
    new one took alone; see deploy/sentinel.conf. So the round says nothing about ckv."""


class Round:
    """One failover of a calm cluster."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.old = cluster.master()
        self.new = cluster.other(self.old)
        self.clients = [Client(cluster, i, CLIENT_PAUSE_S) for i in range(CLIENTS)]
        self.files = set(self.diverged())

    def diverged(self):
        return glob.glob(os.path.join(self.old.directory, "diverged-*"))

    def run(self, how):
        """What there is to say about it; AssertionError if something is wrong."""
        self.reset(how)
        self.write(LARGE if how == "local" else SMALL)
        for client in self.clients:
            client.start()
        time.sleep(LOAD_S)
        full = self.full_syncs()
        moment = time.monotonic()
        getattr(self, how)()
        first = wait_for("an acknowledged write on the new master",
                         lambda: first_ack_after(self.clients, moment, self.new.port), SWITCH_S_MAX)
        # Else the old master never catches up on a busy machine: this ends only when it has.
        self.write(SMALL)
        if how == "pause":
            self.wake(first)
        time.sleep(AFTER_S)
        if how in ("kill", "local"):
            self.old.start()
        self.cluster.await_calm()
        for client in self.clients:
            client.end()
        self.cluster.await_calm()
        if self.cluster.master() is not self.new:
            raise SwitchedBack
        said = "%d ms, %d acknowledged" % ((first - moment) * 1000, sum(len(client.acked) for client in self.clients))
        assert self.full_syncs() == full, "there was a full sync"
        return said + self.check(how, moment)

    def write(self, value):
        for client in self.clients:
            client.value = value

    def reset(self, how):
        """No keys; how much an acknowledgement is worth."""
        for member in self.cluster.members:
            assert member.ask("CONFIG", "SET", "ack", "local" if how == "local" else "slave") == b"+OK"
        assert self.old.ask("FLUSHALL") == b"+OK"

    def full_syncs(self):
        return [member.info("stats")["sync_full"] for member in (self.new,)]

    def check(self, how, moment):
        missing = [(client, number) for client in self.clients for number in client.missing(self.new)]
        if how == "local":
            return self.check_lost(missing)
        assert not missing, "%d acknowledged writes are missing, such as %d" % (len(missing), missing[0][1])
        both = both_acknowledged(self.clients, self.old.port, self.new.port, moment)
        assert not both, "the old master acknowledged %d writes after the new one had" % len(both)
        return ""

    def check_lost(self, missing):
        """What is lost must be in the file of the old master."""
        fresh = [path for path in self.diverged() if path not in self.files]
        text = b"".join(open(path, "rb").read() for path in fresh)
        absent = [number for client, number in missing
                  if b"$%d\r\n%b\r\n$%d\r\n%d\r\n" % (len(client.key), client.key.encode(), len(str(number)), number)
                  not in text]
        assert not absent, "%d of %d lost writes are in no diverged file" % (len(absent), len(missing))
        assert missing, "none is lost, so this tests nothing"
        return ", %d lost and in %s" % (len(missing), [os.path.basename(path) for path in fresh])

    # ---- the ways to fail

    def kill(self):
        self.old.kill()

    def local(self):
        self.new.pause()
        time.sleep(LAG_S)
        self.old.kill()
        self.new.resume()

    def ask(self):
        assert self.cluster.sentinels[0].ask("SENTINEL", "FAILOVER", "ckv") == b"+OK"

    def plan(self):
        logs = [os.path.getsize(sentinel.log_path) for sentinel in self.cluster.sentinels]
        assert self.old.ask("FAILOVER", "TIMEOUT", SWITCH_S_MAX * 1000) == b"+OK"
        wait_for("the Sentinels' following", lambda: self.cluster.master() is self.new, SWITCH_S_MAX)
        for sentinel, start in zip(self.cluster.sentinels, logs):
            with open(sentinel.log_path, errors="replace") as log:
                log.seek(start)
                said = log.read()
            assert "+config-update-from" in said.split("+try-failover")[0], "a Sentinel wasn't told: " + said

    def pause(self):
        self.old.pause()

    def wake(self, first):
        """Clients that don't know better try the old master, too, as soon as it is awake."""
        late = [Client(self.cluster, CLIENTS + i) for i in range(CLIENTS)]
        self.old.resume()
        for client in late:
            client.pinned = LOCAL, self.old.port
            client.start()
        time.sleep(AFTER_S)
        for client in late:
            client.end()
        acked = [ack for client in late for ack in client.acked if ack[2] > first]
        assert not acked, "the old master acknowledged %d writes of clients that came late" % len(acked)


def run_round(cluster, how):
    """What there is to say about it."""
    for _ in range(ROUND_TRIES):
        try:
            return Round(cluster).run(how)
        except SwitchedBack:
            print("again: %s: there was a second failover, back" % how, flush=True)
    raise AssertionError("there was a second failover %d times" % ROUND_TRIES)


def run_cluster(args, ways):
    """Rounds on one cluster: how many passed. The first that fails is the last."""
    folder = tempfile.mkdtemp(prefix="ckv-failover-")
    cluster = Cluster(args.ckv, folder)
    passed = 0
    try:
        cluster.start()
        for how in ways:
            print("ok: %s: %s" % (how, run_round(cluster, how)), flush=True)
            passed += 1
    except (AssertionError, NotStarted, OSError) as error:
        print("FAILED: %s: %s; see %s" % (ways[passed], error, folder))
        for server in [*cluster.members, cluster.sentinels[0]]:
            print("== %s\n%s" % (server.directory, log_end(server)), flush=True)
    reports = cluster.end()
    print(reports, end="")
    if passed == len(ways) and not reports:
        shutil.rmtree(folder)
    return 0 if reports else passed


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--rounds", type=int, default=len(QUICK))
    options.add_argument("--ways", default=",".join(QUICK), help="taken in turn")
    args = options.parse_args()
    if not have_sentinel():
        print("There is no redis-sentinel: Debian's package of this name has it.\n0 passed, 0 failed, 1 skipped")
        return 0
    ways = list(itertools.islice(itertools.cycle(args.ways.split(",")), args.rounds))
    passed = failed = 0
    while ways:
        part, ways = ways[:ROUNDS_A_CLUSTER], ways[ROUNDS_A_CLUSTER:]
        good = run_cluster(args, part)
        passed, failed = passed + good, failed + (good < len(part))
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
