#!/usr/bin/env python3
"""sync.py - a full sync that ends at any of its file operations: by SIGKILL, or by a failing operation.

The slave, and the child that makes the new data for it, are ended (or their operation fails) at the n-th operation on
their data directory since SLAVEOF, n counting up until a sync comes to its end. After a start the slave has the data of
before, or the master's: all of it, never a mix; and once the link was up it has the master's. Without the checkpoint
that the sync made it doesn't start.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from model import read_state  # noqa: E402
from server import Lost, NotStarted, Server, checkpoint, info  # noqa: E402

SYNC_S_MAX = 20
OPERATIONS_MAX = 2000
DBS = (0, 3)


def fill(connection, name, count):
    for n in range(count):
        connection.call("SELECT", str(DBS[n % 2]))
        connection.call("SET", "%s:%d" % (name, n), name * 10)
        connection.call("RPUSH", "list:%d" % (n % 5), name + str(n))
        connection.call("HSET", "hash:%d" % (n % 3), "f%d" % n, name)
        connection.call("ZADD", "zset", str(n), name + str(n))


def contents(server):
    connection = server.connect()
    state = {place: value.data for place, value in read_state(connection, DBS).items()}
    connection.close()
    return state


class Sync:
    """A master, a slave's directory with older data, and the runs from it."""

    def __init__(self, args):
        self.args = args
        self.parent = os.path.realpath(tempfile.mkdtemp(prefix="ckv-sync-"))
        self.directory = os.path.join(self.parent, "slave")
        self.template = os.path.join(self.parent, "template")
        self.control = os.path.join(self.parent, "control")
        self.master = Server(args.ckv, os.path.join(self.parent, "master"), options=["--admin-plane", "all"])
        self.master.start()
        fill(self.master.connect(), "new", 60)
        self.new = contents(self.master)
        old = Server(args.ckv, self.template)
        old.start()
        fill(old.connect(), "old", 40)
        checkpoint(old.connect())
        fill(old.connect(), "late", 10)
        self.old = contents(old)
        old.kill()
        self.runs = self.problems = 0
        self.last = OPERATIONS_MAX  # operation of a sync that isn't disturbed

    def close(self):
        self.master.kill()
        shutil.rmtree(self.parent, ignore_errors=True)

    def follow(self, slave):
        """Sends SLAVEOF and waits: "up", "dead" or "failed"."""
        connection = slave.connect()
        open(self.control, "w").close()
        end = time.monotonic() + SYNC_S_MAX
        try:
            connection.call("SLAVEOF", "127.0.0.1", str(self.master.port))
            while time.monotonic() < end:
                fields = info(connection, "replication")
                if fields["master_link_status"] == "up":
                    return "up"
                if fields.get("ckv_sync_error"):
                    return "failed"
                time.sleep(0.01)
        except (Lost, OSError):
            return "dead" if slave.ended_within(5) else "stuck"
        finally:
            if os.path.exists(self.control):
                os.unlink(self.control)
            connection.close()
        return "stuck"

    def run(self, mode, number):
        """How it ended, and what is wrong or an empty text."""
        self.runs += 1
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(self.template, self.directory, ignore=shutil.ignore_patterns("ckv.sock", "ckv.lock"))
        env = {"LD_PRELOAD": os.path.abspath(self.args.library), "IOFAULT_DIR": self.directory,
               "IOFAULT_AT": str(number), "IOFAULT_MODE": mode, "IOFAULT_ERRNO": str(errno.ENOSPC),
               "IOFAULT_CONTROL": self.control}
        slave = Server(self.args.ckv, self.directory, env=env)
        slave.start()
        how = self.follow(slave)
        slave.kill()
        again = Server(self.args.ckv, self.directory)
        try:
            again.start()
            found = contents(again)
        except NotStarted as error:
            return how, "it doesn't start again: %s" % error
        finally:
            again.kill()
        if how == "stuck":
            return how, "neither synced, nor failed, nor ended: " + slave.said()[-1500:]
        if found == self.new or (found == self.old and how != "up"):
            return how, ""
        return how, "it has %d keys, which are neither the %d of before nor the master's %d" % (
            len(found), len(self.old), len(self.new))

    def run_all(self, mode, step):
        for number in range(1, OPERATIONS_MAX, step):
            how, wrong = self.run(mode, number)
            if wrong:
                self.problems += 1
                print("FAIL  %s at operation %d (%s): %s" % (mode, number, how, wrong), flush=True)
            # One that failed may have gone by: where the end is, is known from the kills.
            if how == "up" and (mode == "kill" or number > self.last):
                return number
        return OPERATIONS_MAX


def damaged(sync, directory):
    """What came from elsewhere is in the checkpoint alone: a start without it refuses, and so does ckv dump."""
    checkpoints = [name for name in os.listdir(directory) if name.startswith("checkpoint-")]
    for name in checkpoints:
        with open(os.path.join(directory, name), "r+b") as file:
            file.write(bytes(64))
    problems = []
    server = Server(sync.args.ckv, directory)
    try:
        server.start()
        problems.append("it starts without its checkpoint, and has %d keys" % len(contents(server)))
    except NotStarted as error:
        if error.status != 1 or "there's no other checkpoint" not in str(error):
            problems.append("without its checkpoint: %s" % error)
    finally:
        server.kill()
    dumped = subprocess.run([sync.args.ckv, "dump", directory], capture_output=True, check=False)
    if dumped.returncode == 0:
        problems.append("ckv dump gives %d bytes without the checkpoint" % len(dumped.stdout))
    return problems if checkpoints else ["there's no checkpoint"]


def without_checkpoint(sync):
    """After a full sync, and after an import."""
    shutil.rmtree(sync.directory, ignore_errors=True)
    slave = Server(sync.args.ckv, sync.directory)
    slave.start()
    how = sync.follow(slave)
    slave.kill()
    problems = ["a full sync: " + problem for problem in damaged(sync, sync.directory)] if how == "up" else [how]
    rdb, imported = os.path.join(sync.parent, "new.rdb"), os.path.join(sync.parent, "imported")
    os.mkdir(imported)
    for words in (("export", rdb, "--dir", sync.master.directory), ("import", rdb, "--dir", imported)):
        subprocess.run([sync.args.ckv, *words], check=True, capture_output=True)
    problems += ["an import: " + problem for problem in damaged(sync, imported)]
    for problem in problems:
        print("FAIL  " + problem)
    sync.runs += 2
    sync.problems += len(problems)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--library", default="build/iofault.so", metavar="PATH", help="iofault.so")
    options.add_argument("--step", type=int, default=1, help="try every STEP-th operation")
    args = options.parse_args()
    sync = Sync(args)
    try:
        sync.last = sync.run_all("kill", args.step)
        sync.run_all("once", args.step)
        without_checkpoint(sync)
    finally:
        sync.close()
    print("a full sync is about %d operations; %d runs" % (sync.last, sync.runs))
    print("%d passed, %d failed" % (sync.runs - sync.problems, sync.problems))
    return sync.problems != 0


if __name__ == "__main__":
    sys.exit(main())
