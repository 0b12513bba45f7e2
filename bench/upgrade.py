#!/usr/bin/env python3
"""upgrade.py - what a live upgrade costs: the longest wait of a client, the memory that both processes take, and
how long it lasts; with a small and a big dataset, while clients write. Beside it stands how long the machine kept a
process waiting that asks nobody: a wait that isn't longer says nothing of the upgrade. Writes a table in Markdown.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from subject import Subject  # noqa: E402

LOAD = ("--mix", "set", "--clients", 50, "--rate", 20000, "--seconds", 300)
SETTLES_S = 1
LOAD_STARTS_S = 3
POLL_S = 0.002
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid):
    try:
        with open("/proc/%d/statm" % pid) as statm:
            return int(statm.read().split()[1]) * PAGE
    except OSError:
        return 0


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as pids:
            return [int(child) for child in pids.read().split()]
    except OSError:
        return []


class Memory(threading.Thread):
    """The most that a process and its children have together."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.before, self.most, self.ending = pid, resident_bytes(pid), 0, False
        self.start()

    def run(self):
        while not self.ending:
            self.most = max(self.most, sum(map(resident_bytes, [self.pid, *children(self.pid)])))
            time.sleep(POLL_S)

    def end(self):
        self.ending = True
        self.join()
        return self.most / self.before


def server_pid(subject):
    return int(subject.info("server")["process_id"])


def upgrade_once(subject, pinger):
    """Milliseconds of the longest wait, and of the machine's own; times the memory; seconds."""
    pings = [subprocess.Popen([pinger, where, "300"], stdout=subprocess.PIPE, text=True)
             for where in (subject.pinged(), "-")]
    time.sleep(SETTLES_S)
    memory, begun = Memory(server_pid(subject)), time.monotonic()
    done = subprocess.run([subject.program, "upgrade", "--dir", subject.directory], capture_output=True, text=True,
                          check=False)
    took = time.monotonic() - begun
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    times = memory.end()
    time.sleep(SETTLES_S)
    for ping in pings:
        ping.terminate()
    wait_ms, own_ms = (int(ping.communicate()[0].split()[1]) / 1000 for ping in pings)
    print("    %s (wait %.1f ms, the machine's own %.1f ms)" % (done.stdout.strip(), wait_ms, own_ms), file=sys.stderr)
    return wait_ms, own_ms, times, took


def unpin(pid):
    """Two processes on one core would wait for each other."""
    for task in os.listdir("/proc/%d/task" % pid):
        os.sched_setaffinity(int(task), range(os.cpu_count()))


def measure(subject, pinger, keys, reps):
    subject.start()
    unpin(subject.process.pid)
    subject.fill(keys)
    while subject.in_progress():  # the one that so many writes are due
        time.sleep(POLL_S)
    subject.checkpoint()
    load = subprocess.Popen([subject.load, "--port", str(subject.port), "--keys", str(keys), *map(str, LOAD)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(LOAD_STARTS_S)
    try:
        found = [upgrade_once(subject, pinger) for _ in range(reps)]
        assert load.poll() is None, "the load has ended: a connection was lost"
    finally:
        load.kill()
        load.wait()
        os.kill(server_pid(subject), signal.SIGKILL)
        subject.stop()
    waits, owns, times, tooks = zip(*found)
    print("| %d | %.1f | %.1f | %.1f | %.1f | %.2f | %.1f |" % (keys, max(waits), statistics.median(waits), max(owns),
                                                                statistics.median(owns), max(times), max(tooks)),
          flush=True)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--build", default="build")
    options.add_argument("--quick", action="store_true", help="a hundredth of the keys")
    options.add_argument("--reps", type=int, default=5)
    args = options.parse_args()
    build = os.path.abspath(args.build)
    print("| keys | longest wait, ms | median of the upgrades', ms | the machine's own, ms | median, ms | "
          "memory of both, times one's | seconds |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as parent:
        subject = Subject(os.path.join(build, "ckv"), "ckv", parent, os.path.join(build, "load"))
        subject.command = lambda fsync, appendonly: [subject.program, "--port", str(subject.port), "--dir",
                                                     subject.directory, "--bind", "127.0.0.1"]
        for keys in (10000, 50000) if args.quick else (1000000, 5000000):
            measure(subject, os.path.join(build, "pinger"), keys, args.reps)


if __name__ == "__main__":
    main()
