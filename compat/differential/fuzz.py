#!/usr/bin/env python3
"""fuzz.py - sends the same random commands to another Redis and to ckv, and compares every reply and all data.

  compat/differential/fuzz.py                               100,000 steps of seed 1 against redis-server
  compat/differential/fuzz.py --steps 1000000 --seeds 10    the same million steps every time
  compat/differential/fuzz.py --oracle '/opt/redis-3.2.13/redis-server --port %p --save ""'
  compat/differential/fuzz.py --replay build/differential-1-7.steps

Both servers are started here, on free ports, and stopped; --oracle names the other server's command line (%p: its port,
%d: a directory). Its version decides which lines of changes.tsv hold: there are lines for 7.0 and for 3.2. A failure
prints its seed and steps, is made as short as possible, and left as a file that --replay takes.

The last line is `N passed, N failed, N skipped`, where a command counts as one test, and so do all datasets together.
Exit status: 0 no difference, 1 a difference, 2 could not run.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import itertools
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))

import results
from changes import Changes
from families import FAMILY_OF
from resp import quote
from servers import CKV_ARGS, ORACLE_DEFAULT, CannotRun, Server
from session import Failure, Session
from shrink import read_steps, shrink, write_steps
from stream import expiring_steps, steps_of

ROUND_STEPS = 5000
EXPIRY_WAITS = 4
LONG_RUN_STEPS = 1000000  # after so many, a line of the table that never fired is told of
VERSIONS = ("3.2.", "7.0.")
HISTORY_MAX = 12


class Result:
    """What was compared, and the failures."""

    def __init__(self):
        self.compared = Counter()
        self.datasets = 0
        self.avoided = 0
        self.seconds = 0.0
        self.fired = Counter()
        self.failures = []  # (command's name or "datasets", text)

    def add(self, other):
        self.compared += other.compared
        self.datasets += other.datasets
        self.avoided += other.avoided
        self.fired += other.fired
        self.failures += other.failures


def rounds_of(seed):
    """Names and steps of a seed's rounds: one with short deadlines, then as many others as are asked for."""
    name = "%d/expiry" % seed
    yield name, expiring_steps(name, EXPIRY_WAITS)
    for number in itertools.count():
        name = "%d/%d" % (seed, number)
        yield name, steps_of(name, ROUND_STEPS)


