#!/usr/bin/env python3
"""converge.py - a pair of ckv under random writes and every sort of trouble between and in them: it always comes to the
same data, and without a full sync whenever the journal still reaches.

A round is a test, with one trouble: the link cut at random bytes, slow, or silent for longer than repl-timeout; one
side paused by SIGSTOP, killed and started again, or stopped and started again. A round of `copy` gives the master a new
slave, whose full sync is cut, or either side killed, at a random point.

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
sys.path.insert(0, HERE)
from nodes import Ckv, Lost, NotStarted, digest, sanitizer_report, wait_for  # noqa: E402
from proxy import Proxy  # noqa: E402
from writers import Choice, random_of, write_at_random  # noqa: E402

CUT_BYTES_MAX = 100000
SLOW_BYTES_PER_S = 150000
PAUSE_S_MAX = 0.5
REPL_TIMEOUT_S = 2
COPY_KEYS = 3000
COPY_VALUE = 2000
COPY_CUTS_MAX = 3


class Load(threading.Thread):
    """Writes at random until it's told to end, also over restarts of the server."""

    def __init__(self, port, seed):
        super().__init__(daemon=True)
        self.port, self.seed, self.ended = port, seed, threading.Event()
        self.choice = Choice([""])

    def run(self):
        number = 0
        while not self.ended.is_set():
            number += 1
            try:
                write_at_random(self.port, self.choice, "%s/%d" % (self.seed, number), 600)
            except (Lost, OSError):
                time.sleep(0.02)

    def end(self):
        self.ended.set()
        self.join()


class Pair:
    """A master, its slave, and the link between them."""

    def __init__(self, program, folder, name="slave"):
        self.program, self.folder = program, folder
        self.master = Ckv(program, os.path.join(folder, "master"), *self.options())
        self.proxy = Proxy(self.master.port)
        self.slave = self.new_slave(name)

    def options(self):
        return ["--repl-timeout", str(REPL_TIMEOUT_S), "--repl-ping-slave-period", "1"]

    def new_slave(self, name):
        return Ckv(self.program, os.path.join(self.folder, name), *self.options(), "--slaveof", "127.0.0.1",
                   str(self.proxy.port))

    def is_same(self):
        return (self.slave.is_linked() and self.master.offset() == self.slave.offset() and
                digest(self.master) == digest(self.slave))

    def await_same(self):
        try:
            wait_for("the same data", self.is_same)
        except AssertionError as error:
            raise AssertionError("%s: master %r, slave %r" % (error, self.master.info(), self.slave.info())) from error

    # ---- troubles: each takes a source of chance

    def cut(self, rng):
        for _ in range(5):
            self.proxy.bytes_left = int(rng.random() ** 3 * CUT_BYTES_MAX)
            time.sleep(rng.uniform(0, 0.2))
        self.proxy.bytes_left = None

    def slow(self, rng):
        self.proxy.bytes_per_s = SLOW_BYTES_PER_S
        time.sleep(rng.uniform(0.5, 1))
        self.proxy.bytes_per_s = None

    def silent(self, _):
        self.proxy.swallows = True
        time.sleep(REPL_TIMEOUT_S + 1)
        self.proxy.cut()
        self.proxy.swallows = False

    def refused(self, rng):
        self.proxy.refuses = True
        self.proxy.cut()
        time.sleep(rng.uniform(0, 1))
        self.proxy.refuses = False

    def paused_master(self, rng):
        pause(self.master, rng)

    def paused_slave(self, rng):
        pause(self.slave, rng)

    def killed_master(self, rng):
        time.sleep(rng.uniform(0, 0.3))
        self.master.kill()
        self.master.start()

    def killed_slave(self, rng):
        time.sleep(rng.uniform(0, 0.3))
        self.slave.kill()
        time.sleep(rng.uniform(0, 0.3))
        self.slave.start()

    def stopped(self, rng):
        both = [self.master, self.slave]
        rng.shuffle(both)
        for node in both:
            assert node.stop() == 0
        for node in both:
            node.start()

    # ---- a full sync

    def copy(self, rng, number):
        """A new slave, whose full sync is disturbed some times."""
        fill(self, rng)
        self.slave.kill()
        self.slave = self.new_slave("copy%d" % number)
        self.slave.start()
        for _ in range(rng.randrange(1, COPY_CUTS_MAX + 1)):
            draw = rng.random()
            if draw < 0.5:
                self.proxy.bytes_left = int(rng.random() * COPY_KEYS * COPY_VALUE * 0.3)
                time.sleep(rng.uniform(0.2, 0.6))
            elif draw < 0.75:
                self.killed_slave(rng)
            else:
                self.killed_master(rng)
        self.proxy.bytes_left = None

    def end(self):
        self.proxy.end()
        said = ""
        for node in (self.master, self.slave):
            if node.process is not None:
                node.kill()
                with open(node.log_path, errors="replace") as log:
                    said += sanitizer_report(log.read())
        return said


def pause(node, rng):
    node.pause()
    time.sleep(rng.uniform(0, PAUSE_S_MAX))
    node.resume()


TROUBLES = ("cut", "slow", "silent", "refused", "paused_master", "paused_slave", "killed_master", "killed_slave",
            "stopped", "copy")


def fill(pair, rng):
    """Enough for a full sync to be disturbed in its middle."""
    connection = pair.master.admin()
    for start in range(0, COPY_KEYS, 100):
        connection.calls([[b"SET", b"fill:%d" % i, rng.randbytes(COPY_VALUE)] for i in range(start, start + 100)])
    connection.close()


def run_round(pair, trouble, number, seed):
    rng = random_of(seed, number, trouble)
    full = int(pair.master.info("stats")["sync_full"])
    load = Load(pair.master.port, "%s/%d" % (seed, number))
    load.start()
    started = pair.master.process
    try:
        if trouble == "copy":
            pair.copy(rng, number)
        else:
            time.sleep(rng.uniform(0, 0.3))
            getattr(pair, trouble)(rng)
    finally:
        load.end()
    pair.await_same()
    if trouble != "copy":
        more = int(pair.master.info("stats")["sync_full"]) - (full if pair.master.process is started else 0)
        assert more == 0, "%d full syncs" % more


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--rounds", type=int, default=len(TROUBLES))
    options.add_argument("--only", choices=TROUBLES)
    options.add_argument("--seed", type=int, default=1)
    args = options.parse_args()
    folder = tempfile.mkdtemp(prefix="ckv-converge-")
    pair = Pair(args.ckv, folder)
    passed, trouble = 0, "the start"
    try:
        pair.master.start()
        fill(pair, random_of(args.seed))
        pair.slave.start()
        pair.await_same()
        for number in range(args.rounds):
            trouble = args.only or TROUBLES[number % len(TROUBLES)]
            start = time.monotonic()
            run_round(pair, trouble, number, args.seed)
            print("ok: %s (%.1f s)" % (trouble, time.monotonic() - start), flush=True)
            passed += 1
    except (AssertionError, NotStarted, OSError) as error:
        print("FAILED: round %d, %s, seed %d: %s; see %s" % (passed, trouble, args.seed, error, folder))
    said = pair.end()
    print(said, end="")
    good = passed == args.rounds and not said
    if good:
        shutil.rmtree(folder)
    print("%d passed, %d failed" % (passed, not good))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
