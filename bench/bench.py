#!/usr/bin/env python3
"""bench.py - ckv side by side with Debian's redis-server, or with any other server: writes RESULTS.md and results.svg.

  bench/bench.py [--quick] [--only text] [--peer 'valkey-server --port %p']

Both run at once, on loopback, on one core, and the load on the other; they are measured in turn, and the medians count.
The load is load.c's throughout: redis-benchmark takes longer to make a request than either server to answer it once
requests are pipelined, and doesn't look at replies. Rows of persistence are persistence.py's.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import collections
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import persistence  # noqa: E402
from results import write_results  # noqa: E402
from subject import LOAD_CORE, SERVER_CORE, Floor, Peer, Subject  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
MARGIN = 0.03  # within which two medians of one thing differ by themselves
KEYS_FULL = 1000000
SMALL_BYTES = 3  # redis-benchmark's
SETTLE_S = 0.5
DECAY_S = 12  # jemalloc returns freed pages over 10 s, and only while it's used
DECAY_REQUESTS = 100000
OTHER_SEED = 2
ZIPF = 0.99
LATENCY_WINDOWS = 4  # as long as other figures: the machine's own stops are the longest waits, and a few ms long

# One line of the results: a figure of each server. met: True, False or None (there's no target). found: what the load
# found, if it's a row of throughput. by: what the load was told to do.
Row = collections.namedtuple("Row", "section what ckv other form target met found by")


class Bench(persistence.Bench):
    """The two servers, how much is measured, and the rows so far."""

    def __init__(self, args, parent):
        load = os.path.abspath(os.path.join(args.build, "load"))
        other = Peer(args.peer, parent, load) if args.peer else Subject("redis-server", "redis", parent, load)
        super().__init__(args.build, parent, args.keys, 5 * args.keys, args.seconds, args.reps, other)
        self.ten = 10 * args.keys
        self.small = args.keys // 10
        self.many = args.keys // 100
        self.decay_s = min(DECAY_S, args.keys / 10000)
        self.floor = Floor(os.path.abspath(os.path.join(args.build, "floor")), parent, load)
        self.rows = []
        self.section = ""
        self.ratios = {}
        self.peaks = {}

    def row(self, what, ckv, other, target, good, form="%.0f", found=None, by=""):
        ratio = ckv / other if other else float("nan")
        met = None if good is None or ckv != ckv else bool(good(ckv, ratio))
        self.rows.append(Row(self.section, what, ckv, other, form, target, met, found, by))
        print("%-6s %-60s %12s %12s %6.2f  %s" % (
            {True: "met", False: "MISSED", None: ""}[met], what, form % ckv, form % other, ratio, target), flush=True)

    def throughput(self, what, target, good, *words, prepare=None):
        """A row of requests a second. prepare(subject) makes what each measurement uses up."""
        if "--requests" not in words and "--fill" not in words:
            words = (*words, "--seconds", self.seconds)

        def measure(subject):
            if prepare:
                prepare(subject)
            return subject.throughput(*words)
        ckv, other = found = self.medians(measure)
        self.row(what, ckv.per_second, other.per_second, target, good, found=found, by=" ".join(map(str, words)))
        return found

    def times(self, what, least, *words, prepare=None):
        """The same with a target: so many times the other's; or none."""
        target = "%s times" % least if least else "-"
        good = (lambda _, ratio: ratio >= least) if least else None
        return self.throughput(what, target, good, *words, prepare=prepare)

    def fill_all(self, *words):
        for subject in self.subjects:
            subject.fill(*words)

    def start_bare(self):
        """Without persistence."""
        self.start(fsync=None)


# ---- throughput

BASIC = (("get", 64, 5), ("set", 64, 5), ("get", 16, 3.5), ("set", 16, 3.5), ("incr", 16, 2), ("get", 1, 1.35),
         ("set", 1, 1.35), ("ping", 64, 3), ("ping", 16, None), ("ping", 1, None))


