#!/usr/bin/env python3
"""run.py - run real client libraries against ckv, each doing what an application does.

  tests/clients/run.py [--ckv build/ckv] [--build build] [--results DIR] [--check|--write README] [CLIENT...]
  tests/clients/run.py --list

Every client's script runs twice, against a server with a password and against one without, each with a fresh server of
its own. The npm clients are installed into BUILD/clients/node by `npm ci`, again only when the lock file changed.
--results writes DIR/clients.tsv for the report; --write writes the table in README, --check checks that it says what
this run saw. A client that cannot be run here is skipped, with the reason.

The last line is `N passed, N failed, N skipped`, one for each check of a script. Exit status 0: all passed, 1:
something failed, 2: could not run.

Protocol. A script is started with CKV_PORT, CKV_SOCKET (the operator's), CKV_PASSWORD ("" if none is set) and CKV_ADMIN
(the admin password). It prints lines and reads one line, `go`, as the answer to each:

  version TEXT             the version of the library, first
  ok CHECKS NAME           a check passed, with so many assertions in it
  not ok CHECKS NAME: WHY  it failed
  skip NAME: WHY           this version of the client cannot do it
  kill                     kill the server (SIGKILL); answered when it is dead
  start                    start it again on the same port; answered when it listens

and exits with status 0 after a graceful quit. Between two lines nothing runs, so the server's own counters tell which
commands a check really sent.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import installed
import table
from server import Server

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT_S_MAX = 90
PLANES = (("password", "crs-clients:S3cret+word"), ("no password", ""))


class Run:
    """One client's script against one server: its rows, the version it says."""

    def __init__(self, client, plane, password, options):
        self.client = client
        self.plane = plane
        self.rows = []
        self.version = ""
        self.scratch = tempfile.mkdtemp(prefix="ckv-clients-")
        self.server = Server(options.ckv, self.scratch, password)
        self.last = time.monotonic()

    def row(self, name, status, checks, detail):
        now = time.monotonic()
        commands = self.server.commands_run() if self.server.running() else []
        self.rows.append(table.Row(self.client, "%s (%s)" % (name, self.plane), status, checks, now - self.last,
                                     commands, detail))
        if status != "passed":
            print("%s  %s: %s (%s): %s" % ("FAIL" if status == "failed" else "skip", self.client.title, name,
                                           self.plane, detail), flush=True)
        self.last = time.monotonic()

    def obey(self, line):
        """Does what one line of the script asks."""
        word, _, rest = line.partition(" ")
        if word == "version":
            self.version = rest
        elif word == "ok":
            checks, _, name = rest.partition(" ")
            self.row(name, "passed", int(checks), "")
        elif line.startswith("not ok "):
            checks, _, named = rest.partition(" ")[2].partition(" ")
            name, _, why = named.partition(": ")
            self.row(name, "failed", int(checks), why)
        elif word == "skip":
            name, _, why = rest.partition(": ")
            self.row(name, "skipped", 0, why)
        elif line == "kill":
            self.server.kill()
        elif line == "start":
            self.server.start()
        else:
            return False
        return True

    def talk(self, script, said):
        for line in script.stdout:
            line = line.decode(errors="replace").rstrip("\n")
            if self.obey(line):
                try:
                    script.stdin.write(b"go\n")
                    script.stdin.flush()
                except BrokenPipeError:
                    return
            else:
                said.append(line)

    def run(self):
        environment = dict(os.environ, CKV_PORT=str(self.server.port), CKV_SOCKET=self.server.socket,
                           CKV_PASSWORD=self.server.password, CKV_ADMIN=self.server.admin_password,
                           **self.client.environment)
        self.server.start()
        said = []
        with open(os.path.join(self.scratch, "stderr"), "w+", errors="replace") as stderr:
            script = subprocess.Popen(self.client.command, env=environment, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=stderr, start_new_session=True)
            late = threading.Timer(CLIENT_S_MAX, lambda: os.killpg(script.pid, signal.SIGKILL))
            late.start()
            self.talk(script, said)
            status = script.wait()
            late.cancel()
            stderr.seek(0)
            said += stderr.read().splitlines()
        why = "; ".join(said)[-2000:]
        self.row("the script ends", "failed" if status else "passed", 1, "exit status %d: %s" % (status, why)
                 if status else "")
        fault = self.server.stop()
        self.row("the server stops", "failed" if fault else "passed", 1, fault)
        shutil.rmtree(self.scratch)


def run_client(client, options):
    """The rows of a client, from both servers."""
    if client.missing:
        print("skip  %s was NOT RUN: %s" % (client.title, client.missing), flush=True)
        return [table.Row(client, "not run", "skipped", 0, 0, [], client.missing)]
    rows = []
    for plane, password in PLANES:
        run = Run(client, plane, password, options)
        run.run()
        client.version = run.version or client.version
        rows += run.rows
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckv", default="build/ckv", help="the server (%(default)s)")
    parser.add_argument("--build", default="build", help="the build directory (%(default)s)")
    parser.add_argument("--results", metavar="DIR", help="where to write clients.tsv")
    parser.add_argument("--check", metavar="README", help="check the table in this file against this run")
    parser.add_argument("--write", metavar="README", help="write it")
    parser.add_argument("--list", action="store_true", help="list the clients and whether they can be run here")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help="only these (such as ioredis5); all")
    options = parser.parse_args()
    clients = installed.clients(HERE, options.build, options.clients)
    if options.list:
        for client in clients:
            print("%-16s %s" % (client.name, client.missing or "can be run"))
        return 0
    if not clients:
        print("no such client; --list names them", file=sys.stderr)
        return 2
    if not os.access(options.ckv, os.X_OK):
        print("%s is missing: build it with `make`" % options.ckv, file=sys.stderr)
        return 2
    rows = []
    for client in clients:
        start = time.monotonic()
        found = run_client(client, options)
        rows += found
        print("%-28s %3d checks, %5.1f s" % (client.group(), sum(row.checks for row in found),
                                            time.monotonic() - start), flush=True)
    if options.write:
        table.write(options.write, rows)
    if options.check:
        rows += table.check(options.check, rows)
    if options.results:
        table.results.write(options.results, "clients", [row.result() for row in rows])
    counts = [sum(row.status == status for row in rows) for status in ("passed", "failed", "skipped")]
    print("%d passed, %d failed, %d skipped" % tuple(counts))
    return 1 if counts[1] else 0


if __name__ == "__main__":
    sys.exit(main())
