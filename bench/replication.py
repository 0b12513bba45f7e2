#!/usr/bin/env python3
"""replication.py - what a slave costs and does, side by side with Debian's redis-server: writes a table in Markdown.

A ckv with a ckv as its slave, and a Redis with a Redis, in turn, three times, and the medians count. All of them keep
their data on disk (fsync everysec; Redis has appendonly on). Each pair has two cores: the master has one to itself, and
its slave and the load share the other, the load first. So the master is what is measured as long as the load gets
enough of that; and since a slave may fall behind by that, what it needs to catch up afterwards counts as time, too. The
load is load.c's, the stalls are pinger.c's; the failover is that of deploy/, as tests/ha makes it.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import signal
import statistics
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "tests", "ha"))
from cluster import NAME, Client, Cluster, first_ack_after, have_sentinel  # noqa: E402
from persistence import Bench, Stall, run_rows, stall_ms, with_load  # noqa: E402
from subject import LOAD_CORE, Subject  # noqa: E402

CLIENTS = ("--mix", "set", "--clients", 50)
SYNC_RATE = 50000  # more would be too much for what Redis keeps for a slave that is loading, by default
POLL_S = 0.002
ACK_MS_MAX = 30000  # what it costs is measured, not when a slave that shares its core is given up
SYNCED_S_MAX = 300
SWITCH_S_MAX = 30
WRITERS = 4
WRITER_PAUSE_S = 0.001
FAILOVERS = 5
DOWN_AFTER_MS = 1000


class Side(Subject):
    """A master or a slave."""

    def __init__(self, program, name, parent, load):
        super().__init__(program, name, parent, load)
        self.words = ()

    def command(self, fsync, appendonly):
        own = ("--admin-plane", "all") if self.is_ckv else ("--repl-diskless-sync-delay", "0")
        return [*super().command(fsync, appendonly), *own, *self.words]

    def expect_ok(self, *words):
        reply = self.call(*words)
        if not reply.startswith(b"+OK"):
            raise RuntimeError("%s: %s: %r" % (self.name, " ".join(map(str, words)), reply))


class Slave(Side):
    def start(self, **options):
        took = super().start(**options)
        for thread in os.listdir("/proc/%d/task" % self.process.pid):
            os.sched_setaffinity(int(thread), {int(LOAD_CORE)})
        return took


class Pair(Side):
    """A master, which is what is loaded and measured, and its slave."""

    def __init__(self, program, name, parent, load):
        super().__init__(program, name, parent, load)
        self.slave = Slave(program, name, os.path.join(parent, "slave"), load)

    def stop(self, how=signal.SIGKILL):
        super().stop(how)
        self.slave.stop(how)

    def follow(self):
        """A slave without data begins to follow."""
        self.slave.start()
        self.slave.expect_ok("SLAVEOF", "127.0.0.1", self.port)

    def is_linked(self):
        return self.slave.info("replication")["master_link_status"] == "up"

    def offsets(self):
        """The slave's first: it can't be ahead then."""
        return [int(side.info("replication")[field])
                for side, field in ((self.slave, "slave_repl_offset"), (self, "master_repl_offset"))]

    def in_step(self):
        """How many seconds it takes until the slave has everything."""
        start = time.monotonic()
        while not self.is_linked() or len(set(self.offsets())) > 1:
            if time.monotonic() > start + SYNCED_S_MAX:
                raise RuntimeError("%s: the slave isn't in step" % self.name)
            time.sleep(POLL_S)
        return time.monotonic() - start

    def start_linked(self, keys):
        self.start()
        self.follow()
        self.in_step()
        self.fill(keys)
        self.in_step()

    def syncs(self):
        stats = self.info("stats")
        return int(stats["sync_full"]), int(stats["sync_partial_ok"])


class ReplicationBench(Bench):
    """The two pairs."""

    def __init__(self, args, parent):
        self.args, self.parent = args, parent
        os.makedirs(os.path.join(parent, "slave"))
        load = os.path.join(args.build, "load")
        self.pinger = os.path.join(args.build, "pinger")
        self.subjects = [Pair(os.path.join(args.build, "ckv"), "ckv", parent, load),
                         Pair(args.redis, "redis", parent, load)]
        self.notes = set()
        self.reps = 1 if args.quick else 3
        self.seconds = 2 if args.quick else 5
        self.one = 200000 if args.quick else 1000000
        self.five = 400000 if args.quick else 5000000


# ---- throughput

def row_set(bench):
    for pair in bench.subjects:
        pair.start_linked(bench.one)
    for pipeline in (1, 16, 64):
        words = (*CLIENTS, "--pipeline", pipeline, "--keys", bench.one)
        found = bench.medians(lambda pair, words=words: set_rate(bench, pair, words))
        whole, clients, master_us, slave_us, behind, load = zip(*found)
        what = "SET a second with a slave, -P %d" % pipeline
        bench.row(what + ", until the slave has them all", *whole, "1.0 times", lambda _, ratio: ratio >= 1)
        bench.row("the same: as the clients see it", *clients, "-", None)
        bench.row("the same: the master's CPU time, us a request", *master_us, "-", None, "%.2f")
        bench.row("the same: the slave's CPU time, us a request", *slave_us, "-", None, "%.2f")
        bench.row("the same: seconds that the slave was behind at the end", *behind, "-", None, "%.2f")
        bench.row("the same: the load's part of its core", *load, "-", None, "%.2f")


def set_rate(bench, pair, words):
    """Requests a second until the slave has them; until the clients have their replies; the master's and the slave's
    CPU time for each; how long the slave took longer; the load's part of the core."""
    before = pair.slave.cpu_ns()
    rate, master_us, load = pair.throughput("--seconds", bench.seconds, *words)[:3]
    behind = pair.in_step()
    requests = rate * bench.seconds
    return (requests / (bench.seconds + behind), rate, master_us, (pair.slave.cpu_ns() - before) / 1000 / requests,
            behind, load)


