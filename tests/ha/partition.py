#!/usr/bin/env python3
"""partition.py - a master is cut off from its slave and from the Sentinels by the network, with clients on its side:
with `ack slave` it acknowledges nothing more, while the slave, made master, does; when the network is back it follows.

The two sides are network namespaces joined by a pair of virtual links; root is needed for that, else the test is
skipped. A round is a test.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import ctypes
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cluster import SENTINELS, Client, Cluster, Member, Sentinel, first_ack_after, have_sentinel, log_end  # noqa: E402
from nodes import NotStarted, wait_for  # noqa: E402

CLIENTS = 3
CLIENT_PAUSE_S = 0.001
LOAD_S = 0.5
APART_S = 2
SWITCH_S_MAX = 30
NAMES = ["ckv-%d-%s" % (os.getpid(), side) for side in "ab"]
ADDRESSES = ["10.213.0.1", "10.213.0.2"]
CLONE_NEWNET = 0x40000000


def ip(*words):
    subprocess.run(["ip", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def make_network():
    """Two namespaces that see each other."""
    for name in NAMES:
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
    ip("-n", NAMES[0], "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", NAMES[1])
    for name, address in zip(NAMES, ADDRESSES):
        ip("-n", name, "address", "add", address + "/24", "dev", "wire")
        ip("-n", name, "link", "set", "wire", "up")


def remove_network():
    for name in NAMES:
        subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)


def join_side(side):
    """Puts the thread on a side: its sockets are made there, and so are those of the threads that it begins."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/run/netns/" + NAMES[side], "rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


class SidedMember(Member):
    """A ckv on a side."""

    def __init__(self, side, program, directory, name, master=None):
        super().__init__(program, directory, name, master, bind=ADDRESSES[side] + " 127.0.0.1")
        self.side = side

    def command(self):
        return ["ip", "netns", "exec", NAMES[self.side], *super().command()]


class SidedSentinel(Sentinel):
    """A Sentinel beside the slave."""

    def command(self):
        return ["ip", "netns", "exec", NAMES[1], *super().command()]


class SidedCluster(Cluster):
    """The master on one side, all others on the other."""

    def make(self, program, folder, extra):
        master = SidedMember(0, program, os.path.join(folder, "one"), "master.conf")
        address = ADDRESSES[0], master.port
        self.members = [master, SidedMember(1, program, os.path.join(folder, "two"), "slave.conf", address)]
        self.sentinels = [SidedSentinel(os.path.join(folder, "sentinel%d" % i), address, ADDRESSES[1] + " 127.0.0.1")
                          for i in range(1, SENTINELS + 1)]


class SidedClient(Client):
    """A client beside the master, which never hears of another."""

    def run(self):
        join_side(0)
        super().run()


def set_wire(state):
    ip("-n", NAMES[0], "link", "set", "wire", state)


def check(cluster, near, far, moment):
    """What there is to say after a partition that began at that moment."""
    old, new = cluster.members
    first = wait_for("an acknowledged write on the new master", lambda: first_ack_after(far, moment, new.port),
                     SWITCH_S_MAX)
    time.sleep(APART_S)
    late = [ack for client in near + far for ack in client.acked if ack[1] == old.port and ack[2] >= moment]
    assert not late, "the old master acknowledged %d writes while it was cut off" % len(late)
    assert any(client.errors for client in near), "its clients saw no error"
    set_wire("up")
    wait_for("the old master's return", cluster.is_calm)
    for client in near + far:
        client.end()
    cluster.await_calm()
    missing = sum(len(client.missing(new)) for client in near + far)
    assert missing == 0, "%d acknowledged writes are missing" % missing
    files = glob.glob(os.path.join(old.directory, "diverged-*"))
    return "%d ms, %d acknowledged, %d refused or unanswered on the side of the old master, %d file of what it had" % (
        (first - moment) * 1000, sum(len(client.acked) for client in near + far),
        sum(sum(client.errors.values()) for client in near), len(files))


def run_round(cluster):
    near = [SidedClient(cluster, i, CLIENT_PAUSE_S) for i in range(CLIENTS)]
    far = [Client(cluster, CLIENTS + i, CLIENT_PAUSE_S) for i in range(CLIENTS)]
    for client in near:
        client.pinned = "127.0.0.1", cluster.members[0].port
    for client in near + far:
        client.start()
    time.sleep(LOAD_S)
    set_wire("down")
    return check(cluster, near, far, time.monotonic())


def run(program):
    """Whether it passed; None: it can't be run here."""
    try:
        make_network()
        join_side(1)
    except (OSError, subprocess.CalledProcessError) as error:
        print("No network namespaces can be made here: %s" % error)
        return None
    folder = tempfile.mkdtemp(prefix="ckv-partition-")
    cluster = SidedCluster(program, folder)
    try:
        cluster.start()
        print("ok: cut off: " + run_round(cluster))
        passed = True
    except (AssertionError, NotStarted, OSError) as error:
        passed = False
        print("FAILED: %s; see %s" % (error, folder))
        for server in [*cluster.members, cluster.sentinels[0]]:
            print("== %s\n%s" % (server.directory, log_end(server)))
    reports = cluster.end()
    print(reports, end="")
    passed = passed and not reports
    if passed:
        shutil.rmtree(folder)
    return passed


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    args = options.parse_args()
    try:
        passed = run(os.path.abspath(args.ckv)) if have_sentinel() else None
    finally:
        remove_network()
    print("%d passed, %d failed, %d skipped" % (passed is True, passed is False, passed is None))
    return 1 if passed is False else 0


if __name__ == "__main__":
    sys.exit(main())
