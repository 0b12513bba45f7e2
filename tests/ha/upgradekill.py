"""upgradekill.py - live upgrades that go wrong: either process killed at each step, programs that can't take over,
other versions. One process serves in the end, or none after the death of the one that served; nothing that was
answered is lost.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from upgrade import Peer, READY_S_MAX, Upgraded, bulk, encode, end_all  # noqa: E402

KINDS = {"HELLO": 1, "BEGIN": 3, "LOADED": 5, "FOLLOW": 6, "STATE": 7, "SOCKETS": 8, "PREPARED": 9, "COMMIT": 10,
         "SERVING": 11}
OLD_SAYS = ("BEGIN", "FOLLOW", "STATE", "SOCKETS", "COMMIT")
STARTED = re.compile(r"is started as process (\d+)")


class Counter(threading.Thread):
    """INCR, one after the other; knows the last answer, and whether its connection lives."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.peer, self.acknowledged, self.ending, self.lost = Peer(server), 0, False, None
        self.start()

    def run(self):
        try:
            while not self.ending:
                self.peer.ask(b":%d\r\n" % (self.acknowledged + 1), "INCR", "counter")
                self.acknowledged += 1
        except (AssertionError, OSError) as lost:
            self.lost = lost

    def goes_on(self):
        before, end = self.acknowledged, time.monotonic() + READY_S_MAX
        while self.acknowledged < before + 10:
            assert self.lost is None, "the connection is lost: %s" % self.lost
            assert time.monotonic() < end, "no answer"
            time.sleep(0.001)


def lives(pid):
    try:
        with open("/proc/%d/stat" % pid) as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def survivors(kind, when, victim):
    """Which of the two may live in the end."""
    at = list(KINDS).index(kind)
    prepared, serving = list(KINDS).index("PREPARED"), list(KINDS).index("SERVING")
    if victim == "old":
        passed = at >= prepared or (kind, when) == ("SOCKETS", "after")
        return {("new",)} if passed else {()}
    if at < serving and (kind, when) != ("COMMIT", "after"):
        return {("old",)}
    if (kind, when) == ("SERVING", "before"):
        return {("old",)}
    return {("old",), ()} if kind == "COMMIT" else {()}  # it may have said SERVING before it died


def settled(server, old, new, expected):
    """The processes that live when nothing changes any more."""
    end = time.monotonic() + READY_S_MAX
    while True:
        server.process.poll()
        found = tuple(name for name, pid in (("old", old), ("new", new)) if lives(pid))
        if found in expected or time.monotonic() > end:
            return found
        time.sleep(0.005)


def refuse_second(server):
    """The directory is locked."""
    other = subprocess.run([server.program, "--port", "0", "--dir", server.directory], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=READY_S_MAX)
    assert other.returncode == 1 and b"another ckv is using it" in other.stdout, other.stdout


def check_counter(server, counter):
    value = int(server.call("GET", "counter").lstrip(b"$"))
    assert counter.acknowledged <= value <= counter.acknowledged + 1, (value, counter.acknowledged)


def kill_once(programs, top, kind, when, victim):
    directory, plan = os.path.join(top, "data"), os.path.join(top, "plan")
    os.mkdir(directory)
    env = dict(os.environ, LD_PRELOAD=programs.library, HANDFAULT=plan)
    server = Upgraded(programs.ckv, directory, env=env)
    half, counter = Peer(server), Counter(server)
    half.send(encode("SET", "half", "done")[:-4])
    counter.goes_on()
    says = "old" if kind in OLD_SAYS else "new"
    with open(plan, "w") as to:
        to.write("%d %s %s %d" % (KINDS[kind], when, "self" if says == victim else "peer", signal.SIGKILL))
    asked = subprocess.run([programs.ckv, "upgrade", "--dir", directory], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=READY_S_MAX)
    assert not os.path.exists(plan), "nothing was killed: %r" % asked.stdout
    old, new = server.process.pid, int(STARTED.findall(server.said())[-1])
    expected = survivors(kind, when, victim)
    found = settled(server, old, new, expected)
    assert found in expected, "%s live, not %s\n%s" % (found, expected, server.said()[-2000:])
    if found:
        assert server.pid() == (old if found == ("old",) else new)
        counter.goes_on()
        half.send(encode("SET", "half", "done")[-4:])
        half.expect(b"+OK\r\n")
        refuse_second(server)
        if found == ("old",):
            assert asked.returncode == 1 and server.said().count("The upgrade failed, and this process goes on") == 1
            server.upgrade()
    counter.ending = True
    counter.join()
    if not found:
        server = Upgraded(programs.ckv, directory)
    check_counter(server, counter)
    server.stop()