def row_ack(bench):
    """What the promise costs that a slave has it, too. Redis has nothing like it: WAIT is a command of its own."""
    pair, none = bench.subjects[0], float("nan")
    pair.start_linked(bench.one)
    pair.expect_ok("CONFIG", "SET", "ack-timeout", ACK_MS_MAX)
    for pipeline in (1, 16):
        words = (*CLIENTS, "--pipeline", pipeline, "--keys", bench.one)
        rates = {"local": [], "slave": []}
        for _ in range(bench.reps):
            for ack, values in rates.items():
                pair.expect_ok("CONFIG", "SET", "ack", ack)
                values.append(pair.throughput("--seconds", bench.seconds, *words)[0])
                pair.in_step()
        local, slave = (statistics.median(values) for values in rates.values())
        bench.row("SET a second, ack local, 50 clients, -P %d" % pipeline, local, none, "-", None)
        bench.row("SET a second, ack slave, 50 clients, -P %d" % pipeline, slave, none, "-", None)
        bench.row("the same: as a part of ack local's", slave / local, none, "stated", None, "%.2f")


# ---- full and partial syncs

def row_sync(bench):
    """A full sync is measured once: on two cores that the load fills, each takes a minute or two."""
    for pair in bench.subjects:
        pair.start()
        pair.fill(bench.five)
    dataset = bench.subjects[0].memory_kb() / 1024
    words = (*CLIENTS, "--pipeline", 16, "--keys", bench.five, "--rate", SYNC_RATE)
    without = bench.stalls("longest PING under load, ms, %d keys, no sync" % bench.five, "-", None,
                           lambda pair: with_load(pair, lambda: stall_ms(bench, pair), *words))
    found = bench.medians(lambda pair: with_load(pair, lambda: full_sync(bench, pair), *words), 1)
    stalls = [Stall(*places[:-3]) for places in found]
    extra, beside, took = zip(*(places[-3:] for places in found))
    limit = 64 + dataset * 0.05
    bench.stall_rows("longest PING during a full sync, ms, %d keys" % bench.five, "5 ms, or as without",
                     lambda value, _: value <= max(5, without), *stalls)
    within = "%.0f MB" % limit, lambda value, _: value <= limit, "%.1f"
    bench.row("extra memory of the master, MB", *extra, *within)
    bench.row("extra memory of the slave, all its processes, beyond the data at the end, MB", *beside, *within)
    bench.row("seconds until the link is up", *took, "-", None, "%.1f")


def full_sync(bench, pair):
    """What PINGs waited, the master's and the slave's extra memory and the time of a full sync under load."""
    pair.slave.stop()
    seen = {}

    def sync():
        before, start, child, most = pair.memory_kb(), time.monotonic(), 0, 0
        pair.reset_peak()
        pair.follow()
        while not pair.is_linked():
            child = max(child, pair.child_private_kb())
            most = max(most, pair.slave.memory_kb() + pair.slave.child_private_kb())
            if time.monotonic() > start + SYNCED_S_MAX:
                raise RuntimeError("%s: no full sync" % pair.name)
            time.sleep(POLL_S)
        seen["extra"] = (pair.memory_kb("VmHWM") - before + child) / 1024
        seen["beside"] = max(0, most - pair.slave.memory_kb()) / 1024
        seen["took"] = time.monotonic() - start
    return *stall_ms(bench, pair, sync), seen["extra"], seen["beside"], seen["took"]