def row_basic(bench):
    """GET, SET, INCR and PING."""
    bench.start_bare()
    bench.fill_all(bench.one)
    for mix, pipeline, least in BASIC:
        what = "%s, -P %d" % (mix.upper(), pipeline)
        ckv, other = bench.times(what, least, "--mix", mix, "--pipeline", pipeline, "--keys", bench.one)
        bench.ratios[mix, pipeline] = ckv.per_second / other.per_second
        if pipeline == 1:
            bench.peaks[mix] = other.per_second
            if least:
                bench.row(what + ": server CPU us a request", ckv.cpu_us, other.cpu_us, "25 % less",
                          lambda _, ratio: ratio <= 0.75, "%.2f")
    for mix in ("get", "set"):
        bench.times("%s by Zipf (%s), -P 16" % (mix.upper(), ZIPF), None, "--mix", mix, "--pipeline", 16, "--keys",
                    bench.one, "--zipf", ZIPF)


def row_floor(bench):
    """What the machine lets any server reach that receives and sends for each connection by itself: PING's rate by one
    that does nothing else, so without a look at the request, beside what the other reaches."""
    other = bench.subjects[1]
    other.start(fsync=None)
    other.fill(bench.one)
    bench.floor.start()
    for mix, pipeline, least in BASIC:
        if least is None or mix == "incr":
            continue
        words = ("--pipeline", pipeline, "--keys", bench.one, "--seconds", bench.seconds)
        found = bench.medians(
            lambda subject, mix=mix, words=words: subject.throughput("--mix", "ping" if subject is bench.floor else mix,
                                                                     *words), subjects=(bench.floor, other))
        bench.row("PING, -P %d, by the least server; %s by the other (ckv's target: %s times)" % (
            pipeline, mix.upper(), least), *[one.per_second for one in found], "-", None, found=found,
                  by="--mix ping, or %s, %s" % (mix, " ".join(map(str, words))))
    bench.floor.stop()


def row_default(bench):
    """ckv as it is without options, its journal synced each second; the other still keeps nothing on disk."""
    bench.subjects[0].start(fsync="everysec")
    bench.subjects[1].start(fsync=None)
    bench.fill_all(bench.one)
    for mix in ("get", "set"):
        for pipeline in (64, 16, 1):
            bench.times("%s, -P %d, ckv with its journal, the other without" % (mix.upper(), pipeline), None,
                        "--mix", mix, "--pipeline", pipeline, "--keys", bench.one)


def row_collections(bench):
    """Beginning with no key, or with a collection that is used up: each element once."""
    bench.start_bare()
    once = ("--keys", bench.one, "--size", SMALL_BYTES)

    def empty(subject):
        for kind in ("list", "set", "hash"):
            subject.call("DEL", "load:" + kind)

    def full(mix):
        return lambda subject: (empty(subject), subject.fill(bench.one, mix, SMALL_BYTES))
    works = [(mix, ("--fill", *once), empty) for mix in ("lpush", "sadd", "hset")]
    works += [(mix, ("--requests", bench.one, *once), full(by)) for mix, by in (("rpop", "rpush"), ("spop", "sadd"))]
    works += [("mset", once, None)]
    for mix, words, prepare in works:
        name = mix.upper() + (" of 10" if mix == "mset" else "")
        for pipeline, least in ((16, 1.5), (1, 1)):
            bench.times("%s, -P %d" % (name, pipeline), least, "--mix", mix, "--pipeline", pipeline, *words,
                        prepare=prepare)


