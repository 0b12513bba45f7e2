"""upgradekill.py - live upgrades that go wrong: either process killed, or told to stop, at each step, programs that
can't take over, other versions; each with and without persistence. One process serves in the end, or none after the
death of the one that served; nothing that was answered is lost.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import itertools
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from nodes import wait_for  # noqa: E402
from upgrade import KEEPS_NOTHING, Peer, READY_S_MAX, Upgraded, bulk, encode, end_all  # noqa: E402

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
    """It does as long as any thread of it: until then its lock is held, though it may be called a zombie."""
    try:
        with open("/proc/%d/stat" % pid) as stat:
            state = stat.read().rsplit(")", 1)[1].split()[0]
        return state != "Z" or len(os.listdir("/proc/%d/task" % pid)) > 1
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


GOES_ON = "The upgrade failed, and this process goes on"


def settled(server, old, new, expected):
    """The processes that live when nothing changes any more: the old one may be about to end, until it says that it
    goes on."""
    end = time.monotonic() + READY_S_MAX
    while True:
        server.process.poll()
        found = tuple(name for name, pid in (("old", old), ("new", new)) if lives(pid))
        decided = found != ("old",) or GOES_ON in server.said()
        if (found in expected and decided) or time.monotonic() > end:
            return found
        time.sleep(0.005)


def refuse_second(server, why=b"another ckv is using it"):
    """The directory is locked."""
    other = subprocess.run([server.program, "--port", "0", "--dir", server.directory], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=READY_S_MAX)
    assert other.returncode == 1 and why in other.stdout, other.stdout


def check_counter(server, counter):
    value = int(server.call("GET", "counter").lstrip(b"$"))
    assert counter.acknowledged <= value <= counter.acknowledged + 1, (value, counter.acknowledged)


def check_started_anew(programs, directory, options, counter):
    """A server on what the last one has left."""
    server = Upgraded(programs.ckv, directory, options)
    if server.keeps():
        check_counter(server, counter)
    else:
        assert server.call("DBSIZE") == b":0" and sorted(os.listdir(directory)) == ["ckv.lock", "ckv.sock"]
    server.stop()


def interrupt(programs, server, plan, kind, when, victim, number):
    """An upgrade, with a signal in it. What the command said, and the ids of the two processes."""
    says = "old" if kind in OLD_SAYS else "new"
    with open(plan, "w") as to:
        to.write("%d %s %s %d" % (KINDS[kind], when, "self" if says == victim else "peer", number))
    asked = subprocess.run([programs.ckv, "upgrade", "--dir", server.directory], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=READY_S_MAX)
    end = time.monotonic() + READY_S_MAX
    while os.path.exists(plan):  # whoever has said the word may come to act on it when the other has answered
        assert time.monotonic() < end, "nothing was interrupted: %r" % asked.stdout
        time.sleep(0.005)
    with open(plan + ".new") as new:
        return asked, server.process.pid, int(new.read())


def kill_once(programs, top, kind, when, victim, options):
    directory, plan = os.path.join(top, "data"), os.path.join(top, "plan")
    os.mkdir(directory)
    env = dict(os.environ, LD_PRELOAD=programs.library, HANDFAULT=plan)
    server = Upgraded(programs.ckv, directory, options, env=env)
    half, counter = Peer(server), Counter(server)
    half.send(encode("SET", "half", "done")[:-4])
    counter.goes_on()
    asked, old, new = interrupt(programs, server, plan, kind, when, victim, signal.SIGKILL)
    expected = survivors(kind, when, victim)
    found = settled(server, old, new, expected)
    assert found in expected, "%s live, not %s\n%s" % (found, expected, server.said()[-2000:])
    if found:
        assert server.pid() == (old if found == ("old",) else new)
        counter.goes_on()
        half.send(encode("SET", "half", "done")[-4:])
        half.expect(b"+OK\r\n")
        refuse_second(server)
        os.unlink(os.path.join(directory, "ckv.lock"))  # the directory's own lock is passed on, too
        refuse_second(server, b"another process has locked it")
        if found == ("old",):
            assert asked.returncode == 1 and server.said().count(GOES_ON) == 1
            server.upgrade()
    counter.ending = True
    counter.join()
    if found:
        check_counter(server, counter)
        server.stop()
    check_started_anew(programs, directory, options, counter)


def stop_once(programs, top, kind, when, victim, options):
    """The old process, or the new one as soon as it's to serve, told to stop: the server does, in good order."""
    directory, plan = os.path.join(top, "data"), os.path.join(top, "plan")
    os.mkdir(directory)
    env = dict(os.environ, LD_PRELOAD=programs.library, HANDFAULT=plan)
    server = Upgraded(programs.ckv, directory, options, env=env)
    counter = Counter(server)
    counter.goes_on()
    asked, old, new = interrupt(programs, server, plan, kind, when, victim, signal.SIGTERM)
    if victim == "old" or list(KINDS).index(kind) >= list(KINDS).index("PREPARED"):
        server.ended(new)
    else:
        assert asked.returncode == 1 and server.pid() == old, asked.stdout
        counter.goes_on()
        server.stop()
    counter.ending = True
    counter.join()
    check_started_anew(programs, directory, options, counter)


