"""subject.py - a server under measurement: started on one core, loaded and timed from the other.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import base64
import collections
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "fault"))
from server import IN_PROGRESS, LAST_STATUS, UnixConnection, free_port, info  # noqa: E402
from resp import Connection  # noqa: E402

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = str(CORES[0]), str(CORES[1 % len(CORES)])
BOTH_CORES = "%s,%s" % (SERVER_CORE, LOAD_CORE)  # while there is no load
AHEAD = ("nice", "-n", "-10") if os.geteuid() == 0 else ()  # of whatever else runs here
START_S_MAX = 300
CHECKPOINT_S_MAX = 300
BATCH = 10000
VALUE_BYTES = 64
KEY = b"key:%012d"  # load.c's, as redis-benchmark's
POOL = base64.b64encode(random.Random(1).randbytes(1 << 20))
CKV_CHECKPOINT_MS = "ckv_last_checkpoint_ms"
POLL_S = 0.001
LOAD_S_MAX = 600
LOAD_STARTS_S_MAX = 60
LOAD_SETTLES_S = 0.5
CLIENTS_FEW = 10  # fewer than any load has, more than this program
CLIENTS_MAX = 12000

# What a load found: requests a second; the server's CPU time for each, in microseconds; how much of its core the load
# used (near 1, it was the load that was measured); latencies in microseconds.
Found = collections.namedtuple("Found", "per_second cpu_us load_part p50_us p99_us p999_us")


class Subject:
    """ckv or redis-server on a directory of its own."""

    def __init__(self, program, name, parent, load):
        self.program, self.name, self.load = program, name, load
        self.directory = os.path.join(parent, name)
        self.path = os.path.join(self.directory, "ckv.sock")
        self.process = None
        self.port = 0
        self.is_ckv = name == "ckv"

    def command(self, fsync, appendonly):
        """fsync None: nothing is kept on disk."""
        common = [self.program, "--port", str(self.port), "--dir", self.directory, "--bind", "127.0.0.1",
                  "--maxclients", str(CLIENTS_MAX)]
        if self.is_ckv and fsync is None:
            return [*common, "--persistence", "no"]
        if self.is_ckv:
            return [*common, "--fsync", fsync, "--checkpoint-every", "0", "--checkpoint-journal-bytes", "0",
                    "--journal-keep", "0"]
        appendonly = "yes" if appendonly and fsync else "no"
        return [*common, "--unixsocket", self.path, "--save", "", "--appendonly", appendonly,
                "--appendfsync", fsync or "no", "--auto-aof-rewrite-percentage", "0", "--enable-debug-command", "local"]

    def start(self, fsync="everysec", appendonly=True, fresh=True, cores=SERVER_CORE):
        """Starts it; how many seconds until it serves."""
        self.stop()
        if fresh:
            shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory, exist_ok=True)
        self.port = free_port()
        start = time.monotonic()
        with open(self.directory + ".log", "ab") as log:
            self.process = subprocess.Popen([*AHEAD, "taskset", "-c", cores, *self.command(fsync, appendonly)],
                                            cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not self.serves():
            if self.process.poll() is not None or time.monotonic() > start + START_S_MAX:
                raise RuntimeError("%s does not start; see %s.log" % (self.name, self.directory))
            time.sleep(0.002)
        return time.monotonic() - start

    def operator(self):
        return UnixConnection(self.path)

    def pinged(self):
        """Where pinger is to connect to."""
        return self.path

    def serves(self):
        try:
            connection = self.operator()
            reply = connection.call("PING")
            connection.close()
        except OSError:
            return False
        return reply == b"+PONG"

    def connect(self):
        connection = self.operator()
        connection.socket.settimeout(CHECKPOINT_S_MAX)
        return connection

    def call(self, *words):
        connection = self.connect()
        reply = connection.call(*words)
        connection.close()
        return reply

    def stop(self, how=signal.SIGKILL):
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(how)
            self.process.wait(CHECKPOINT_S_MAX)
            self.process = None

    # ---- load

    def load_command(self, *words):
        return [*AHEAD, "taskset", "-c", LOAD_CORE, self.load, "--port", str(self.port), *map(str, words)]

    def throughput(self, *words):
        """What a load by loopback finds."""
        before = self.cpu_ns()
        done = subprocess.run(self.load_command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False, timeout=LOAD_S_MAX)
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-500:])
        said = json.loads(done.stdout)
        if said["misses"]:
            raise RuntimeError("%s has no value for %d requests" % (self.name, said["misses"]))
        return Found(said["per_second"], (self.cpu_ns() - before) / 1000 / said["requests"], said["cpu_part"],
                     said["p50_us"], said["p99_us"], said["p999_us"])

    def fill(self, keys, mix="set", size=VALUE_BYTES, *words):
        """Sets so many keys of 16 bytes to values of 64 bytes; or makes a collection of so many elements."""
        self.throughput("--fill", "--mix", mix, "--keys", keys, "--size", size, "--pipeline", 64, *words)

    def begin_load(self, *words):
        """A load without end; it has begun when this returns."""
        load = subprocess.Popen(self.load_command(*words, "--seconds", LOAD_S_MAX), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + LOAD_STARTS_S_MAX
        while int(self.info("clients")["connected_clients"]) < CLIENTS_FEW:
            if load.poll() is not None or time.monotonic() > end:
                load.kill()
                raise RuntimeError("no load: " + load.communicate()[1][-500:])
            time.sleep(0.02)
        time.sleep(LOAD_SETTLES_S)
        return load

    def end_load(self, load):
        load.terminate()
        complaint = load.communicate(timeout=LOAD_S_MAX)[1]
        if load.returncode != 0:
            raise RuntimeError("%s: %s" % (self.name, complaint[-500:]))

    def send_all(self, make, numbers):
        """Sends a command for each number, pipelined; the replies are all short lines and are thrown away."""
        connection = self.connect()
        for at in range(0, len(numbers), BATCH):
            part = numbers[at:at + BATCH]
            connection.send(b"".join([make(n) for n in part]))
            lines = 0
            while lines < len(part):
                got = connection.socket.recv(1 << 18)
                if not got or got[:1] == b"-":
                    raise RuntimeError("%s: %r" % (self.name, got[:200]))
                lines += got.count(b"\n")
        connection.close()

    def set_some(self, numbers, tag):
        """Sets keys by number. The values cannot be compressed."""
        places = len(POOL) - VALUE_BYTES

        def command(n):
            at = (n * 0x9E3779B1 + tag) % places
            return b"*3\r\n$3\r\nSET\r\n$16\r\n%b\r\n$64\r\n%b\r\n" % (KEY % n, POOL[at:at + VALUE_BYTES])
        self.send_all(command, numbers)

    # ---- measuring

    def info(self, section="persistence"):
        connection = self.connect()
        fields = info(connection, section)
        connection.close()
        return fields

    def cpu_ns(self):
        """CPU time of all the server's threads, also of those that have ended: what clock_getcpuclockid() stands for.
        (/proc has it in units of 10 ms.)"""
        return time.clock_gettime_ns(~self.process.pid << 3 | 2)

    def checkpoint(self):
        """Makes a checkpoint: how many seconds it took. What is seen from here and what ckv tells in whole milliseconds
        are both upper bounds, once the latter is rounded up."""
        connection = self.connect()
        start = time.monotonic()
        begin_checkpoint(connection)
        while (fields := info(connection))[IN_PROGRESS] != "0":
            time.sleep(POLL_S)
        took = time.monotonic() - start
        connection.close()
        if fields[LAST_STATUS] != "ok":
            raise RuntimeError("BGSAVE failed")
        return min(took, (int(fields[CKV_CHECKPOINT_MS]) + 1) / 1000) if CKV_CHECKPOINT_MS in fields else took

    def in_progress(self):
        return self.info()[IN_PROGRESS] != "0"

    def commands_per_second(self, until):
        """What it runs, by its own count, until until(connection) returns."""
        connection = self.connect()
        count, start = commands(connection), time.monotonic()
        until(connection)
        rate = (commands(connection) - count) / (time.monotonic() - start)
        connection.close()
        return rate

    def memory_kb(self, field="VmRSS"):
        with open("/proc/%d/status" % self.process.pid) as status:
            return int(re.search(field + r":\s+(\d+)", status.read())[1])

    def reset_peak(self):
        with open("/proc/%d/clear_refs" % self.process.pid, "w") as refs:
            refs.write("5")

    def child_private_kb(self):
        """What a forked child has copied so far."""
        try:
            with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as children:
                pids = children.read().split()
            with open("/proc/%s/smaps_rollup" % pids[0]) as rollup:
                return int(re.search(r"Private_Dirty:\s+(\d+)", rollup.read())[1])
        except (OSError, IndexError):
            return 0

    def disk_bytes(self):
        """The newest checkpoint's file, as blocks on disk."""
        names = [name for name in os.listdir(self.directory) if name.endswith((".gdbm", ".rdb"))]
        newest = max(names, key=lambda name: os.stat(os.path.join(self.directory, name)).st_mtime)
        return os.stat(os.path.join(self.directory, newest)).st_blocks * 512


