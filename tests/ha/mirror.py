#!/usr/bin/env python3
"""mirror.py - a ckv and a Redis as each other's slave, under random writes of every command, type, expiry and
database, their link cut at random bytes: at the end both have the same data, which DEBUG DIGEST shows, without a second
full sync.

Debian's redis-server (7.0) is always one of them. Set REDIS32 to the redis-server of a 3.2.13 that you built, and it's
another. Pairs of ckv and a chain are tested the same way. A case is a test.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import shutil
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "compat", "differential")]
from dataset import Dataset  # noqa: E402
from nodes import Ckv, Many, NotStarted, Redis, digest, wait_for  # noqa: E402
from proxy import Proxy  # noqa: E402
from writers import Choice, random_of, write_at_random  # noqa: E402

CUT_BYTES_MAX = 30000
PAUSE_S_MAX = 0.1
VERSIONS = {"redis70": "7.0.15", "redis32": "3.2.13"}
BACKLOG = ("--repl-backlog-size", "256mb")


class Cutter(threading.Thread):
    """Cuts a link again and again, each time after a random number of bytes, until it is told to end."""

    def __init__(self, proxy, rng):
        super().__init__(daemon=True)
        self.proxy, self.rng = proxy, rng
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(self.rng.uniform(0, PAUSE_S_MAX)):
            self.proxy.bytes_left = int(self.rng.random() ** 3 * CUT_BYTES_MAX)

    def end(self):
        self.ended.set()
        self.join()
        self.proxy.bytes_left = None


def make(kind, many, name):
    directory = os.path.join(many.folder, name + "-" + kind)
    if kind == "ckv":
        return many.add(Ckv(many.ckv, directory))
    return many.add(Redis(many.redis[kind], directory, VERSIONS[kind], *BACKLOG))


def same_data(master, slave):
    """Whether both have it all; they are quiet."""
    return slave.is_linked() and master.offset() == slave.offset() and digest(master) == digest(slave)


def await_same_data(nodes):
    for master, slave in zip(nodes, nodes[1:]):
        try:
            wait_for("the same data", lambda of=master, slave=slave: same_data(of, slave))
        except AssertionError as error:
            raise AssertionError("%s: %s" % (error, difference(master, slave))) from error


def difference(master, slave):
    """What an operator would want to know about two nodes that don't come to the same."""
    if not slave.is_linked() or master.offset() != slave.offset():
        return "offsets %d and %d, %r" % (master.offset(), slave.offset(), slave.info())
    one, other = [Dataset(node.admin(), True) for node in (master, slave)]
    return str(one.difference(other) or "digests only")


def follow(many, slave, master):
    """Makes it a slave by a proxy, which is returned."""
    proxy = Proxy(master.port)
    many.proxies.append(proxy)
    assert slave.ask("SLAVEOF", "127.0.0.1", proxy.port).startswith(b"+OK")
    wait_for("%s is linked" % slave.directory, slave.is_linked)
    return proxy


def run_case(many, kinds, seed, commands):
    """The first of the kinds is the master of the second, that of the third."""
    rng = random_of(seed, *kinds)
    nodes = [make(kind, many, "node%d" % i) for i, kind in enumerate(kinds)]
    for node in nodes:
        node.start()
    master = nodes[0]
    choice = Choice([VERSIONS.get(kind, "") for kind in kinds])
    write_at_random(master.port, choice, "%s/before" % seed, commands // 4)
    cutters = [Cutter(follow(many, slave, of), rng) for of, slave in zip(nodes, nodes[1:])]
    await_same_data(nodes)
    for cutter in cutters:
        cutter.start()
    sent = write_at_random(master.port, choice, seed, commands)
    for cutter in cutters:
        cutter.end()
    await_same_data(nodes)
    for of in nodes[:-1]:
        full = of.info("stats")["sync_full"]
        assert full == "1", "%s full syncs" % full
    return "%d commands, %s keys, %d cuts" % (sent, keys(master), sum(proxy.cuts for proxy in many.proxies))


def keys(node):
    return sum(int(text.split(",")[0].split("=")[1]) for text in node.info("keyspace").values())


def cases(redis):
    kinds = [("ckv", "ckv"), ("ckv", "ckv", "ckv")]
    for name in redis:
        kinds += [("ckv", name), (name, "ckv")]
    # At a ckv that is a slave, a 3.2 goes on by SYNC only: each cut costs it a full sync, of which there's to be one.
    ends = {"redis70": ("redis70",), "redis32": ()}
    return kinds + [(name, "ckv", "ckv", *ends[name]) for name in redis]


def run(args, redis, kinds, seed):
    """False: it failed, and the directory is kept."""
    many = Many(tempfile.mkdtemp(prefix="ckv-mirror-"))
    many.ckv, many.redis, many.proxies = args.ckv, redis, []
    title, start = "%s, seed %s" % (" -> ".join(kinds), seed), time.monotonic()
    try:
        said = run_case(many, kinds, seed, args.commands)
        passed = True
    except (AssertionError, NotStarted, OSError) as error:
        said, passed = "%s; see %s" % (error, many.folder), False
    for proxy in many.proxies:
        proxy.end()
    reports = many.end()
    passed = passed and not reports
    print("%s: %s: %s (%.1f s)%s" % ("ok" if passed else "FAILED", title, said, time.monotonic() - start, reports),
          flush=True)
    if passed:
        shutil.rmtree(many.folder)
    return passed


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--commands", type=int, default=6000, help="of each case")
    options.add_argument("--seeds", type=int, default=1, help="how many times each case is run")
    options.add_argument("--seed", type=int, default=1, help="the first")
    options.add_argument("--only", metavar="TEXT", help="cases with this in their names")
    args = options.parse_args()
    redis = {"redis70": shutil.which("redis-server"), "redis32": os.environ.get("REDIS32")}
    redis = {name: path for name, path in redis.items() if path}
    results = [run(args, redis, kinds, seed) for seed in range(args.seed, args.seed + args.seeds)
               for kinds in cases(redis) if args.only is None or args.only in " -> ".join(kinds)]
    print("%d passed, %d failed, %d skipped" % (sum(results), len(results) - sum(results), 2 - len(redis)))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
