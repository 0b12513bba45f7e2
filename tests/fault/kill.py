#!/usr/bin/env python3
"""kill.py - kills the server under load at random moments and checks what it has after the next start: every
acknowledged write, nothing that was not sent, transactions whole.

A round is a test. Rounds alternate between none and a running checkpoint; some kill the server again while it starts.
Each client's keys must be what its model says after all it had an answer to and the first few (perhaps none) of what it
had sent besides, in order. The next round goes on from there.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from load import ACCOUNTS, Client, WideWriter, Writer  # noqa: E402
from model import SHARED, Comparison, Model, read_state  # noqa: E402
from server import Lost, NotStarted, Server, info, is_redis, now_ms, sanitizer_report  # noqa: E402

WRITERS = 4
FSYNCS = ("everysec", "always", "no")
ROUNDS_A_DIRECTORY = 20
LOAD_S_MAX = 0.6
CHECKPOINT_DELAY_S_MAX = 0.03
JOIN_S_MAX = 30


class Checkpointer(threading.Thread):
    """Keeps checkpoints running until the connection breaks, and now and then makes a backup or changes fsync."""

    def __init__(self, connection, rng, has_backups):
        super().__init__(daemon=True)
        self.connection = connection
        self.rng, self.has_backups = rng, has_backups
        self.started = threading.Event()
        self.refused = ""
        self.count = 0

    def run(self):
        try:
            while True:
                reply = self.connection.call("BGSAVE")
                if reply.startswith(b"+"):
                    self.count += 1
                    self.started.set()
                elif b"progress" not in reply and b"being copied" not in reply:
                    self.refused = reply.decode(errors="replace")
                if self.has_backups and self.rng.random() < 0.3:
                    self.connection.call("BACKUP", "CREATE")
                if self.rng.random() < 0.02:
                    self.connection.call("CONFIG", "SET", "appendfsync", self.rng.choice(FSYNCS))
                time.sleep(0.003)
        except Lost:
            self.connection.close()


class Run:
    """One data directory through its rounds."""

    def __init__(self, program, rng, fsync):
        self.rng = rng
        self.parent = tempfile.mkdtemp(prefix="ckv-kill-")
        self.server = Server(program, os.path.join(self.parent, "data"), fsync, self.options(program))
        names = ["c%d" % n for n in range(WRITERS)] + ["w%d" % WRITERS]
        self.models = {name: Model() for name in names}
        self.counters = {"answered": 0, "checkpoints": 0, "unanswered kept": 0, "unanswered lost": 0}

    def options(self, program):
        if is_redis(program):
            return ()
        return self.rng.choice(((), ("--journal-segment-bytes", "200000"),
                                ("--journal-segment-bytes", "1000000", "--journal-keep", "0",
                                 "--checkpoint-journal-bytes", "3000000")))

    def writer(self, name):
        seed = random.Random(self.rng.getrandbits(64))
        return WideWriter(seed, name) if name[0] == "w" else Writer(seed, name, int(name[1:]) % 2 == 0)

    def clients(self):
        clients = []
        for at, (name, model) in enumerate(self.models.items()):
            model.db = 0
            connection = self.server.connect() if at % 2 == 0 else self.server.connect_tcp()
            clients.append(Client(connection, self.writer(name), model))
        return clients

    def checkpointer(self):
        return Checkpointer(self.server.connect(), random.Random(self.rng.getrandbits(64)),
                            not is_redis(self.server.program))

    def load_and_kill(self, with_checkpoint):
        """The clients as the kill left them."""
        clients = self.clients()
        checkpointer = self.checkpointer() if with_checkpoint else None
        for thread in clients + ([checkpointer] if checkpointer else []):
            thread.start()
        time.sleep(self.rng.random() ** 2 * LOAD_S_MAX)
        if checkpointer:
            checkpointer.started.clear()
            checkpointer.started.wait(2)
            time.sleep(self.rng.random() * CHECKPOINT_DELAY_S_MAX)
        ended = self.server.kill()
        for thread in clients:
            thread.join(JOIN_S_MAX)
        if checkpointer:
            checkpointer.join(JOIN_S_MAX)
            self.counters["checkpoints"] += checkpointer.count
        if ended is not None:
            raise AssertionError("the server ended by itself with status %s:\n%s" % (ended, self.server.said()[-3000:]))
        return clients, checkpointer

    def start(self):
        """Starts the server, now and then killing it first while it starts."""
        if self.rng.random() < 0.2:
            self.server.launch()
            time.sleep(self.rng.random() * 0.04)
            self.server.kill()
        self.server.start()

    def observe(self):
        connection = self.server.connect()
        dbs = [int(name[2:]) for name in info(connection, "keyspace") if name.startswith("db")]
        before = now_ms()
        state = read_state(connection, dbs)
        connection.close()
        return state, before, now_ms()

    def round(self, with_checkpoint):
        """Problems found, as a list of texts."""
        clients, checkpointer = self.load_and_kill(with_checkpoint)
        report = sanitizer_report(self.server.said())
        self.start()
        state, before, after = self.observe()
        problems = [client.problem for client in clients if client.problem] + ([report] if report else [])
        if checkpointer and checkpointer.refused:
            problems.append("BGSAVE was answered with " + checkpointer.refused)
        parts = self.split(state)
        for client in clients:
            problems += self.check_client(client, parts.pop(client.writer.name), before, after)
        shared = parts.pop("shared")
        problems += ["a key that was never written: db %d %r" % place for place in parts.pop("")]
        return problems + (self.check_shared(shared) if not problems else [])

    def split(self, state):
        """The state by whose keys they are; "" for nobody's."""
        parts = {name: {} for name in [*self.models, "shared", ""]}
        for place, value in state.items():
            owner = place[1].split(b":")[0].decode(errors="replace")
            parts[owner if owner in parts else ""][place] = value
        return parts

    def check_client(self, client, observed, before, after):
        model = client.model
        model.observed = observed
        model.touched.clear()
        comparison = Comparison(model, observed, before, after)
        first = comparison.describe() if comparison.wrong else ""
        left = list(client.pending)
        while comparison.wrong and left:
            left.pop(0).apply(model, after)
            comparison.follow()
        self.counters["answered"] += client.answered
        self.counters["unanswered lost"] += len(left)
        self.counters["unanswered kept"] += len(client.pending) - len(left)
        if comparison.wrong:
            return ["client %s, %d unanswered: after what was answered, %s\nafter all, %s" % (
                client.writer.name, len(client.pending), first, comparison.describe())]
        comparison.adopt()
        return []

    def check_shared(self, shared):
        problems = []
        accounts = [shared.get((0, SHARED + b"account:%d" % n)) for n in range(ACCOUNTS)]
        total = sum(int(account.data) for account in accounts if account)
        own = sum(int(value.data) for model in self.models.values() for (db, key), value in model.keys.items()
                  if key.endswith(b":given"))
        if total + own != 0:
            problems.append("transfers are not whole: the accounts' sum is %d, not %d" % (total, -own))
        stamps = [shared.get((db, SHARED + b"stamp")) for db in (0, 1)]
        if (stamps[0] and stamps[0].data) != (stamps[1] and stamps[1].data):
            problems.append("a transaction is not whole: stamps %r" % [stamp and stamp.data for stamp in stamps])
        counts = shared.get((0, SHARED + b"counts"))
        for name, model in self.models.items():
            own = model.keys.get((0, name.encode() + b":count"))
            seen = counts.data.get(name.encode()) if counts else None
            if (own and own.data) != seen:
                problems.append("a transaction is not whole: %s counted %r, the hash of all has %r" % (
                    name, own and own.data, seen))
        return problems

    def close(self, keep):
        if self.server.running():
            self.server.kill()
        if keep:
            print("  kept: " + self.parent)
        else:
            shutil.rmtree(self.parent, ignore_errors=True)


