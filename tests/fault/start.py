#!/usr/bin/env python3
"""start.py - starts servers on directories that are not as they left them: files of other times and of other instances,
missing segments, no permission to write, another server there. The start must give the right data or refuse with a
message that names what is wrong, and change nothing then.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from faults import Session, script  # noqa: E402
from flip import snapshot  # noqa: E402
from server import Lost, NotStarted, Server, checkpoint  # noqa: E402

SEGMENT_BYTES = "4096"
WRITES = "SET k:%(turn)d:%(n)d %(large)s\nRPUSH l:1 %(n)d\nHSET h:1 %(n)d %(name)s"


class Skip(Exception):
    """Why a test cannot run here."""


class Fail(Exception):
    """What is wrong."""


def need(condition, text):
    if not condition:
        raise Fail(text)


class Instance:
    """A directory with two checkpoints and several segments; `old` is a copy of its first checkpoint's time."""

    def __init__(self, ckv, parent, name):
        self.ckv, self.name = ckv, name
        self.directory = os.path.join(parent, name)
        self.old = self.directory + ".old"
        self.server = Server(ckv, self.directory, "always", ("--journal-segment-bytes", SEGMENT_BYTES))
        self.session = Session()
        self.fill()

    def fill(self):
        self.server.start()
        self.session.connect(self.server)
        for turn in range(4):
            for n in range(12):
                for step in script(WRITES, turn=turn, name=self.name, n=n, large="x" * 300):
                    need(self.session.send(step) is None, "a write is refused")
            if turn < 3:
                need(not checkpoint(self.session.connection), "no checkpoint")
            if turn == 0:
                shutil.copytree(self.directory, self.old, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
        self.server.kill()

    def path(self, name):
        return os.path.join(self.directory, name)

    def checkpoints(self):
        return sorted(name for name in os.listdir(self.directory) if name.endswith(".gdbm"))

    def segments(self):
        return sorted("journal/" + name for name in os.listdir(self.path("journal")) if name.endswith(".ckj"))

    def right(self, about):
        """The start gives the right data."""
        try:
            self.server.start()
        except NotStarted as error:
            raise Fail("%s: refused: %s" % (about, error)) from error
        problem = self.session.check(self.server)
        self.server.kill()
        need(not problem, "%s: %s" % (about, problem))

    def refused(self, about, *words):
        """The start is refused with a message that has all the words, and changes nothing."""
        before = snapshot(self.directory)
        try:
            self.server.start()
        except NotStarted as error:
            need(error.status == 1, "%s: %s" % (about, error))
            for word in words:
                need(word in error.said, "%s: the refusal does not say \"%s\": %s" % (about, word, error.said))
            need(snapshot(self.directory) == before, about + ": a refused start changed the directory")
            return
        problem = self.session.check(self.server)
        self.server.kill()
        raise Fail("%s: it starts, with %s" % (about, "other data: " + problem if problem else "the right data"))

    def right_or_refused(self, about):
        try:
            self.server.start()
        except NotStarted as error:
            need(error.status == 1 and error.said.strip(), "%s: %s" % (about, error))
            return
        problem = self.session.check(self.server)
        self.server.kill()
        need(not problem, "%s: it starts with other data: %s" % (about, problem))


def test_untouched(one, _):
    one.right("untouched")


def test_old_checkpoint(one, _):
    """A checkpoint file as it was some checkpoints ago under a newer MANIFEST."""
    for name in one.checkpoints():
        if os.path.exists(os.path.join(one.old, name)):
            shutil.copy(os.path.join(one.old, name), one.path(name))
            one.right_or_refused("an old " + name)


def test_old_manifest(one, _):
    shutil.copy(os.path.join(one.old, "MANIFEST"), one.path("MANIFEST"))
    one.right_or_refused("an old MANIFEST")


def test_swapped_checkpoints(one, _):
    a, b = [one.path(name) for name in one.checkpoints()]
    os.rename(a, a + ".aside")
    os.rename(b, a)
    os.rename(a + ".aside", b)
    one.right_or_refused("checkpoint files in each other's place")


def test_foreign_checkpoint(one, other):
    for name in one.checkpoints():
        shutil.copy(other.path(name), one.path(name))
        one.right_or_refused("another instance's " + name)


def test_foreign_manifest(one, other):
    shutil.copy(other.path("MANIFEST"), one.path("MANIFEST"))
    one.right_or_refused("another instance's MANIFEST")


def test_foreign_segment(one, other):
    name = one.segments()[-1]
    shutil.copy(other.path(other.segments()[-1]), one.path(name))
    one.refused("another instance's segment", name)


def test_missing_segment(one, _):
    """One that the newest checkpoint needs, with others behind it."""
    segments = one.segments()
    need(len(segments) > 2, "too few segments for this test")
    os.unlink(one.path(segments[-2]))
    one.refused("a missing segment", "journal")


def remove_last_segments(one):
    """One after the other. The first is the one that the segment before it speaks of; later it may be a checkpoint that
    misses what follows it."""
    segments = one.segments()
    for at in range(len(segments) - 1, 0, -1):
        os.unlink(one.path(segments[at]))
        first = segments[at:] if at == len(segments) - 1 else ()
        one.refused("the last %d segments missing" % (len(segments) - at), *first, "is missing", "--repair")


def test_missing_last_segments(one, _):
    """Of a server that was killed: the segments that were finished say that others follow."""
    remove_last_segments(one)


def test_missing_last_segments_after_a_stop(one, _):
    one.server.start()
    need(one.server.stop() == 0, "the server doesn't stop")
    remove_last_segments(one)


def test_missing_journal(one, _):
    shutil.rmtree(one.path("journal"))
    one.refused("no journal", "journal")


def test_misnamed_segment(one, _):
    name = one.segments()[-1]
    os.rename(one.path(name), one.path("journal/%020d.ckj" % 12345678901))
    one.refused("a segment under another's name", "journal/")


def test_strange_files(one, _):
    for name in ("notes.txt", "checkpoint-c.gdbm", "journal/notes.txt", "MANIFEST.tmp", "checkpoint-a.gdbm.tmp"):
        with open(one.path(name), "w") as file:
            file.write("not CKV's\n")
    one.right_or_refused("strange files")


def test_two_servers(one, _):
    """The second is refused, the first goes on."""
    one.server.start()
    second = Server(one.ckv, one.directory, "always")
    second.log_path += ".second"
    second.path += ".none"
    second.launch()
    need(second.ended_within(10), "a second server starts on the same directory")
    status, said = second.process.returncode, second.said()
    second.kill()
    need(status == 1 and one.directory in said, "the second server's end: status %s: %s" % (status, said))
    problem = one.session.check(one.server)
    need(not problem, problem)


def test_directory_is_a_file(one, _):
    path = one.directory + ".file"
    with open(path, "w"):
        pass
    server = Server(one.ckv, os.path.join(path), "always")
    server.log_path = one.directory + ".log2"
    with open(server.log_path, "ab") as log:
        process = subprocess.Popen(server.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        status = process.wait(10)
    need(status == 1 and path in server.said(), "status %s: %s" % (status, server.said()))


def test_read_only(one, _):
    """A file system that may not be written to."""
    done = subprocess.run(["mount", "--bind", one.directory, one.directory], stderr=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        raise Skip("nothing can be mounted here: " + done.stderr.strip())
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", one.directory], check=True)
        one.refused("a read-only directory", "Read-only file system")
    finally:
        one.server.kill()
        subprocess.run(["umount", "-l", one.directory], check=True)
    one.right("writable again")


def tests():
    return [value for name, value in globals().items() if name.startswith("test_")]


def run(test, ckv):
    """"passed", "failed" or "skipped"; prints it."""
    parent = os.path.realpath(tempfile.mkdtemp(prefix="ckv-start-"))
    instances = []
    outcome, said = "passed", ""
    try:
        for name in ("one", "other"):
            instances.append(Instance(ckv, parent, name))
        test(*instances)
    except Skip as skip:
        outcome, said = "skipped", str(skip)
    except (Fail, Lost, NotStarted, OSError, subprocess.TimeoutExpired) as error:
        outcome, said = "failed", "%s: %s" % (type(error).__name__, error)
    finally:
        for instance in instances:
            instance.server.kill()
        shutil.rmtree(parent, ignore_errors=True)
    words = {"passed": "ok  ", "failed": "FAIL", "skipped": "SKIP"}
    print("%s  %s%s" % (words[outcome], test.__name__[5:].replace("_", " "), said and ": " + said), flush=True)
    return outcome


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--only", default="", help="tests whose names have this text")
    args = options.parse_args()
    results = [run(test, args.ckv) for test in tests() if args.only in test.__name__]
    print("%d passed, %d failed, %d skipped" % tuple(map(results.count, ("passed", "failed", "skipped"))))
    return "failed" in results


if __name__ == "__main__":
    sys.exit(main())