def test_killed(programs, top):
    for kind in KINDS:
        for when in ("before", "after"):
            for victim in ("old", "new"):
                with tempfile.TemporaryDirectory(dir=top) as own:
                    try:
                        kill_once(programs, own, kind, when, victim)
                    except Exception as wrong:
                        raise AssertionError("%s killed %s %s: %s" % (victim, when, kind, wrong)) from wrong
                    finally:
                        end_all(own)


def write_script(top, text):
    path = os.path.join(top, "script")
    with open(path, "w") as to:
        to.write("#!/bin/sh\n" + text + "\n")
    os.chmod(path, 0o755)
    return path


def test_cannot(programs, top):
    """Programs that can't take over."""
    directory, plan = os.path.join(top, "data"), os.path.join(top, "plan")
    os.mkdir(directory)
    server = Upgraded(programs.ckv, directory, env=dict(os.environ, LD_PRELOAD=programs.library, HANDFAULT=plan))
    counter, before = Counter(server), server.pid()
    assert "signal 11" in server.upgrade(write_script(top, "kill -SEGV $$"), good=False)
    said = server.upgrade(write_script(top, 'ulimit -v 30000; exec %s "$@"' % programs.ckv), good=False)
    assert "the upgrade failed, and this process goes on" in said, said
    print("    without memory: " + said.strip())
    assert "can't be started" in server.upgrade(directory, good=False)
    with open(plan, "w") as to:
        to.write("%d before self %d" % (KINDS["PREPARED"], signal.SIGSTOP))
    assert "took more than" in server.upgrade(good=False)
    assert not os.path.exists(plan) and server.pid() == before
    counter.goes_on()
    counter.ending = True
    counter.join()
    check_counter(server, counter)
    server.stop()


def test_versions(programs, top):
    directory = os.path.join(top, "data")
    os.mkdir(directory)
    server = Upgraded(programs.ckv, directory)
    counter, peer = Counter(server), Peer(server)
    peer.ask(b"+OK\r\n", "SET", "a", "1")
    said = server.upgrade(programs.next)
    assert re.search(r"ckv 9\.9\.9, process \d+, has taken over from ckv (?!9\.9\.9)", said), said
    assert re.search(r"has taken over from ckv 9\.9\.9", server.upgrade(programs.ckv))
    before = server.pid()
    assert re.search(r"\(ckv [\d.]+\) speaks hand-over format 99, and this one \(ckv [\d.]+\) format \d",
                     server.upgrade(programs.format, good=False))
    assert server.pid() == before
    peer.ask(bulk(b"1"), "GET", "a")
    counter.goes_on()
    counter.ending = True
    counter.join()
    server.stop()
    server = Upgraded(programs.format, directory)
    peer, before = Peer(server), server.pid()
    assert re.search(r"speaks hand-over format \d, and this one \(ckv [\d.]+\) format 99",
                     server.upgrade(programs.ckv, good=False))
    assert server.pid() == before
    peer.ask(bulk(b"1"), "GET", "a")
    server.stop()


TESTS = (test_versions, test_cannot, test_killed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ckv", required=True)
    parser.add_argument("--next", required=True, help="a ckv of another version")
    parser.add_argument("--format", required=True, help="a ckv with another hand-over format")
    parser.add_argument("--library", required=True, help="handfault.so")
    parser.add_argument("--only", default="")
    programs = parser.parse_args()
    for name in ("ckv", "next", "format", "library"):
        setattr(programs, name, os.path.abspath(getattr(programs, name)))
    for test in TESTS:
        if programs.only not in test.__name__:
            continue
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as top:
            try:
                test(programs, top)
            finally:
                end_all(top)
        print("%s: ok, %.1f s" % (test.__name__, time.monotonic() - begun), flush=True)


if __name__ == "__main__":
    main()