def rounds_of(program, rng, fsync, rounds, keep):
    """Runs the rounds of one fsync mode: how many passed and failed."""
    passed = failed = 0
    totals = {}
    while passed + failed < rounds:
        run = Run(program, rng, fsync)
        good = True
        try:
            run.start()
            here = 0
            while good and here < ROUNDS_A_DIRECTORY and passed + failed < rounds:
                good = one_round(run, fsync, passed + failed)
                passed, failed, here = passed + good, failed + (not good), here + 1
        finally:
            run.close(keep and not good)
        for name, count in run.counters.items():
            totals[name] = totals.get(name, 0) + count
    print("fsync %s: %d of %d rounds; %s" % (fsync, passed, rounds, ", ".join(
        "%d %s" % (count, name) for name, count in totals.items())), flush=True)
    return passed, failed


def one_round(run, fsync, number):
    with_checkpoint = number % 2 == 1
    try:
        problems = run.round(with_checkpoint)
    except (AssertionError, Lost, NotStarted, OSError) as error:
        problems = ["%s: %s" % (type(error).__name__, error)]
    if not problems:
        return True
    print("FAIL  fsync %s, round %d, %s checkpoint:" % (fsync, number, "with" if with_checkpoint else "no"))
    for problem in problems[:5]:
        print("  " + problem.replace("\n", "\n  "), flush=True)
    return False


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--rounds", type=int, default=10, help="for each fsync mode")
    options.add_argument("--fsync", default=",".join(FSYNCS))
    options.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options.add_argument("--keep", action="store_true", help="keep the directory of a failed round")
    args = options.parse_args()
    print("seed %d" % args.seed, flush=True)
    rng = random.Random(args.seed)
    passed = failed = 0
    for fsync in args.fsync.split(","):
        more = rounds_of(args.ckv, rng, fsync, args.rounds, args.keep)
        passed, failed = passed + more[0], failed + more[1]
    print("%d passed, %d failed" % (passed, failed))
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
