#!/usr/bin/env python3
"""persistence.py - what persistence costs, side by side with Debian's redis-server: writes a table in Markdown.

The server has one core to itself and the load the other; the two servers are measured in turn, three times, and the
medians count. Redis has appendonly on, as each row says. The load is load.c's, the stalls are pinger.c's.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import collections
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from subject import (BOTH_CORES, KEY, LOAD_CORE, SERVER_CORE, Subject, begin_checkpoint,  # noqa: E402
                     wait_checkpoint)

LOAD = ("--mix", "set", "--clients", 50, "--pipeline", 16)
BIG = {"hash": "hset", "zset": "zadd", "list": "rpush"}  # a collection's kind: what load.c fills it by
BIG_VALUE_BYTES = 8
FULL_LOAD = 0.9  # a load that used so much of its core may have been what was measured
POLL_S = 0.005
STALL_S_MAX = 300

# Of PINGs, in milliseconds: the longest; the 99.9th percentile; the longest that the server's core, or the whole
# machine, ran nothing; the longest without what of it the machine stood still.
Stall = collections.namedtuple("Stall", "longest most machine own")


class Bench:
    """The two servers, and how much is measured: numbers of keys, seconds, repetitions."""

    def __init__(self, build, parent, one, five, seconds, reps, other=None):
        build, load = os.path.abspath(build), os.path.abspath(os.path.join(build, "load"))
        self.pinger = os.path.join(build, "pinger")
        self.subjects = [Subject(os.path.join(build, "ckv"), "ckv", parent, load),
                         other or Subject("redis-server", "redis", parent, load)]
        self.notes = set()
        self.one, self.five, self.big = one, five, one
        self.seconds, self.reps = seconds, reps

    def start(self, **options):
        for subject in self.subjects:
            subject.start(**options)

    def medians(self, measure, reps=None, subjects=None):
        """What measure(subject) gives for ckv and for Redis, or for the two given, in turn."""
        found = [[], []]
        for _ in range(reps or self.reps):
            for subject, values in zip(subjects or self.subjects, found):
                values.append(measure(subject))
        return [median(values) for values in found]

    def row(self, what, ckv, redis, target, good, form="%.0f"):
        """`good` says whether ckv's figure, and its ratio to Redis', meets the target; None: there is none."""
        ratio = ckv / redis if redis else float("nan")
        met = "" if good is None else "yes" if good(ckv, ratio) else "NO"
        shown = [form % value if value == value else "-" for value in (ckv, redis)]
        print("| %s | %s | %s | %s | %s | %s |" % (
            what, *shown, "%.2f" % ratio if ratio == ratio else "-", target, met), flush=True)

    def throughput(self, what, target, good, *words):
        """A row of requests a second, and one of the CPU time that the server took for each."""
        ckv, redis = self.medians(lambda subject: subject.throughput("--seconds", self.seconds, *words))
        full = " (the load's core was full)" if max(ckv.load_part, redis.load_part) > FULL_LOAD else ""
        self.row(what + full, ckv.per_second, redis.per_second, target, good)
        self.row("the same: the server's CPU time, us a request", ckv.cpu_us, redis.cpu_us, "-", None, "%.2f")

    def stalls(self, what, target, good, measure, reps=None):
        """Rows of the longest PING in ms and of what belongs to it; ckv's longest."""
        return self.stall_rows(what, target, good, *self.medians(measure, reps))

    def stall_rows(self, what, target, good, ckv, redis):
        self.row(what, ckv.longest, redis.longest, target, good, "%.2f")
        self.row("the same: 99.9 % are within", ckv.most, redis.most, "-", None, "%.2f")
        self.row("the same: the machine itself stood still, at most", ckv.machine, redis.machine, "-", None, "%.2f")
        self.row("the longest without that", ckv.own, redis.own, "-", None, "%.2f")
        return ckv.longest


def median(values):
    """Of numbers; or of tuples, place by place."""
    if isinstance(values[0], tuple):
        places = map(statistics.median, zip(*values))
        return values[0]._make(places) if hasattr(values[0], "_make") else tuple(places)
    return statistics.median(values)


# ---- throughput

def row_set_everysec(bench):
    bench.start()
    for subject in bench.subjects:
        subject.fill(bench.one)
    for pipeline, target in ((1, 1.5), (16, 3), (64, 4)):
        bench.throughput("SET a second, everysec, -P %d" % pipeline, "%s times" % target,
                         lambda _, ratio, target=target: ratio >= target,
                         "--mix", "set", "--pipeline", pipeline, "--keys", bench.one)