def row_away(bench):
    """A slave that is away for many writes: its process is stopped, and its link cut."""
    for pair in bench.subjects:
        pair.start_linked(bench.one)
    found = bench.medians(lambda pair: away(bench, pair, *AWAY_PAUSED))
    show_away(bench, "a slave without a link", found)
    ckv = bench.subjects[0]
    turns = [away(bench, ckv, *AWAY_ENDED) for _ in range(bench.reps)]
    none = (float("nan"),) * 3
    show_away(bench, "a slave that was ended", [tuple(map(statistics.median, zip(*turns))), none])


def show_away(bench, what, found):
    full, partial, took = zip(*found)
    what = "%s for %d SETs: " % (what, bench.one)
    bench.row(what + "full syncs", *full, "0", lambda value, _: value == 0)
    bench.row("the same: partial ones", *partial, "1", lambda value, _: value == 1)
    bench.row("the same: seconds from its return until it's in step", *took, "stated", None, "%.2f")


def pause(pair):
    pair.slave.process.send_signal(signal.SIGSTOP)
    pair.call("CLIENT", "KILL", "TYPE", "slave")


def resume(pair):
    pair.slave.process.send_signal(signal.SIGCONT)


def end(pair):
    pair.slave.stop(signal.SIGTERM)


def start_again(pair):
    pair.slave.words = ("--slaveof", "127.0.0.1", str(pair.port))
    try:
        pair.slave.start(fresh=False)
    finally:
        pair.slave.words = ()


AWAY_PAUSED = pause, resume
AWAY_ENDED = end, start_again


def away(bench, pair, leave, come_back):
    """Full syncs, partial ones, and how long it took from the slave's return."""
    before = pair.syncs()
    leave(pair)
    pair.throughput("--requests", bench.one, *CLIENTS, "--pipeline", 16, "--keys", bench.one)
    start = time.monotonic()
    come_back(pair)
    pair.in_step()
    full, partial = (now - then for now, then in zip(pair.syncs(), before))
    return full, partial, time.monotonic() - start


# ---- failover

def row_failover(bench):
    """From kill -9 of the master to the first write that the new one acknowledges, with deploy/'s Sentinels, which wait
    for a second of silence here, not two. The servers have the whole machine."""
    if not have_sentinel():
        bench.notes.add("There is no redis-sentinel: the failover was not measured.")
        return
    os.sched_setaffinity(0, range(os.cpu_count()))
    try:
        times = [failover_s(bench, number) for number in range(1 if bench.args.quick else FAILOVERS)]
    finally:
        os.sched_setaffinity(0, {int(LOAD_CORE)})
    none = float("nan")
    what = "kill -9 of the master until the new one acknowledges a write, s, down-after 1 s, median of %d" % len(times)
    bench.row(what, statistics.median(times), none, "stated (Redis 3.2.13: 2.1)", None, "%.2f")
    bench.row("the same: the longest", max(times), none, "-", None, "%.2f")


def failover_s(bench, number):
    """The cluster is hurried: that makes it calm sooner and doesn't change the switch."""
    cluster = Cluster(bench.subjects[0].program, os.path.join(bench.parent, "failover%d" % number))
    clients = [Client(cluster, i, WRITER_PAUSE_S) for i in range(WRITERS)]
    try:
        cluster.start()
        for sentinel in cluster.sentinels:
            assert sentinel.ask("SENTINEL", "SET", NAME, "down-after-milliseconds", DOWN_AFTER_MS) == b"+OK"
        old = cluster.master()
        new = cluster.other(old)
        for client in clients:
            client.start()
        time.sleep(1)
        moment = time.monotonic()
        old.kill()
        while (first := first_ack_after(clients, moment, new.port)) is None:
            if time.monotonic() > moment + SWITCH_S_MAX:
                raise RuntimeError("no failover")
            time.sleep(POLL_S)
        for client in clients:
            client.end()
        return first - moment
    finally:
        cluster.end()


ROWS = [row_set, row_ack, row_sync, row_away, row_failover]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--build", default="build", metavar="PATH", help="where ckv, load and pinger are")
    options.add_argument("--redis", default="redis-server", metavar="PATH")
    options.add_argument("--quick", action="store_true", help="fewer keys, and each measured once")
    options.add_argument("--only", default="", help="rows whose functions' names have this text")
    options.add_argument("--directory", help="where the data goes; default: the system's place for temporary files")
    args = options.parse_args()
    args.build = os.path.abspath(args.build)
    parent = tempfile.mkdtemp(prefix="ckv-bench-", dir=args.directory)
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    bench = ReplicationBench(args, parent)
    return run_rows(bench, ROWS, args.only, parent)


if __name__ == "__main__":
    sys.exit(main())