def each_step(once, programs, top, options, skipped=()):
    for kind in KINDS:
        for when in ("before", "after"):
            for victim in ("old", "new"):
                if (kind, when, victim) in skipped:
                    continue
                with tempfile.TemporaryDirectory(dir=top) as own:
                    try:
                        once(programs, own, kind, when, victim, options)
                    except Exception as wrong:
                        raise AssertionError("%s, %s %s %s: %s" % (once.__name__, victim, when, kind, wrong)) from wrong
                    finally:
                        end_all(own)


def test_killed(programs, top, options):
    each_step(kill_once, programs, top, options)


def test_stopped(programs, top, options):
    """Not where it's open whether the process hears of it before it has ended, or serves."""
    each_step(stop_once, programs, top, options, (("SERVING", "after", "old"), ("SOCKETS", "after", "new")))


def test_shutdown(programs, top, options):
    """SHUTDOWN comes when the old process reads nothing any more: the new one does what it says."""
    directory, plan = os.path.join(top, "data"), os.path.join(top, "plan")
    os.mkdir(directory)
    server = Upgraded(programs.ckv, directory, options,
                      env=dict(os.environ, LD_PRELOAD=programs.library, HANDFAULT=plan))
    counter, operator, old = Counter(server), Peer(server, unix=True), server.pid()
    counter.goes_on()
    with open(plan, "w") as to:
        to.write("%d before self %d" % (KINDS["STATE"], signal.SIGSTOP))
    asked = subprocess.Popen([programs.ckv, "upgrade", "--dir", directory], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    os.waitpid(old, os.WUNTRACED)
    operator.send(encode("SHUTDOWN"))
    os.kill(old, signal.SIGCONT)
    asked.wait(READY_S_MAX)
    server.ended(int(STARTED.findall(server.said())[-1]))
    counter.ending = True
    counter.join()
    check_started_anew(programs, directory, options, counter)


def test_late(programs, top, options):
    """The new process says that it serves when the old one has waited too long, and is about to end it."""
    directory, plan = os.path.join(top, "data"), os.path.join(top, "plan")
    os.mkdir(directory)
    server = Upgraded(programs.ckv, directory, options,
                      env=dict(os.environ, LD_PRELOAD=programs.library, HANDFAULT=plan))
    counter, old = Counter(server), server.pid()
    counter.goes_on()
    with open(plan, "w") as to:
        to.write("%d before late 0" % KINDS["SERVING"])
    server.upgrade()
    wait_for("the old process' end", lambda: not lives(old) or GOES_ON in server.said())
    assert not lives(old) and server.pid() != old, server.said()[-2000:]
    counter.goes_on()
    counter.ending = True
    counter.join()
    check_counter(server, counter)
    server.stop()
    check_started_anew(programs, directory, options, counter)


def write_script(top, text):
    path = os.path.join(top, "script")
    with open(path, "w") as to:
        to.write("#!/bin/sh\n" + text + "\n")
    os.chmod(path, 0o755)
    return path


def test_cannot(programs, top, options):
    """Programs that can't take over."""
    directory, plan = os.path.join(top, "data"), os.path.join(top, "plan")
    os.mkdir(directory)
    server = Upgraded(programs.ckv, directory, options,
                      env=dict(os.environ, LD_PRELOAD=programs.library, HANDFAULT=plan))
    counter, before = Counter(server), server.pid()
    assert "signal 11" in server.upgrade(write_script(top, "kill -SEGV $$"), good=False)
    little = 12000 if options else 30000  # kB; without persistence it needs no threads
    said = server.upgrade(write_script(top, 'ulimit -v %d; exec %s "$@"' % (little, programs.ckv)), good=False)
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


def test_versions(programs, top, options):
    directory = os.path.join(top, "data")
    os.mkdir(directory)
    server = Upgraded(programs.ckv, directory, options)
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
    server = Upgraded(programs.format, directory, options)
    peer, before = Peer(server), server.pid()
    assert re.search(r"speaks hand-over format \d, and this one \(ckv [\d.]+\) format 99",
                     server.upgrade(programs.ckv, good=False))
    assert server.pid() == before
    if server.keeps():
        peer.ask(bulk(b"1"), "GET", "a")
    server.stop()


def fill(server, turn):
    """Keys of all kinds, small ones and such as checkpoints keep in pages of their own; changes them in later turns."""
    peer = Peer(server)
    for i in range(turn, 3000, turn + 1):
        peer.send(encode("SET", "key%d" % i, "value %d" % (i * turn)))
        peer.send(encode("HSET", "hash", "field%d" % i, "v" * (20 + turn)))
        peer.send(encode("ZADD", "zset", str(i * turn), "member%d" % i))
        peer.send(encode("RPUSH", "list", "element%d %d" % (i, turn) * 5))
        peer.send(encode("SADD", "set%d" % (i % 7), "m%d" % (i + turn)))
    peer.send(encode("SET", "large", os.urandom(3 << 20)) + encode("DEL", "set%d" % turn, "key%d" % turn))
    peer.send(encode("QUIT"))
    while peer.socket.recv(1 << 16):
        pass


def held(programs, server, plan, kind, when):
    """An upgrade whose new process does nothing from there on."""
    with open(plan, "w") as to:
        to.write("%d %s %d" % (KINDS[kind], when, signal.SIGSTOP))
    asked = subprocess.Popen([programs.ckv, "upgrade", "--dir", server.directory], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
    end = time.monotonic() + READY_S_MAX
    while os.path.exists(plan):
        assert time.monotonic() < end and asked.poll() is None, server.said()[-2000:]
        time.sleep(0.005)
    return asked


def check_unnoticed(server):
    """Nobody sees that there's a journal for the time of an upgrade."""
    assert server.info("persistence")["ckv_journal_enabled"] == "0"
    for words, answer in ((("BGSAVE",), b"-ERR Can't save: persistence is off"), (("WAIT", "1", "20"), b":0"),
                          (("PSYNC", "?", "-1"), b"-ERR replication needs the journal"),
                          (("BACKUP", "CREATE"), b"-ERR persistence is off"), (("UPGRADE",), b"-ERR an upgrade is in")):
        got = server.call(*words)
        assert got.startswith(answer), (words, got)


def test_aside(programs, top, options):
    """What keeps nothing on disk, when the disk isn't as it should be; and what lies there from other times."""
    directory, plan = os.path.join(top, "data"), os.path.join(top, "plan")
    os.mkdir(directory)
    server = Upgraded(programs.ckv, directory)
    server.call("SET", "kept", "1")
    server.stop()
    os.mkdir(os.path.join(directory, "upgrade.tmp"))
    before = set(os.listdir(directory))
    with open(os.path.join(directory, "upgrade.tmp", "MANIFEST"), "w") as to:
        to.write("what a killed process left")
    server = Upgraded(programs.ckv, directory, (*options, "--fsync", "always", "--ack", "slave"),
                      env=dict(os.environ, LD_PRELOAD=programs.library, HANDFAULT=plan))
    counter, old = Counter(server), server.pid()
    fill(server, 0)
    resource.prlimit(old, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    assert "File too large" in server.upgrade(good=False)  # the checkpoint
    resource.prlimit(old, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    asked = held(programs, server, plan, "BEGIN", "after peer")
    check_unnoticed(server)
    fill(server, 1)
    counter.goes_on()
    resource.prlimit(old, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    assert b"File too large" in asked.communicate(timeout=READY_S_MAX)[0]  # the journal
    counter.goes_on()
    resource.prlimit(old, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert server.pid() == old
    counter.ending = True
    counter.join()
    assert counter.lost is None, counter.lost
    for turn in (2, 3):
        fill(server, turn)
        digest = server.call("DEBUG", "DIGEST")
        server.upgrade()
        assert server.pid() != old and server.call("DEBUG", "DIGEST") == digest
    check_counter(server, counter)
    os.kill(server.pid(), signal.SIGTERM)
    server.process.wait()
    settled(server, old, int(STARTED.findall(server.said())[-1]), {()})
    assert set(os.listdir(directory)) == before - {"upgrade.tmp"}
    server = Upgraded(programs.ckv, directory)
    assert server.call("GET", "kept") == b"$1" and server.call("DBSIZE") == b":1"
    server.stop()


def change_history(change, master, slave):
    """The slave's, as it's promoted, or as its master begins another one; until it has followed."""
    before = slave.info("replication")["master_replid"]
    if change == "promoted":
        slave.call("SLAVEOF", "NO", "ONE")
    else:
        master.call("SLAVEOF", "127.0.0.1", str(slave.port))
        master.call("SLAVEOF", "NO", "ONE")
    wait_for("another history", lambda: slave.info("replication")["master_replid"] != before)


def test_history(programs, top, options):
    """A slave's history changes when the new process has read MANIFEST: it has another one started, and that serves."""
    plan, directories = os.path.join(top, "plan"), [os.path.join(top, name) for name in ("master", "slave")]
    for directory in directories:
        os.mkdir(directory)
    master = Upgraded(programs.ckv, directories[0], ("--admin-plane", "all"))
    slave = Upgraded(programs.ckv, directories[1], ("--admin-plane", "all", "--slaveof", "127.0.0.1", str(master.port)),
                     env=dict(os.environ, LD_PRELOAD=programs.library, HANDFAULT=plan))
    for change in ("followed", "followed", "promoted"):
        wait_for("a link", lambda: slave.info("replication")["master_link_status"] == "up")
        old = slave.pid()
        master.call("SET", "before", change)
        asked = held(programs, slave, plan, "LOADED", "before self")
        change_history(change, master, slave)
        (slave if change == "promoted" else master).call("SET", "behind", change)
        with open(plan + ".new") as new:
            stopped = int(new.read())
        if lives(stopped):
            os.kill(stopped, signal.SIGCONT)
        said = asked.communicate(timeout=READY_S_MAX)[0]
        assert asked.returncode == 0 and b"has taken over" in said, said
        assert slave.pid() not in (old, stopped)
    assert slave.info("replication")["role"] == "master" and slave.call("SET", "a", "1") == b"+OK"
    master.stop()
    slave.stop()


TESTS = (test_versions, test_cannot, test_killed, test_stopped, test_shutdown, test_late, test_aside, test_history)


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
    for test, options in itertools.product(TESTS, ((), KEEPS_NOTHING)):
        if programs.only not in test.__name__ or (test is test_aside and not options) or \
           (test is test_history and options):
            continue
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as top:
            try:
                test(programs, top, options)
            finally:
                end_all(top)
        print("%s%s: ok, %.1f s" % (test.__name__, " (persistence no)" if options else "", time.monotonic() - begun),
              flush=True)


if __name__ == "__main__":
    main()