def row_set_always(bench):
    bench.start(fsync="always")
    for subject in bench.subjects:
        subject.fill(bench.one)
    sets = ("--mix", "set", "--clients", 50, "--pipeline", 1, "--keys", bench.one)
    gets = ("--mix", "get", "--clients", 10, "--pipeline", 1, "--keys", bench.one)
    bench.throughput("SET a second, always, 50 clients", "2 times", lambda _, ratio: ratio >= 2, *sets)
    bench.throughput("GET a second, always, 10 clients, alone", "-", None, *gets)
    beside = bench.medians(lambda subject: with_load(
        subject, lambda: subject.throughput("--seconds", bench.seconds, *gets).per_second, *sets))
    bench.row("GET a second, always, 10 clients, beside 50 clients' SETs", *beside, "full rate (see alone)", None)


def with_load(subject, measure, *words):
    load = subject.begin_load(*words)
    try:
        return measure()
    finally:
        subject.end_load(load)


# ---- stalls

def own_us(pings, pauses):
    """The longest of the PINGs when the pauses of the machine are taken off, each (start, length)."""
    longest = 0
    for start, wait in pings:
        if wait <= longest:
            break  # they come longest first
        paused = sum(max(0, min(start + wait, begin + length) - max(start, begin)) for begin, length in pauses)
        longest = max(longest, wait - paused)
    return longest


def stop_pinger(pinger):
    """What it has to tell, its lines as tuples. One after the other: it goes ahead of the server while it sorts."""
    pinger.terminate()
    return [tuple(map(int, line.split())) for line in pinger.communicate(timeout=STALL_S_MAX)[0].splitlines()]


def stall_ms(bench, subject, during=None, seconds=0):
    """What PINGs waited, from during() until the checkpoint that it began has ended; for that many seconds at least."""
    pingers = [subprocess.Popen(["taskset", "-c", core, bench.pinger, where, str(STALL_S_MAX)], stdout=subprocess.PIPE,
                                text=True) for core, where in ((LOAD_CORE, subject.pinged()), (SERVER_CORE, "-"))]
    end = time.monotonic() + max(seconds, bench.seconds)
    time.sleep(0.2)
    if during:
        during()
        settle(subject)
    time.sleep(max(0, end - time.monotonic()))
    said = [stop_pinger(pinger) for pinger in pingers]
    if any(pinger.returncode != 0 for pinger in pingers):
        raise RuntimeError("the pinger failed")
    (pings, *waits), (naps, *pauses) = said
    if not pings[4]:
        bench.notes.add("The pinger had no real-time priority: what it waited for may have been its core.")
    return Stall(pings[1] / 1000, pings[3] / 1000, naps[1] / 1000, own_us(waits, pauses) / 1000)


def start_checkpoint(subject):
    connection = subject.connect()
    begin_checkpoint(connection)
    connection.close()


def settle(subject):
    while subject.in_progress():
        time.sleep(0.05)


def stall(bench, subject, words, during, seconds=0):
    """Under a load."""
    return with_load(subject, lambda: stall_ms(bench, subject, during, seconds), *words)


def row_stall(bench):
    bench.start()
    for subject in bench.subjects:
        subject.fill(bench.five)
    words = (*LOAD, "--keys", bench.five)
    stall_with_and_without(bench, words, "full load")
    rate = round(bench.subjects[1].throughput("--seconds", bench.seconds, *words).per_second / 2)
    stall_with_and_without(bench, (*words, "--rate", rate), "%d SETs a second, half of the other's peak" % rate)


def stall_with_and_without(bench, words, load):
    """Without for as long as each one's checkpoint took: of more waits the longest is longer."""
    windows = {}

    def with_one(subject):
        begin = time.monotonic()
        found = stall(bench, subject, words, lambda: start_checkpoint(subject))
        windows.setdefault(subject.name, []).append(time.monotonic() - begin)
        return found
    during = bench.medians(with_one)
    without = bench.medians(lambda subject: stall(bench, subject, words, None, median(windows[subject.name])))
    what = "longest PING, ms, %d keys, %s" % (bench.five, load)
    limit = max(5, bench.stall_rows(what + ", as long without a checkpoint", "-", None, *without))
    bench.stall_rows(what + ", during a checkpoint", "5 ms, or as without", lambda value, _: value <= limit, *during)


