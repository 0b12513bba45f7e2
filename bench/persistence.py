#!/usr/bin/env python3
"""persistence.py - what persistence costs, side by side with Debian's redis-server: writes a table in Markdown.

The server has one core to itself and the load the other; the two servers are measured in turn, three times, and the
medians count. Redis has appendonly on, as each row says.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from subject import LOAD_CORE, Subject  # noqa: E402

LOAD = ("-c", "50", "-P", "16", "-d", "64", "-t", "set")
BIG = {  # a collection's kind: its first elements, one by number; a write of redis-benchmark's
    "hash": (lambda n: b"*4\r\n$4\r\nHSET\r\n$3\r\nbig\r\n$12\r\n%012d\r\n$8\r\n%08d\r\n" % (n, n % 10 ** 8),
             ("hset", "big", "__rand_int__", "changed")),
    "zset": (lambda n: b"*4\r\n$4\r\nZADD\r\n$3\r\nbig\r\n$8\r\n%08d\r\n$12\r\n%012d\r\n" % (n * 7919 % 10 ** 8, n),
             ("zadd", "big", "7", "__rand_int__")),
    "list": (lambda n: b"*3\r\n$5\r\nRPUSH\r\n$3\r\nbig\r\n$12\r\n%012d\r\n" % n, ("rpush", "big", "__rand_int__")),
}


class Bench:
    """The two servers, and the rows so far."""

    def __init__(self, args, parent):
        self.args = args
        self.subjects = [Subject(args.ckv, "ckv", parent), Subject(args.redis, "redis", parent)]
        self.rows = []
        self.reps = 1 if args.quick else 3
        self.seconds = 2 if args.quick else 5
        self.one = 200000 if args.quick else 1000000
        self.five = 400000 if args.quick else 5000000
        self.big = 200000 if args.quick else 1000000

    def start(self, **options):
        for subject in self.subjects:
            subject.start(**options)

    def medians(self, measure, reps=None):
        """What measure(subject) gives for ckv and for Redis, in turn."""
        found = [[], []]
        for _ in range(reps or self.reps):
            for subject, values in zip(self.subjects, found):
                values.append(measure(subject))
        return [statistics.median(values) for values in found]

    def row(self, what, ckv, redis, target, good, form="%.0f"):
        """`good` says whether ckv's figure, and its ratio to Redis', meets the target; None: there is none."""
        ratio = ckv / redis if redis else float("nan")
        met = "" if good is None else "yes" if good(ckv, ratio) else "NO"
        shown = [form % value if value == value else "-" for value in (ckv, redis)]
        line = "| %s | %s | %s | %s | %s | %s |" % (
            what, *shown, "%.2f" % ratio if ratio == ratio else "-", target, met)
        self.rows.append(line)
        print(line, flush=True)


# ---- throughput

def row_set_everysec(bench):
    bench.start()
    for pipeline, target, count in ((1, 1.5, 60000), (16, 3, 500000), (64, 4, 1000000)):
        words = ("-t", "set", "-c", 50, "-d", 64, "-r", bench.one, "-P", pipeline,
                 "-n", count // (4 if bench.args.quick else 1))
        ckv, redis = bench.medians(lambda subject, words=words: subject.benchmark(*words))
        bench.row("SET a second, everysec, -P %d" % pipeline, ckv, redis, "%s times" % target,
                  lambda _, ratio, target=target: ratio >= target)


def row_set_always(bench):
    bench.start(fsync="always")
    count = 5000 if bench.args.quick else 30000
    for clients in (50,):
        words = ("-t", "set", "-c", clients, "-d", 64, "-r", bench.one, "-n", count)
        ckv, redis = bench.medians(lambda subject: subject.benchmark(*words))
        bench.row("SET a second, always, %d clients" % clients, ckv, redis, "2 times", lambda _, ratio: ratio >= 2)
    gets = ("-t", "get", "-c", 10, "-r", bench.one, "-n", 100000 // (4 if bench.args.quick else 1))
    alone = bench.medians(lambda subject: subject.benchmark(*gets))
    beside = bench.medians(lambda subject: with_load(subject, lambda: subject.benchmark(*gets),
                                                     "-t", "set", "-c", 50, "-d", 64, "-r", bench.one))
    bench.row("GET a second, always, alone", *alone, "-", None)
    bench.row("GET a second, always, beside 50 clients' SETs", *beside, "full rate (see alone)", None)


def with_load(subject, measure, *words):
    load = subject.background(*words)
    try:
        time.sleep(0.3)
        return measure()
    finally:
        load.kill()
        load.wait()


# ---- stalls

def longest_stall_ms(bench, subject, during=None):
    """The longest PING while during() runs, and for some seconds in any case."""
    seconds = bench.seconds
    pinger = subprocess.Popen(["taskset", "-c", LOAD_CORE, bench.args.pinger, subject.path, str(seconds)],
                              stdout=subprocess.PIPE, text=True)
    time.sleep(0.2)
    if during:
        during()
    said = pinger.communicate(timeout=600)[0]
    return int(said.split()[1]) / 1000


def begin_checkpoint(subject):
    reply = subject.call("BGSAVE")
    if not reply.startswith(b"+"):
        raise RuntimeError("BGSAVE: %r" % reply)


def settle(subject):
    while subject.in_progress():
        time.sleep(0.05)


def stall(bench, subject, words, during):
    """Under a load of redis-benchmark's."""
    value = with_load(subject, lambda: longest_stall_ms(bench, subject, during), *words)
    settle(subject)
    return value