def run_seed(options, seed, steps):
    """Rounds of one seed until `steps` are compared, or as many do not get through, on servers of their own."""
    result = Result()
    started = []
    try:
        started.append(Server(options.oracle))
        started.append(Server("%s %s" % (options.ckv, CKV_ARGS)))
        changes = Changes(started[0].version)
        session = Session([server.port for server in started], changes)
        for name, made in itertools.islice(rounds_of(seed), 2 + 2 * steps // ROUND_STEPS):
            if session.compared.total() >= steps or not run_round(options, session, name, made, result):
                break
        session.close()
        result.compared += session.compared
        result.datasets, result.avoided = session.datasets, session.avoided
        for change in changes.lines:
            result.fired[change.number] += change.fired
    finally:
        for server in reversed(started):
            said = server.stop()
            if said:
                result.failures.append(("server", "seed %d: %s" % (seed, said)))
    return result


def run_round(options, session, name, steps, result):
    """One round; False when the servers are not fit for another."""
    try:
        session.reset()
        session.run(steps)
        return True
    except Failure as failure:
        command = failure.command
        known = command and not isinstance(command, bytes) and isinstance(command[0], bytes)
        title = command[0].lower().decode("latin-1") if known else "datasets"
        text = "round %s, step %d: %s" % (name, failure.at, failure.text)
        text += "\n" + history(steps, failure)
        result.failures.append((title, text + shortened(options, session, name, steps, failure)))
        return True
    except OSError as error:
        result.failures.append(("server", "round %s: %s" % (name, error)))
        return False


def shortened(options, session, name, steps, failure):
    """Makes the failing steps few, keeps them as a file, and tells about both."""
    try:
        few, found = shrink(session, steps, failure)
    except OSError as error:
        return "  the server is gone: %s\n" % error
    path = os.path.join(options.failures, "differential-%s.steps" % name.replace("/", "-"))
    os.makedirs(options.failures, exist_ok=True)
    write_steps(path, few, ["round " + name, (found or failure).text])
    text = "  shortest, %d steps:\n" % len(few) if found else "  it did not fail again, with all steps:\n"
    for number, args in few[-HISTORY_MAX:]:
        text += "    %d %s\n" % (number, " ".join(map(quote, args))[:400])
    if found:
        text += "  %s\n" % found.text
    return text + "  again: compat/differential/fuzz.py --replay %s --oracle %s\n" % (path, quote(
        options.oracle.encode()))


def history(steps, failure):
    """The last steps before a failure that are about its key, or on its connection."""
    number = steps[failure.at][0]
    keys = {failure.command} if isinstance(failure.command, bytes) else set(steps[failure.at][1][1:2])
    said = []
    for at in range(failure.at, -1, -1):
        if len(said) < HISTORY_MAX and (keys & set(steps[at][1][1:]) or at > failure.at - 3 and steps[at][0] == number):
            said.append("  %6d  %d %s" % (at, steps[at][0], " ".join(map(quote, steps[at][1]))[:200]))
    return "\n".join(reversed(said)) + "\n"


def replay(options):
    """The steps of a file, once, on new servers."""
    started = []
    try:
        started.append(Server(options.oracle))
        started.append(Server("%s %s" % (options.ckv, CKV_ARGS)))
        session = Session([server.port for server in started], Changes(started[0].version))
        session.run(read_steps(options.replay))
        print("no difference in %d steps" % session.compared.total())
        return 0
    except Failure as failure:
        print("step %s: %s" % (failure.at, failure.text))
        return 1
    finally:
        for server in reversed(started):
            server.stop()


def report(options, version, total):
    """Prints the outcome and writes the results' table; gives the exit status."""
    failed = {name for name, _ in total.failures}
    rows = []
    for name, steps in sorted((name.decode("latin-1"), n) for name, n in total.compared.items()):
        if name in FAMILY_OF:
            rows.append((FAMILY_OF[name], name, steps, name))
    rows.append(("dataset", "datasets", total.datasets, ""))
    if "server" in failed:
        rows.append(("dataset", "server", 1, ""))
    known = {row[1] for row in rows}
    rows += [("other", name, 1, "") for name in sorted(failed - known)]
    if options.results:
        write_results(options.results, rows, total)
    for change in Changes(version).lines if total.compared.total() >= LONG_RUN_STEPS else ():
        if not total.fired[change.number] and change.kind in ("answer", "rule"):
            print("unused: changes.tsv:%d: %s (%s)" % (change.number, change.command, change.why))
    print("%d steps, %d datasets compared with Redis %s in %.0f s; %d steps not sent (changes.tsv: avoid)" % (
        total.compared.total(), total.datasets, version, total.seconds, total.avoided))
    print("%d passed, %d failed, 0 skipped" % (len(rows) - len(failed), len(failed)))
    return 1 if failed else 0


def write_results(folder, rows, total):
    texts = {}
    for name, text in total.failures:
        texts.setdefault(name, text)
    results.write(folder, "differential", [
        results.Row("differential", group, name, "refused" if group == "refused" else "run",
                    "failed" if name in texts else "passed", checks, 0.0, commands, texts.get(name, ""))
        for group, name, checks, commands in rows])


def oracle_version(options):
    server = Server(options.oracle)
    server.stop()
    return server.version


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckv", default="build/ckv", help="the server to test")
    parser.add_argument("--oracle", default=ORACLE_DEFAULT, help="the other server's command line")
    parser.add_argument("--steps", type=int, default=100000, help="steps of all seeds together")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="seeds at a time")
    parser.add_argument("--results", metavar="DIR", help="write DIR/differential.tsv")
    parser.add_argument("--failures", metavar="DIR", default="build", help="where failing steps are kept")
    parser.add_argument("--replay", metavar="FILE", help="run the steps of a file instead")
    return parser.parse_args()


def main():
    options = parse_options()
    try:
        if options.replay:
            return replay(options)
        version = oracle_version(options)
        if not version.startswith(VERSIONS):
            print("SKIPPED: the differential tests. %s is version %s, and the known changes (changes.tsv) are those of "
                  "%s" % (options.oracle.split()[0], version, " and ".join(v + "x" for v in VERSIONS)))
            print("0 passed, 0 failed, 1 skipped")
            return 0
        total, start = Result(), time.monotonic()
        share = -(-options.steps // options.seeds)
        print("seeds %d to %d, %d steps each" % (options.first_seed, options.first_seed + options.seeds - 1, share))
        with ProcessPoolExecutor(options.jobs) as pool:
            runs = [pool.submit(run_seed, options, options.first_seed + n, share) for n in range(options.seeds)]
            for run in as_completed(runs):
                result = run.result()
                for _, text in result.failures:
                    print("FAIL " + text, flush=True)
                total.add(result)
        total.seconds = time.monotonic() - start
        return report(options, version, total)
    except CannotRun as error:
        print("fuzz.py: %s" % error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