def row_stall_big(bench):
    for kind, mix in BIG.items():
        bench.start()
        for subject in bench.subjects:
            subject.fill(bench.one // 5)
            subject.fill(bench.big, mix, BIG_VALUE_BYTES)
        words = ("--mix", mix, "--clients", 50, "--pipeline", 1, "--keys", bench.big, "--size", BIG_VALUE_BYTES)
        bench.stalls("longest PING, ms, a %s of %d written to during a checkpoint" % (kind, bench.big), "5 ms",
                     lambda value, _: value <= 5,
                     lambda subject, words=words: stall(bench, subject, words, lambda: start_checkpoint(subject)))
        words = (*LOAD, "--keys", bench.one // 5)
        bench.stalls("longest PING, ms, a %s of %d deleted during a checkpoint" % (kind, bench.big), "5 ms",
                     lambda value, _: value <= 5,
                     lambda subject, words=words, kind=kind: stall(
                         bench, subject, words, lambda: delete_during_checkpoint(subject, kind)), 1)


def delete_during_checkpoint(subject, kind):
    start_checkpoint(subject)
    subject.call("DEL", "load:" + kind)


# ---- checkpoints

def row_write_rate(bench):
    """Do writes go on?"""
    for keys in (bench.one, bench.five):
        bench.start()
        for subject in bench.subjects:
            subject.fill(keys)
        kept = bench.medians(lambda subject, keys=keys: with_load(
            subject, lambda: rate_kept(bench, subject), *LOAD, "--keys", keys))
        bench.row("SETs a second during checkpoints, as a part of those without, %d keys" % keys, *kept, "0.85",
                  lambda value, _: value >= 0.85, "%.2f")


def rate_kept(bench, subject):
    """The rate during checkpoints, as a part of the mean of before and after. (One is over too soon to tell.)"""
    seconds = bench.seconds / 2

    def quiet(_):
        time.sleep(seconds)

    def writing(connection):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begin_checkpoint(connection)
            wait_checkpoint(connection, POLL_S)
    before, during, after = [subject.commands_per_second(until) for until in (quiet, writing, quiet)]
    return during * 2 / (before + after)


def row_memory(bench):
    bench.start()
    for subject in bench.subjects:
        subject.fill(bench.one)
        subject.checkpoint()
    dataset = bench.subjects[0].memory_kb() / 1024
    extra = bench.medians(lambda subject: extra_memory_mb(bench, subject))
    limit = 64 + dataset * 0.05
    bench.row("extra memory during a checkpoint under random SETs, MB, %d keys" % bench.one, *extra,
              "%.0f MB" % limit, lambda value, _: value <= limit, "%.1f")


def extra_memory_mb(bench, subject):
    return with_load(subject, lambda: watch_checkpoint_mb(subject), *LOAD, "--keys", bench.one)


def watch_checkpoint_mb(subject):
    before = subject.memory_kb()
    subject.reset_peak()
    start_checkpoint(subject)
    child = 0
    while subject.in_progress():
        child = max(child, subject.child_private_kb())
        time.sleep(POLL_S)
    return (subject.memory_kb("VmHWM") - before + child) / 1024


def row_full(bench):
    for keys in (bench.one, bench.five):
        times = row_whole(bench, keys)
        if keys == bench.one:
            row_incremental(bench, keys, times)
        row_start(bench, keys)


def row_whole(bench, keys):
    """Its time and size; the times. Both servers then have the keys, and files of them."""
    bench.start()
    times = bench.medians(lambda subject: full_checkpoint_s(subject, keys))
    bench.row("full checkpoint, s, %d keys" % keys, *times, "as Redis' BGSAVE", lambda _, ratio: ratio <= 1, "%.3f")
    sizes = [subject.disk_bytes() / keys for subject in bench.subjects]
    bench.row("disk bytes a key, %d keys" % keys, *sizes, "stated", None, "%.1f")
    return times


def full_checkpoint_s(subject, keys):
    """After every key has changed."""
    subject.fill(keys)
    return subject.checkpoint()


def row_incremental(bench, keys, full):
    """1 % of the keys changed: neighbours in SCAN's order, which are in the same pages; or any."""
    ckv = bench.subjects[0]
    for name, choose, part in (("clustered", lambda: scan_some(ckv, keys // 100), 20),
                               ("uniform", lambda: random.sample(range(keys), keys // 100), 3)):
        values = []
        for _ in range(bench.reps):
            ckv.checkpoint()
            ckv.checkpoint()
            tag = random.getrandbits(60)
            ckv.set_some(choose(), tag)
            values.append(ckv.checkpoint())
        value = statistics.median(values)
        bench.row("checkpoint, s, 1 %% of %d keys changed, %s" % (keys, name), value, float("nan"),
                  "1/%d of the full one: %.3f" % (part, full[0] / part),
                  lambda value, _, part=part: value <= full[0] / part, "%.4f")


def scan_some(subject, count):
    """Numbers of keys that lie together in the table."""
    connection = subject.connect()
    _, keys = connection.call("SCAN", 0, "COUNT", count)
    connection.close()
    return [int(key[-12:]) for key in keys]


def row_hash_fields(bench):
    """What a change of 100 fields of a big hash makes a checkpoint write, and how long that takes."""
    ckv = bench.subjects[0]
    ckv.start()
    ckv.fill(bench.big, BIG["hash"], BIG_VALUE_BYTES)
    full = checkpoint_written(ckv)
    ckv.checkpoint()
    turns = []
    for turn in range(bench.reps):
        chosen = random.sample(range(bench.big), 100)
        ckv.send_all(lambda n, turn=turn: b"*4\r\n$4\r\nHSET\r\n$9\r\nload:hash\r\n$16\r\n%b\r\n$8\r\n%08d\r\n" % (
            KEY % n, turn), chosen)
        turns.append(checkpoint_written(ckv))
        ckv.checkpoint()
    what = "%%s, 100 fields of a hash of %d changed" % bench.big
    for name, part, value, whole, form in zip(
            ("checkpoint, s", "pages written", "bytes written"), (100, None, None), median(turns), full,
            ("%.4f", "%.0f", "%.0f")):
        target = "1/%d of the full one: %s" % (part, form % (whole / part)) if part else "of " + form % whole
        bench.row(what % name, value, float("nan"), target,
                  (lambda value, _, most=whole / part: value <= most) if part else None, form)


def checkpoint_written(ckv):
    """Makes a checkpoint: (seconds, pages, bytes)."""
    took = ckv.checkpoint()
    fields = ckv.info()
    return took, int(fields["ckv_last_checkpoint_pages"]), int(fields["ckv_last_checkpoint_bytes"])


def row_start(bench, keys):
    """Redis starts from its RDB file alone. Nothing loads the other core: each has both."""
    bench.subjects[1].call("BGSAVE")
    settle(bench.subjects[1])
    times = bench.medians(lambda subject: start_s(subject, keys))
    bench.row("start, s, %d keys, on both cores" % keys, *times, "1/4 of Redis' from RDB",
              lambda _, ratio: ratio <= 0.25, "%.3f")


def start_s(subject, keys):
    took = subject.start(appendonly=False, fresh=False, cores=BOTH_CORES)
    if subject.call("DBSIZE") != b":%d" % keys:
        raise RuntimeError("%s lost keys: %r" % (subject.name, subject.call("DBSIZE")))
    return took


ROWS = [row_set_everysec, row_set_always, row_stall, row_stall_big, row_write_rate, row_memory, row_hash_fields,
        row_full]


def run_rows(bench, rows, only, parent):
    """The table of the rows whose names have that text; the servers are stopped after each, and `parent` goes. Did one
    fail?"""
    print("| what | ckv | redis | ratio | target | met |\n|---|---|---|---|---|---|")
    failed = False
    try:
        for row in rows:
            if only not in row.__name__:
                continue
            try:
                row(bench)
            except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError, KeyError) as error:
                failed = True
                print("| %s | failed: %s ||||" % (row.__name__, str(error).replace("|", "/")[-300:]), flush=True)
            finally:
                for subject in bench.subjects:
                    subject.stop()
    finally:
        shutil.rmtree(parent, ignore_errors=True)
    print("".join("\n%s\n" % note for note in sorted(bench.notes)), end="")
    return failed


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--build", default="build", metavar="PATH", help="where ckv, load and pinger are")
    options.add_argument("--quick", action="store_true", help="fewer keys, and each measured once")
    options.add_argument("--only", default="", help="rows whose functions' names have this text")
    options.add_argument("--directory", help="where the data goes; default: the system's place for temporary files")
    args = options.parse_args()
    parent = tempfile.mkdtemp(prefix="ckv-bench-", dir=args.directory)
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    sizes = (200000, 400000, 2, 1) if args.quick else (1000000, 5000000, 5, 3)
    bench = Bench(args.build, parent, *sizes)
    return run_rows(bench, ROWS, args.only, parent)


if __name__ == "__main__":
    sys.exit(main())