def row_lrange(bench):
    bench.start_bare()
    bench.fill_all(bench.one // 10, "rpush", SMALL_BYTES)
    for count in (100, 300, 600):
        for pipeline, least in ((16, 1.5), (1, 1)):
            bench.times("LRANGE_%d, -P %d" % (count, pipeline), least, "--mix", "lrange_%d" % count, "--pipeline",
                        pipeline, "--size", SMALL_BYTES)


def row_zset(bench):
    """On a sorted set of so many members; ZADD changes their scores."""
    bench.start_bare()
    bench.fill_all(bench.one, "zadd")
    for mix, what in (("zadd", "ZADD"), ("zrank", "ZRANK"), ("zrangebyscore", "ZRANGEBYSCORE LIMIT 10")):
        bench.times(what + ", -P 16", 1.5, "--mix", mix, "--pipeline", 16, "--keys", bench.one, "--seed", OTHER_SEED)


def row_ten_million(bench):
    bench.start_bare()
    bench.fill_all(bench.ten)
    for mix in ("get", "set"):
        for pipeline in (64, 16, 1):
            ratio_one = bench.ratios.get((mix, pipeline))
            if ratio_one is None:
                raise RuntimeError("it needs the basic rows: their ratios are its targets")
            bench.throughput("%s, -P %d, %d keys" % (mix.upper(), pipeline, bench.ten), "%.2f times" % ratio_one,
                             lambda _, ratio, least=ratio_one * (1 - MARGIN): ratio >= least,
                             "--mix", mix, "--pipeline", pipeline, "--keys", bench.ten)
    bench.notes.add("Targets of %d keys are the ratios at %d; %.0f %% less will do, as two medians of one thing differ "
                    "by that." % (bench.ten, bench.one, 100 * MARGIN))


# ---- latency and connections

def row_latency(bench):
    """From when each request was due, at half of what the other can do at its best."""
    bench.start_bare()
    bench.fill_all(bench.one)
    for mix in ("get", "set"):
        words = ("--mix", mix, "--pipeline", 1, "--keys", bench.one)
        if mix not in bench.peaks:
            bench.peaks[mix] = bench.subjects[1].throughput(*words, "--seconds", bench.seconds).per_second
        words = (*words, "--rate", round(bench.peaks[mix] / 2), "--seconds", LATENCY_WINDOWS * bench.seconds)
        ckv, other = bench.medians(lambda subject, words=words: subject.throughput(*words))
        by = " ".join(map(str, words))
        for field, name in (("p50_us", "p50"), ("p99_us", "p99"), ("p999_us", "p99.9")):
            good = (lambda _, ratio: ratio <= 1) if name == "p99.9" else None
            bench.row("%s: %s at %d a second, us" % (mix.upper(), name, bench.peaks[mix] / 2), getattr(ckv, field),
                      getattr(other, field), "no higher" if good else "-", good, "%.1f", by=by)


def row_connections(bench):
    bench.start_bare()
    bench.fill_all(bench.one)
    get = ("--mix", "get", "--pipeline", 1, "--keys", bench.one, "--seconds", bench.seconds)
    silent = (*get, "--clients", 50, "--idle", bench.many - 50)

    def kept(subject):
        few = subject.throughput(*get).per_second
        return subject.throughput(*silent).per_second / few
    bench.row("GET, -P 1, %d connections of which 50 are active: part of the rate of 50 alone" % bench.many,
              *bench.medians(kept), "0.95", lambda value, _: value >= 0.95, "%.2f", by=" ".join(map(str, silent)))
    for mix in ("get", "set"):
        bench.times("%s, -P 1, %d connections, all active" % (mix.upper(), bench.many // 2), 1.1, "--mix", mix,
                    "--pipeline", 1, "--keys", bench.one, "--clients", bench.many // 2)
    bench.row("resident bytes a silent connection, of %d" % bench.many,
              *[connection_bytes(subject, bench.many) for subject in bench.subjects], "1400",
              lambda value, _: value <= 1400)


def connection_bytes(subject, count):
    """Of those that have been used once."""
    subject.start(fsync=None)
    before = subject.memory_kb()
    connections = []
    for _ in range(count):
        connections.append(subject.operator())
        connections[-1].call("PING")
    time.sleep(SETTLE_S)
    grown = subject.memory_kb() - before
    for connection in connections:
        connection.close()
    return grown * 1024 / count


# ---- memory

def row_memory(bench):
    """What the resident size grows by behind the first hundredth: the median of three, since it grows by huge pages."""
    one, small = bench.one, bench.small
    for what, most, count, mix, size, key_size in (
            ("a key of 16 + 64 bytes, of %d" % one, 115, one, "set", 64, 16),
            ("a member of 15 bytes, sorted set of %d" % one, 66, one, "zadd", 0, 15),
            ("a field of 14 + 16 bytes, hash of %d" % one, 60, one, "hset", 16, 14),
            ("a member of 15 bytes, set of %d" % one, 40, one, "sadd", 0, 15),
            ("an element of 16 bytes, list of %d" % one, 18.6, one, "rpush", 16, 16),
            ("a hash of 10 fields of 7 + 16 bytes, %d of them" % small, 370, small, "small_hash", 16, 16),
            ("a sorted set of 10 members of 15 bytes, %d of them" % small, 310, small, "small_zset", 0, 16)):
        words = (count, mix, size, "--key-size", key_size)
        resident, used = zip(*[bytes_each(subject, *words) for subject in bench.subjects])
        by = "--fill --mix %s --keys %d --size %d --key-size %d" % (mix, count, size, key_size)
        bench.row("resident bytes " + what, *resident, str(most), lambda value, _, most=most: value <= most, "%.1f",
                  by=by)
        bench.row("the same by its own count (used_memory)", *used, "-", None, "%.1f", by=by)


def bytes_each(subject, count, mix, *words):
    """What a server takes once it's used, for buffers and by its allocator, is no key's: a hundredth is there before.
    (That is filled again, but for a list, which gets longer.)"""
    def now():
        time.sleep(SETTLE_S)
        return subject.memory_kb() * 1024, int(subject.info("memory")["used_memory"])

    def grown():
        first = max(1, count // 100)
        subject.start(fsync=None)
        subject.fill(first, mix, *words)
        before = now()
        subject.fill(count, mix, *words)
        more = count if mix == "rpush" else count - first
        return [(after - earlier) / more for after, earlier in zip(now(), before)]
    return [statistics.median(values) for values in zip(*[grown() for _ in range(3)])]


def row_deleted(bench):
    bench.start_bare()
    words = ("--mix", "del", "--keys", bench.five, "--requests", bench.five * 9 // 10, "--seed", OTHER_SEED)

    for subject in bench.subjects:
        subject.fill(bench.five)
        subject.throughput(*words, "--pipeline", 64)
    time.sleep(bench.decay_s)

    def left(subject):
        subject.throughput("--mix", "exists", "--keys", bench.five, "--requests", DECAY_REQUESTS)
        return 100 * subject.memory_kb() / subject.memory_kb("VmHWM")
    bench.row("resident size after 90 %% of %d keys were deleted, %% of the peak" % bench.five,
              *[left(subject) for subject in bench.subjects], "40", lambda value, _: value <= 40, "%.1f",
              by=" ".join(map(str, words)))


# ---- persistence

def row_everysec(bench):
    persistence.row_set_everysec(bench)


def row_stall(bench):
    persistence.row_stall(bench)


def row_start(bench):
    """Checkpoints, their sizes, and starting from them."""
    for keys in (bench.one, bench.five):
        persistence.row_whole(bench, keys)
        persistence.row_start(bench, keys)


SECTIONS = (("Throughput, nothing kept on disk", (row_basic, row_collections, row_lrange, row_zset, row_ten_million)),
            ("What any server could reach here: bench/floor.c, which only receives and sends, in ckv's place",
             (row_floor,)),
            ("Throughput, ckv as it is by default", (row_default,)),
            ("Throughput, both keep a log synced each second", (row_everysec,)),
            ("Latency under half of the peak rate", (row_latency,)),
            ("Many connections", (row_connections,)),
            ("Memory", (row_memory, row_deleted)),
            ("Checkpoints, stalls and start", (row_stall, row_start)))


def compiler(program):
    """What the program itself tells of how it was built."""
    with open(program, "rb") as file:
        data = file.read()
    told = re.search(rb"(GNU C11 \d[^\0]*|(Debian )?clang version [^\0]*)\0", data) or re.search(rb"GCC: [^\0]*", data)
    return re.sub(r" -m(tune|arch)=\S+", "", told[0].decode("latin-1").strip("\0")) if told else "unknown"


def commit():
    done = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--abbrev=12", "--dirty=, with changes"],
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def machine():
    with open("/proc/cpuinfo") as info:
        model = re.search(r"model name\s*:\s*(.*)", info.read())
    return "%s; Linux %s" % (model[1] if model else os.uname().machine, os.uname().release)


def version(subject):
    fields = subject.info("server")
    return "%s %s" % (subject.name, fields.get("valkey_version") or fields.get("redis_version", ""))


def about(bench, args):
    """The lines above the tables: (name, what)."""
    bench.start_bare()
    keys, seconds, reps = bench.one, bench.seconds, bench.reps
    lines = [("ckv", "commit %s; %s" % (commit(), compiler(os.path.join(args.build, "ckv")))),
             ("against", version(bench.subjects[1])),
             ("machine", "%s; servers on core %s, load on core %s" % (machine(), SERVER_CORE, LOAD_CORE)),
             ("command", "`%s`" % " ".join(["bench/bench.py", *sys.argv[1:]])),
             ("measured", "%d keys of 16 bytes with values of 64 bytes, drawn uniformly; 50 connections by loopback; "
              "%s s for each figure of throughput; the median of %d" % (keys, seconds, reps))]
    if keys < KEYS_FULL:
        bench.notes.add("So few keys don't show what the targets are about: those are for %d." % KEYS_FULL)
    for subject in bench.subjects:
        words = " ".join(subject.command(None, False)).replace(subject.directory, "DIR")
        lines.append(("%s, nothing kept" % subject.name, "`%s`" % words.replace(str(subject.port), "PORT")))
    return lines


def run_rows(bench, only):
    """Whether any failed."""
    failed = False
    for bench.section, rows in SECTIONS:
        for row in rows:
            if only not in row.__name__:
                continue
            try:
                row(bench)
            except (OSError, RuntimeError, subprocess.SubprocessError, KeyError) as error:
                failed = True
                bench.notes.add("%s could not be measured: %s" % (row.__name__, str(error)[-300:]))
                print("%s failed: %s" % (row.__name__, error), flush=True)
    return failed


def options_read():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--build", default="build", metavar="PATH", help="where ckv, load, pinger and floor are")
    options.add_argument("--peer", metavar="COMMAND", help="another server instead of redis-server; %%p: its port, "
                         "%%d: its directory")
    options.add_argument("--quick", action="store_true", help="two minutes: a tenth of the keys, each measured once")
    options.add_argument("--keys", type=int, help="[%d]" % KEYS_FULL)
    options.add_argument("--seconds", type=float, help="of each measurement [2.5]")
    options.add_argument("--reps", type=int, help="measurements of a figure [3]")
    options.add_argument("--only", default="", help="rows whose functions' names have this text")
    options.add_argument("--out", metavar="DIRECTORY",
                         help="[bench; build/bench if not everything is measured in full]")
    options.add_argument("--directory", help="where the data goes; default: the system's place for temporary files")
    args = options.parse_args()
    partial = args.quick or args.only or args.peer or args.keys or args.seconds or args.reps
    args.keys = args.keys or (KEYS_FULL // 10 if args.quick else KEYS_FULL)
    args.seconds = args.seconds or (0.25 if args.quick else 2.5)
    args.reps = args.reps or (1 if args.quick else 3)
    args.out = args.out or (os.path.join(ROOT, "build", "bench") if partial else os.path.join(ROOT, "bench"))
    return args


def main():
    args = options_read()
    start = time.monotonic()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    parent = tempfile.mkdtemp(prefix="ckv-bench-", dir=args.directory)
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    bench = Bench(args, parent)
    lines = []
    try:
        try:
            lines = about(bench, args)
            failed = run_rows(bench, args.only)
        except KeyboardInterrupt:
            failed = True
            args.out = os.path.join(ROOT, "build", "bench")  # what a whole run wrote stays
            bench.notes.add("The run was ended early: the rows that are missing weren't measured.")
        # Before all is tidied up, which may be interrupted, too.
        lines.append(("took", "%.1f minutes" % ((time.monotonic() - start) / 60)))
        write_results(args.out, bench.rows, lines, sorted(bench.notes), [subject.name for subject in bench.subjects])
    except RuntimeError as error:
        print(error)
        return 1
    finally:
        for subject in (*bench.subjects, bench.floor):
            subject.stop()
        shutil.rmtree(parent, ignore_errors=True)
    counts = collections.Counter(row.met for row in bench.rows)
    print("%d targets met, %d missed; see %s" % (counts[True], counts[False], os.path.join(args.out, "RESULTS.md")))
    return failed


if __name__ == "__main__":
    sys.exit(main())