class Peer(Subject):
    """Any other server that speaks the protocol, given as a command line: %p is its port, %d its directory, which is
    also where it runs. What a row needs of its persistence it's told by CONFIG SET."""

    def __init__(self, words, parent, load):
        self.words = shlex.split(words)
        super().__init__(self.words[0], os.path.basename(self.words[0]), parent, load)
        self.is_ckv = False

    def command(self, fsync, appendonly):
        return [word.replace("%p", str(self.port)).replace("%d", self.directory) for word in self.words]

    def operator(self):
        return Connection(self.port)

    def pinged(self):
        return str(self.port)

    def start(self, fsync="everysec", appendonly=True, fresh=True, cores=SERVER_CORE):
        took = super().start(fsync, appendonly, fresh, cores)
        self.set("maxclients", CLIENTS_MAX)
        self.set("save", "")
        if fsync is not None:
            self.set("appendfsync", fsync)
            self.set("auto-aof-rewrite-percentage", 0)
        self.set("appendonly", "yes" if appendonly and fsync else "no")
        return took

    def set(self, option, value):
        reply = self.call("CONFIG", "SET", option, value)
        if reply != b"+OK":
            raise RuntimeError("%s: CONFIG SET %s %s: %r" % (self.name, option, value, reply))


class Floor(Subject):
    """floor.c: it answers PING, and nothing else."""

    def __init__(self, program, parent, load):
        super().__init__(program, "floor", parent, load)

    def command(self, fsync, appendonly):
        return [self.program, str(self.port)]

    def operator(self):
        return Connection(self.port)


def begin_checkpoint(connection):
    reply = connection.call("BGSAVE")
    if not reply.startswith(b"+"):
        raise RuntimeError("BGSAVE: %r" % reply)


def wait_checkpoint(connection, poll_s):
    while info(connection)[IN_PROGRESS] != "0":
        time.sleep(poll_s)


def commands(connection):
    return int(info(connection, "stats")["total_commands_processed"])
