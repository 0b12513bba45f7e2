#!/usr/bin/env python3
"""ha.py - shows a failover: a master, a slave and three of Debian's Sentinels on this machine, from the files beside it
(with free ports, in a temporary directory); clients write, the master is killed with -9, the slave takes its place,
the old master comes back as its slave.

Sentinel's own times are left as sentinel.conf has them; so it takes about half a minute until the old master is told
that it is a slave now. With --stay all go on running until Enter or Ctrl-C.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import shutil
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "ha"))
from cluster import ADMIN, NAME, PASSWORD, Client, Cluster, first_ack_after, have_sentinel  # noqa: E402
from nodes import wait_for  # noqa: E402

CLIENTS = 4
CLIENT_PAUSE_S = 0.001
LOAD_S = 2
SWITCH_S_MAX = 30
RETURN_S_MAX = 60


class Show:
    """Says what happens, with the seconds since the start."""

    def __init__(self):
        self.start = time.monotonic()

    def say(self, text, *values):
        print("%6.2f s  %s" % (time.monotonic() - self.start, text % values), flush=True)

    def who(self, cluster):
        for member in cluster.members:
            if not member.running():
                self.say("  ckv on port %d: not running", member.port)
                continue
            fields = member.info()
            more = ("its slaves: %s" % fields["connected_slaves"] if fields["role"] == "master" else
                    "of port %s, link %s" % (fields["master_port"], fields["master_link_status"]))
            self.say("  ckv on port %d: %s, %s, offset %d", member.port, fields["role"], more, member.offset())


def show_failover(show, cluster):
    """True: nothing that was acknowledged is lost, and there was no full sync."""
    old = cluster.master()
    new = cluster.other(old)
    clients = [Client(cluster, i, CLIENT_PAUSE_S) for i in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(LOAD_S)
    show.say("%d clients have %d writes acknowledged (ack slave)", CLIENTS, sum(len(c.acked) for c in clients))
    full = new.info("stats")["sync_full"]
    moment = time.monotonic()
    old.kill()
    show.say("kill -9 of the master on port %d", old.port)
    first = wait_for("the switch", lambda: first_ack_after(clients, moment, new.port), SWITCH_S_MAX)
    show.say("the first acknowledged write on the new master, port %d: %.2f s after the kill", new.port, first - moment)
    show.who(cluster)
    time.sleep(LOAD_S)
    old.start()
    show.say("the old master is started again; Sentinel will tell it that it is a slave now")
    wait_for("its return", lambda: old.is_linked() and new.info()["connected_slaves"] == "1", RETURN_S_MAX)
    for client in clients:
        client.end()
    wait_for("the same offset", lambda: old.offset() == new.offset())
    show.say("it is a slave")
    show.who(cluster)
    missing = sum(len(client.missing(new)) for client in clients)
    syncs = int(new.info("stats")["sync_full"]) - int(full)
    show.say("%d writes were acknowledged; missing on the new master: %d; full syncs: %d",
             sum(len(c.acked) for c in clients), missing, syncs)
    return missing == 0 and syncs == 0


def tell_how_to_connect(show, cluster):
    ports = ", ".join(str(sentinel.port) for sentinel in cluster.sentinels)
    show.say("Sentinels on ports %s; the master is named %s", ports, NAME)
    show.say("clients: AUTH %s; operators: AUTH %s", PASSWORD, ADMIN)


def run(program, stay):
    folder = tempfile.mkdtemp(prefix="ckv-ha-")
    show, cluster = Show(), Cluster(program, folder, hurried=False)
    try:
        cluster.start()
        show.say("started in %s", folder)
        tell_how_to_connect(show, cluster)
        show.who(cluster)
        good = show_failover(show, cluster)
        if stay:
            input("Enter ends it. ")
        return good
    except (EOFError, KeyboardInterrupt):
        return True
    finally:
        cluster.end()
        shutil.rmtree(folder)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--stay", action="store_true", help="go on running when all is shown")
    args = options.parse_args()
    if not have_sentinel():
        print("There is no redis-sentinel: apt-get install redis-sentinel", file=sys.stderr)
        return 2
    return 0 if run(args.ckv, args.stay) else 1


if __name__ == "__main__":
    sys.exit(main())
