#!/usr/bin/env python3
"""full.py - a full or failing disk under each kind of file: journal, checkpoint, backup, what a rollback makes.

While it lasts: an error says what failed and where, reads go on, nothing that was refused is done. When there is room
again, everything works within two seconds and without a restart; and after a kill and a start all that was acknowledged
is there. The full disk is a small tmpfs where this user may mount one, and also the fault layer (iofault.so), which
makes I/O errors too. Each scenario is a test.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import copy
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from faults import CHANGES, HEAL_S_MAX, Plan, Session, script  # noqa: E402
from server import Lost, NotStarted, Server, checkpoint, info, is_redis, make_backup, roll_back  # noqa: E402

DISK_MB = 48
WRITES_MAX = 8000
WRITES_S_MAX = 15
VALUE_BYTES = 10000
CHECKPOINT_S = 0.3  # it takes far less
ROOM = "create,write,allocate,truncate,mkdir"
BROKEN = "write,sync,allocate"
OPTIONS = ("--journal-segment-bytes", "1000000")

# What is mounted on the directory's parts (None: only the fault layer can do it), the one that gets full, and what a
# message must name.
PLACES = {
    "journal": {"mounts": ("journal",), "full": "journal", "match": "journal/", "names": "journal"},
    "checkpoint": {"mounts": ("", "journal"), "full": "", "match": "checkpoint,MANIFEST", "names": "checkpoint"},
    "backup": {"mounts": ("backups",), "full": "backups", "match": "backups/", "names": "backups"},
    # The state that a rollback builds, and the file by which it begins to put that in place.
    "rollback": {"mounts": ("",), "full": "", "match": "rollback.tmp", "names": "rollback.tmp"},
    "swap": {"mounts": None, "match": "ROLLBACK", "names": "ROLLBACK"},
}


class Tmpfs:
    """A small file system of its own under the place."""
    errors = ("No space left on device",)

    def __init__(self, directory, place):
        self.mounted = []
        self.env = None
        for part in PLACES[place]["mounts"]:
            self.mount(os.path.join(directory, part).rstrip("/"))
        self.filler = os.path.join(directory, PLACES[place]["full"], "filler")

    def mount(self, path):
        """Mounts one in a directory's place, and moves what it has there."""
        os.makedirs(path, 0o700, exist_ok=True)
        aside = path + ".aside"
        shutil.copytree(path, aside, ignore=shutil.ignore_patterns("*.sock"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm,mode=0700" % DISK_MB, "ckv-full", path], check=True,
                       stderr=subprocess.PIPE, text=True)
        self.mounted.append(path)
        shutil.copytree(aside, path, dirs_exist_ok=True)
        shutil.rmtree(aside)

    def fill(self):
        """Down to the last byte."""
        with open(self.filler, "wb", buffering=0) as filler:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        filler.write(b"\0" * size)
                except OSError:
                    pass

    def free(self):
        os.unlink(self.filler)

    def close(self):
        for path in reversed(self.mounted):
            subprocess.run(["umount", "-l", path], check=False, stderr=subprocess.PIPE)


class Layer:
    """The fault layer: operations fail while a control file exists."""

    def __init__(self, library, directory, place, calls, number, match=None, at=1, mode="from"):
        self.control = directory + ".full"
        self.errors = (os.strerror(number),)
        plan = Plan(library, directory, directory + ".trace", at=at, mode=mode, errno=number, calls=calls,
                    match=match or PLACES[place]["match"], control=self.control)
        self.env = plan.env

    def fill(self):
        with open(self.control, "w"):
            pass

    def free(self):
        os.unlink(self.control)

    def close(self):
        pass


class Scenario:
    """One kind of file on one kind of disk."""

    def __init__(self, args, place, fsync, disk):
        self.place, self.args = place, args
        self.parent = os.path.realpath(tempfile.mkdtemp(prefix="ckv-full-"))
        self.directory = os.path.join(self.parent, "data")
        os.makedirs(self.directory, 0o700)
        self.problems = []
        options = () if is_redis(args.ckv) else OPTIONS
        self.server = Server(args.ckv, self.directory, fsync, options)
        self.session = Session()
        self.new_disk, self.disk = disk, None
        self.parked = None
        self.backup = self.kept = None

    def problem(self, text):
        if text:
            self.problems.append(text)

    def named(self, said, what, name=None):
        """The message must name the error and the file."""
        name = name or PLACES[self.place]["names"]
        if not any(error in said for error in self.disk.errors) or name not in said:
            self.problem("%s does not say \"%s\" and \"%s\": %s" % (
                what, self.disk.errors[0], name, said[-600:] or "nothing"))

    def write(self, name):
        for step in script(CHANGES, p=name):
            self.problem(self.session.insist(step))

    def reads_go_on(self):
        connection = self.server.connect()
        for command in (("GET", "s:1"), ("LRANGE", "l:1", "0", "-1"), ("HGETALL", "h:1")):
            reply = connection.call(*command)
            if isinstance(reply, bytes) and reply.startswith(b"-"):
                self.problem("%s is answered with %r while the disk is full" % (command[0], reply[:200]))
        connection.close()

    def ping(self):
        connection = self.server.connect()
        reply = connection.call("PING")
        connection.close()
        return reply

    def until_refused(self):
        """Writes until there is no room: the error, or None. One write may be done in memory before the journal fails:
        its reply waits, and another connection goes on."""
        end = time.monotonic() + WRITES_S_MAX
        for at in range(WRITES_MAX):
            step = [(b"SET", b"fill:%d" % (at % 50), b"%d" % at * (VALUE_BYTES // 4))]
            try:
                error = self.session.send(step)
            except Lost:
                if self.parked or not self.server.running():
                    raise
                self.parked = self.session.connection, step
                self.session.connection = None
                self.session.connect(self.server)
                continue
            if error is not None:
                return error.decode(errors="replace")
            if time.monotonic() > end:
                break
        return None

    def unpark(self):
        """The reply that waited must come now that there is room."""
        if self.parked is None:
            return
        (connection, step), self.parked = self.parked, None
        connection.socket.settimeout(HEAL_S_MAX)
        try:
            reply = connection.read(1)[0]
            self.problem(reply != b"+OK" and "%r, whose reply had waited, is answered with %r" % (step[0][:2], reply))
        except Lost as error:
            self.problem("%r is not answered although there is room: %s" % (step[0][:2], error))
        connection.close()

    def heals(self, action, what):
        end = time.monotonic() + HEAL_S_MAX
        error = action(self.session.connection)
        while error and time.monotonic() < end:
            time.sleep(0.02)
            error = action(self.session.connection)
        self.problem(error and "%.1f s after there is room, %s still fails: %s" % (HEAL_S_MAX, what, error))

    # ---- what must happen while the disk is full

    def full_journal(self):
        error = self.until_refused()
        if error is None:
            self.problem("no write is refused")
            return
        if not error.startswith("-MISCONF"):
            self.problem("a write is refused with %s" % error)
        self.named(error, "the refusal")
        for step in script("SET s:1 never\nRPUSH l:1 never\nMULTI\nINCRBY a:1 -1\nINCRBY a:2 1\nEXEC"):
            if self.session.send(step) is None:
                self.problem("%r is done while the disk is full" % (step[-1],))
        reply = self.ping()
        self.problem(not reply.startswith(b"-MISCONF") and "PING, by which Sentinel judges, gets %r" % reply)

    def full_checkpoint(self):
        error = checkpoint(self.session.connection)
        if not error:
            self.problem("BGSAVE succeeds on a full disk")
        self.named(error + self.server.said(), "BGSAVE's error and the log")
        self.writes_or_misconf()

    def full_backup(self):
        error = make_backup(self.session.connection)
        if not error:
            self.problem("BACKUP CREATE succeeds on a full disk")
        self.named(error, "BACKUP CREATE's error")
        for step in script(CHANGES, p="meanwhile"):
            error = self.session.send(step)
            self.problem(error and "a write is refused while only backups have no room: %r" % error[:200])

    def full_rollback(self):
        error = roll_back(self.session.connection, self.backup)
        if not error:
            self.problem("ROLLBACK succeeds on a full disk")
        self.named(error, "ROLLBACK's error")
        self.session.connect(self.server)
        self.problem(self.session.check(self.server))
        self.writes_or_misconf("journal")

    full_swap = full_rollback

    def prepare_rollback(self):
        self.problem(make_backup(self.session.connection))
        self.backup = os.listdir(os.path.join(self.directory, "backups"))[0]
        self.kept = copy.deepcopy(self.session.model)
        self.write("behind")

    def rolls_back(self):
        """Now that there is room."""
        self.heals(lambda connection: roll_back(connection, self.backup), "ROLLBACK")
        self.session.model = self.kept
        self.session.connect(self.server)
        self.problem(self.session.check(self.server))

    def writes_or_misconf(self, name=None):
        """Without room for a checkpoint writes may be refused, but then by name."""
        for step in script(CHANGES, p="meanwhile"):
            error = (self.session.send(step) or b"").decode(errors="replace")
            if error and not error.startswith("-MISCONF"):
                self.problem("a write is refused with " + error)
            elif error:
                self.named(error, "the refusal", name)

    # ---- the scenario

    def run(self):
        self.server.start()
        self.server.stop()
        self.disk = self.new_disk(self.directory, self.place)
        self.server.env = self.disk.env
        self.server.start()
        self.session.connect(self.server)
        self.write("before")
        self.problem(checkpoint(self.session.connection))
        for at in range(200):
            self.session.send([(b"SET", b"bulk:%d" % at, b"%d" % at * 1000)])
        rolls_back = self.place in ("rollback", "swap")
        if rolls_back:
            self.prepare_rollback()
        self.disk.fill()
        getattr(self, "full_" + self.place)()
        self.reads_go_on()
        self.problem(self.session.check(self.server))
        self.disk.free()
        self.unpark()
        self.write("after")
        reply = self.ping()
        self.problem(reply != b"+PONG" and "PING is answered with %r although there is room" % reply)
        self.heals(checkpoint, "BGSAVE")
        if not is_redis(self.args.ckv):
            self.heals(make_backup, "BACKUP CREATE")
        if rolls_back:
            self.rolls_back()
        self.restart("after a kill", self.server.kill)
        self.killed_while_full()

    def restart(self, when, end):
        end()
        self.server.start()
        problem = self.session.check(self.server)
        self.problem(problem and when + ": " + problem)
        self.session.connect(self.server)

    def killed_while_full(self):
        """The kill comes while the disk is full; the start is at first on the full disk."""
        self.disk.fill()
        if self.place == "journal":
            self.until_refused()
        else:
            self.writes_or_misconf("journal" if self.kept else None)
        self.server.kill()
        self.parked = None
        try:
            self.server.start()
            self.problem(self.session.check(self.server))
            self.server.kill()
        except NotStarted as error:
            if error.status != 1 or not any(text in error.said for text in self.disk.errors):
                self.problem("the start on a full disk: " + str(error))
        self.disk.free()
        self.restart("killed while the disk was full", self.server.kill)
        self.write("last")
        status = self.server.stop()
        if status != 0:
            self.problem("it stopped with status %s; it said:\n%s" % (status, self.server.said()[-2000:]))
        self.restart("after a clean stop", self.server.kill)

    def close(self):
        self.server.kill()
        if self.disk:
            self.disk.close()
        shutil.rmtree(self.parent, ignore_errors=True)


class Unsynced(Scenario):
    """With `fsync no` the journal's syncs fail: nobody notices, until the data is to go back to an earlier state, or
    the history is to change. What is left behind must be durable then, so that's refused. A checkpoint waits, but not
    one that all wait for."""

    def __init__(self, args):
        super().__init__(args, "journal", "no", None)

    def refused(self, action, what):
        error = action(self.session.connection)
        if not error:
            self.problem("%s although the journal can't be synced" % what)
        self.named(error, what)
        self.session.connect(self.server)
        self.problem(self.session.check(self.server))

    def promote(self, connection):
        reply = connection.call("SLAVEOF", "NO", "ONE")
        return "" if reply == b"+OK" else reply.decode(errors="replace")

    def run(self):
        self.disk = Layer(self.args.library, self.directory, "journal", "sync", errno.EIO, match="/journal/")
        self.server.env = self.disk.env
        self.server.start()
        self.session.connect(self.server)
        self.prepare_rollback()
        self.disk.fill()
        self.refused(lambda connection: roll_back(connection, self.backup), "ROLLBACK")
        self.problem(os.path.exists(os.path.join(self.directory, "rollback.tmp")) and "what was built takes room")
        self.disk.free()
        self.rolls_back()
        self.write("after")
        self.problem(self.session.connection.call("SLAVEOF", "127.0.0.1", "1") != b"+OK" and "SLAVEOF is refused")
        self.disk.fill()
        self.refused(self.promote, "SLAVEOF NO ONE")
        role = self.session.connection.call("ROLE")
        self.problem(role[0] != b"$slave" and "it was promoted all the same: %r" % role)
        self.disk.free()
        self.heals(self.promote, "SLAVEOF NO ONE")
        self.write("promoted")
        self.disk.fill()
        self.checkpoint_waits()
        self.disk.free()
        self.heals(checkpoint, "BGSAVE")
        self.write("unsaved")
        self.disk.fill()
        self.refused(self.save, "SAVE")
        self.disk.free()
        self.heals(self.save, "SAVE")
        self.write("last")
        self.disk.fill()
        status = self.server.stop()
        self.problem(status != 1 and "it stopped with status %r although the journal can't be synced" % status)
        self.disk.free()
        self.restart("stopped", lambda: None)

    def save(self, connection):
        reply = connection.call("SAVE")
        return "" if reply == b"+OK" else reply.decode(errors="replace")

    def checkpoint_waits(self):
        connection = self.server.connect()
        before = info(connection, "persistence")["ckv_last_checkpoint_offset"]
        self.problem(connection.call("BGSAVE")[:1] != b"+" and "BGSAVE does not begin")
        time.sleep(CHECKPOINT_S)
        after = info(connection, "persistence")["ckv_last_checkpoint_offset"]
        self.problem(after != before and "a checkpoint is whole whose journal isn't durable")
        connection.close()


class Unpromoted(Scenario):
    """The disk has room for a MANIFEST with a new history, and then for nothing more: a slave isn't promoted, and goes
    on, also when the journal's last segment is empty."""

    def __init__(self, args, empty, killed):
        super().__init__(args, "journal", "everysec", None)
        self.empty, self.killed = empty, killed

    def run(self):
        self.disk = Layer(self.args.library, self.directory, "journal", "create", errno.ENOSPC,
                          match="MANIFEST,/journal/", at=2)
        self.server.env = self.disk.env
        self.server.start()
        self.session.connect(self.server)
        self.write("before")
        if self.empty:
            self.problem(checkpoint(self.session.connection))
        self.problem(self.session.connection.call("SLAVEOF", "127.0.0.1", "1") != b"+OK" and "SLAVEOF is refused")
        self.disk.fill()
        reply = self.session.connection.call("SLAVEOF", "NO", "ONE")
        self.named(reply.decode(errors="replace"), "SLAVEOF NO ONE")
        self.problem(self.session.connection.call("ROLE")[0] != b"$slave" and "it was promoted all the same")
        self.disk.free()
        if self.killed:
            self.restart("killed when it could not be promoted", self.server.kill)
        else:
            self.problem(self.session.connection.call("SLAVEOF", "NO", "ONE") != b"+OK" and "it isn't promoted later")
        self.problem(self.session.check(self.server))
        self.write("promoted")
        self.restart("after a kill", self.server.kill)


class Undeleted(Scenario):
    """Files of a backup that was deleted can't be removed: it's listed no more, and they go when they can be."""

    def __init__(self, args):
        super().__init__(args, "backup", "everysec", None)

    def run(self):
        self.disk = Layer(self.args.library, self.directory, "backup", "unlink", errno.EIO)
        self.server.env = self.disk.env
        self.server.start()
        self.session.connect(self.server)
        self.prepare_rollback()
        self.disk.fill()
        connection = self.session.connection
        self.problem(connection.call("BACKUP", "DELETE", self.backup) != b"+OK" and "BACKUP DELETE is refused")
        end = time.monotonic() + HEAL_S_MAX
        while b"running" in (status := connection.call("BACKUP", "STATUS")) and time.monotonic() < end:
            time.sleep(0.005)
        self.named(status.decode(errors="replace"), "BACKUP STATUS")
        self.problem(connection.call("BACKUP", "LIST") != [] and "it's still listed")
        self.disk.free()
        self.heals(lambda _: os.listdir(os.path.join(self.directory, "backups")), "what is left of it")


class Unremoved(Scenario):
    """A rollback fails, and what it has built can't be removed: it goes when it can be."""

    def __init__(self, args):
        super().__init__(args, "rollback", "everysec", None)

    def run(self):
        self.disk = Layer(self.args.library, self.directory, "rollback", "rename,unlink", errno.EIO)
        self.server.env = self.disk.env
        self.server.start()
        self.session.connect(self.server)
        self.prepare_rollback()
        self.disk.fill()
        self.problem(not roll_back(self.session.connection, self.backup) and "ROLLBACK succeeds on a failing disk")
        left = os.path.join(self.directory, "rollback.tmp")
        self.problem(not os.path.exists(left) and "nothing is left: the scenario has no point")
        self.disk.free()
        self.heals(lambda _: os.path.exists(left), "removing rollback.tmp")
        self.rolls_back()


# Once at each of these a running server has no way back: (operation, the beginning of the path, the number).
POINTS = [("rename", "/backups/", 1), ("rename", "/journal", 1), ("rename", "/MANIFEST", 1), ("unlink", "/ROLLBACK", 1),
          ("open", "/MANIFEST", 3), ("rename", "/MANIFEST", 2), ("mkdir", "/journal", 2)]


class Halfway(Scenario):
    """One operation fails when what a rollback has built is being put in place, or when it's loaded: it's done again,
    and the server goes on."""

    def __init__(self, args, point):
        super().__init__(args, "swap", "everysec", None)
        self.point = point

    def run(self):
        calls, match, at = self.point
        self.disk = Layer(self.args.library, self.directory, "swap", calls, errno.EIO, match=match, at=at, mode="once")
        self.server.env = self.disk.env
        self.server.start()
        self.session.connect(self.server)
        self.prepare_rollback()
        self.disk.fill()
        self.problem(roll_back(self.session.connection, self.backup))
        self.disk.free()
        self.named(self.server.said(), "the log", match.strip("/"))
        self.session.model = self.kept
        self.problem(self.session.check(self.server))
        self.session.connect(self.server)
        self.write("after")
        self.restart("after a kill", self.server.kill)


def run_one(name, scenario):
    """Whether it passed; prints what is wrong."""
    try:
        scenario.run()
    except (Lost, NotStarted, OSError) as error:
        scenario.problem("%s: %s; it said:\n%s" % (type(error).__name__, error, scenario.server.said()[-2000:]))
    finally:
        scenario.close()
    print("%s  %s" % ("FAIL" if scenario.problems else "ok  ", name), flush=True)
    for problem in scenario.problems[:4]:
        print("  " + problem.replace("\n", "\n  "))
    return not scenario.problems


def may_mount():
    """Whether a tmpfs can be mounted here; says so if it cannot."""
    place = tempfile.mkdtemp(prefix="ckv-full-")
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "ckv-full", place], stderr=subprocess.PIPE,
                              text=True, check=False)
        if done.returncode == 0:
            subprocess.run(["umount", place], check=True)
            return True
        print("SKIPPED: no tmpfs can be mounted here (%s): the fault layer alone makes disks full" %
              done.stderr.strip().splitlines()[-1:])
    except FileNotFoundError:
        print("SKIPPED: there is no mount: the fault layer alone makes disks full")
    finally:
        os.rmdir(place)
    return False


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ckv", default="build/ckv", metavar="PATH")
    options.add_argument("--library", default="build/iofault.so", metavar="PATH", help="iofault.so")
    options.add_argument("--places", default=",".join(PLACES))
    args = options.parse_args()
    disks = [("no space", lambda directory, place: Layer(args.library, directory, place, ROOM, errno.ENOSPC)),
             ("I/O errors", lambda directory, place: Layer(args.library, directory, place, BROKEN, errno.EIO))]
    mounts = may_mount()
    if mounts:
        disks.insert(0, ("a full tmpfs", Tmpfs))
    results = [run_one("%s, %s, fsync %s" % (place, name, fsync), Scenario(args, place, fsync, disk))
               for place in args.places.split(",") for name, disk in disks
               for fsync in (("always", "everysec") if place == "journal" else ("everysec",))
               if disk is not Tmpfs or PLACES[place]["mounts"]]
    if "journal" in args.places and not is_redis(args.ckv):
        results.append(run_one("journal, failing syncs, fsync no", Unsynced(args)))
        for empty in (False, True):
            for killed in (False, True):
                name = "no room for a promotion" + ", empty segment" * empty + ", killed" * killed
                results.append(run_one("journal, " + name, Unpromoted(args, empty, killed)))
    if "backup" in args.places and not is_redis(args.ckv):
        results.append(run_one("backup, failing deletions", Undeleted(args)))
    if "rollback" in args.places and not is_redis(args.ckv):
        results.append(run_one("rollback, failing deletions", Unremoved(args)))
    if "swap" in args.places and not is_redis(args.ckv):
        results += [run_one("swap, one failing %s of %s" % (calls, match.strip("/")), Halfway(args, (calls, match, at)))
                    for calls, match, at in POINTS]
    print("%d passed, %d failed%s" % (sum(results), len(results) - sum(results), "" if mounts else ", 1 skipped"))
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())