def row_stall(bench):
    bench.start()
    for subject in bench.subjects:
        subject.load(bench.five)
    words = (*LOAD, "-r", bench.five)
    without = bench.medians(lambda subject: stall(bench, subject, words, None))
    bench.row("longest PING under load, ms, %d keys, no checkpoint" % bench.five, *without, "-", None, "%.2f")
    during = bench.medians(lambda subject: stall(bench, subject, words, lambda: begin_checkpoint(subject)))
    bench.row("the same during a checkpoint", *during, "5 ms, or as without",
              lambda value, _: value <= max(5, without[0]), "%.2f")


def row_stall_big(bench):
    for kind, (make, write) in BIG.items():
        bench.start()
        for subject in bench.subjects:
            subject.load(bench.one // 5)
            subject.send_all(make, range(bench.big))
        words = ("-c", 50, "-r", bench.big, *write)
        both = bench.medians(lambda subject: stall(bench, subject, words, lambda: begin_checkpoint(subject)))
        bench.row("longest PING, ms, a %s of %d written to during a checkpoint" % (kind, bench.big), *both, "5 ms",
                  lambda value, _: value <= 5, "%.2f")
        gone = bench.medians(lambda subject: stall(bench, subject, (*LOAD, "-r", bench.one // 5),
                                                   lambda: delete_during_checkpoint(subject)), 1)
        bench.row("the same while it is deleted", *gone, "5 ms", lambda value, _: value <= 5, "%.2f")


def delete_during_checkpoint(subject):
    begin_checkpoint(subject)
    subject.call("DEL", "big")


# ---- checkpoints

def row_memory(bench):
    bench.start()
    for subject in bench.subjects:
        subject.load(bench.one)
        subject.checkpoint()
    dataset = bench.subjects[0].memory_kb() / 1024
    extra = bench.medians(lambda subject: extra_memory_mb(bench, subject))
    limit = 64 + dataset * 0.05
    bench.row("extra memory during a checkpoint under random SETs, MB, %d keys" % bench.one, *extra,
              "%.0f MB" % limit, lambda value, _: value <= limit, "%.1f")


def extra_memory_mb(bench, subject):
    words = (*LOAD, "-r", bench.one)
    return with_load(subject, lambda: watch_checkpoint_mb(subject), *words)


def watch_checkpoint_mb(subject):
    before = subject.memory_kb()
    subject.reset_peak()
    begin_checkpoint(subject)
    child = 0
    while subject.in_progress():
        child = max(child, subject.child_private_kb())
        time.sleep(0.005)
    return (subject.memory_kb("VmHWM") - before + child) / 1024


def row_full(bench):
    for keys in (bench.one, bench.five):
        bench.start()
        times = bench.medians(lambda subject, keys=keys: full_checkpoint_s(subject, keys))
        bench.row("full checkpoint, s, %d keys" % keys, *times, "as Redis' BGSAVE", lambda _, ratio: ratio <= 1, "%.3f")
        sizes = [subject.disk_bytes() / keys for subject in bench.subjects]
        bench.row("disk bytes a key, %d keys" % keys, *sizes, "stated", None, "%.1f")
        if keys == bench.one:
            row_incremental(bench, keys, times)
        row_start(bench, keys)


def full_checkpoint_s(subject, keys):
    """After every key has changed."""
    subject.load(keys, random.getrandbits(60))
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
    ckv = bench.subjects[0]
    ckv.start()
    ckv.send_all(BIG["hash"][0], range(bench.big))
    full = ckv.checkpoint()
    ckv.checkpoint()
    values = []
    for turn in range(bench.reps):
        chosen = random.sample(range(bench.big), 100)
        ckv.send_all(lambda n, turn=turn: b"*4\r\n$4\r\nHSET\r\n$3\r\nbig\r\n$12\r\n%012d\r\n$8\r\n%08d\r\n" % (
            n, turn), chosen)
        values.append(ckv.checkpoint())
        ckv.checkpoint()
    bench.row("checkpoint, s, 100 fields of a hash of %d changed" % bench.big, statistics.median(values), float("nan"),
              "1/100 of the full one: %.4f" % (full / 100), lambda value, _: value <= full / 100, "%.4f")


def row_start(bench, keys):
    """Redis starts from its RDB file alone."""
    bench.subjects[1].call("BGSAVE")
    settle(bench.subjects[1])
    times = bench.medians(lambda subject: start_s(subject, keys))
    bench.row("start, s, %d keys" % keys, *times, "1/4 of Redis' from RDB", lambda _, ratio: ratio <= 0.25, "%.3f")


def start_s(subject, keys):
    took = subject.start(appendonly=False, fresh=False)
    if subject.call("DBSIZE") != b":%d" % keys:
        raise RuntimeError("%s lost keys: %r" % (subject.name, subject.call("DBSIZE")))
    return took


ROWS = [row_set_everysec, row_set_always, row_stall, row_stall_big, row_memory, row_hash_fields, row_full]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--redis", default="redis-server", metavar="PATH")
    options.add_argument("--pinger", default="build/pinger", metavar="PATH")
    options.add_argument("--quick", action="store_true", help="fewer keys, and each measured once")
    options.add_argument("--only", default="", help="rows whose functions' names have this text")
    options.add_argument("--directory", help="where the data goes; default: the system's place for temporary files")
    args = options.parse_args()
    parent = tempfile.mkdtemp(prefix="ckv-bench-", dir=args.directory)
    bench = Bench(args, parent)
    print("| what | ckv | redis | ratio | target | met |\n|---|---|---|---|---|---|")
    failed = False
    try:
        for row in ROWS:
            if args.only not in row.__name__:
                continue
            try:
                row(bench)
            except (OSError, RuntimeError, subprocess.SubprocessError, KeyError) as error:
                failed = True
                print("| %s | failed: %s ||||" % (row.__name__, str(error).replace("|", "/")[-300:]), flush=True)
    finally:
        for subject in bench.subjects:
            subject.stop()
        shutil.rmtree(parent, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
