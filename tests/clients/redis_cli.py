#!/usr/bin/env python3
"""redis_cli.py - redis-cli as people and scripts use it: on a terminal, with arguments, with its special modes, by
--pipe, and over the operator's socket. Run by run.py, which explains the protocol.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import os
import re
import subprocess
import tempfile
import time

from kit import ADMIN, CHECK_S_MAX, PASSWORD, PORT, SOCKET, WRONGTYPE, check, equal, matches, tell
from terminal import Terminal

REFUSED = " (not supported by CKV Master/Slave)"
AUTH_ARGUMENTS = ["-a", PASSWORD, "--no-auth-warning"] if PASSWORD else []
HOME = tempfile.mkdtemp(prefix="ckv-redis-cli-")
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": HOME, "TERM": "xterm"}
PROMPT = "127.0.0.1:%s> " % PORT
BINARY = bytes(range(256))


def run(arguments, stdin=b"", environment=None):
    """What it writes on both outputs, and its exit status."""
    done = subprocess.run(["redis-cli"] + arguments, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=dict(ENVIRONMENT, **(environment or {})), timeout=CHECK_S_MAX)
    return done.stdout, done.returncode


def cli(*arguments, stdin=b""):
    """Its output, with the password given."""
    return run(["-p", PORT] + AUTH_ARGUMENTS + list(arguments), stdin)[0].decode(errors="surrogateescape")


def operator(*arguments):
    return run(["-s", SOCKET] + list(arguments))[0].decode(errors="surrogateescape")


def emptied():
    for database in ("9", "0"):
        names = cli("-n", database, "--raw", "keys", "*").split("\n")[:-1]
        if names and names != [""]:
            cli("-n", database, "del", *names)


def seconds_of(command, seconds):
    """The output of a mode that runs until it is stopped."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT)
    time.sleep(seconds)
    process.terminate()
    return process.communicate(timeout=CHECK_S_MAX)[0].decode(errors="replace")


def arguments_and_formats():
    equal(cli("set", "k", 'a "b"'), "OK\n")
    equal(cli("get", "k"), 'a "b"\n')
    equal(cli("--no-raw", "get", "k"), '"a \\"b\\""\n')
    equal(cli("rpush", "l", "a", "b"), "2\n")
    equal(cli("--no-raw", "lrange", "l", "0", "-1"), '1) "a"\n2) "b"\n')
    equal(cli("--csv", "lrange", "l", "0", "-1"), '"a","b"\n')
    equal(cli("--no-raw", "get", "none"), "(nil)\n")
    equal(cli("--no-raw", "incr", "n"), "(integer) 1\n")
    equal(cli("-d", ";", "lrange", "l", "0", "-1"), "a;b\n")
    equal(cli("-n", "3", "exists", "k"), "0\n")
    equal(cli("-r", "3", "-i", "0.01", "incr", "n"), "2\n3\n4\n")
    equal(cli(stdin=b"set s 1\nincr s\nlpush s x\nget s\n"), "OK\n2\n%s\n\n2\n" % WRONGTYPE)
    equal(run(["-p", PORT] + AUTH_ARGUMENTS + ["-e", "lpush", "s", "x"]), ((WRONGTYPE + "\n").encode(), 1))
    equal(cli("-3", "get", "s"), "HELLO 3 failed: ERR unknown command 'HELLO'\n2\n")


def passwords():
    if not PASSWORD:
        equal(run(["-p", PORT, "-a", "crs-x:any", "--no-auth-warning", "ping"])[0],
              b"AUTH failed: ERR Client sent AUTH, but no password is set\nPONG\n")
        return
    equal(run(["-p", PORT, "get", "k"])[0], b"NOAUTH Authentication required.\n\n")
    equal(run(["-p", PORT, "-a", "crs-clients:wrong", "--no-auth-warning", "get", "k"])[0],
          b"AUTH failed: ERR invalid password\nNOAUTH Authentication required.\n\n")
    equal(run(["-p", PORT, "--user", "crs-clients", "--pass", "S3cret+word", "--no-auth-warning", "get", "k"])[0],
          b"AUTH failed: ERR wrong number of arguments for 'auth' command\nNOAUTH Authentication required.\n\n")
    equal(run(["-p", PORT, "ping"], environment={"REDISCLI_AUTH": PASSWORD})[0], b"PONG\n")
    address = "redis://%s@127.0.0.1:%s/2" % (PASSWORD.replace(":", "%3A"), PORT)
    equal(run(["-u", address, "--no-auth-warning", "ping"])[0], b"PONG\n")
    equal(run(["-p", PORT, "-a", "admin:" + ADMIN, "--no-auth-warning", "config", "get", "databases"])[0],
          b"databases\n16\n")


def terminal():
    t = Terminal(["redis-cli", "-p", PORT], ENVIRONMENT)
    t.prompt(PROMPT)
    if PASSWORD:
        equal(t.say("get k", PROMPT), "(error) NOAUTH Authentication required.\n")
        equal(t.say("auth crs-clients:wrong", PROMPT), "(error) ERR invalid password\n")
        equal(t.say("auth " + PASSWORD, PROMPT), "OK\n")
    equal(t.say('set k "a\\x00\\xff b"', PROMPT), "OK\n")
    equal(t.say("get k", PROMPT), '"a\\x00\\xff b"\n')
    equal(t.say("get none", PROMPT), "(nil)\n")
    equal(t.say("incr n", PROMPT), "(integer) 1\n")
    equal(t.say("rpush l a b", PROMPT), "(integer) 2\n")
    equal(t.say("lrange l 0 -1", PROMPT), '1) "a"\n2) "b"\n')
    equal(t.say("lrange none 0 -1", PROMPT), "(empty array)\n")
    equal(t.say("geoadd g 13.361389 38.115556 P 15.087269 37.502669 C", PROMPT), "(integer) 2\n")
    equal(t.say("georadius g 15 37 200 km withdist asc", PROMPT),
          '1) 1) "C"\n   2) "56.4413"\n2) 1) "P"\n   2) "190.4424"\n')
    equal(t.say("lpush k x", PROMPT), "(error) %s\n" % WRONGTYPE)
    equal(t.say("2 incr n", PROMPT), "(integer) 2\n(integer) 3\n")
    equal(t.say('set k "unbalanced', PROMPT), "Invalid argument(s)\n")
    equal(t.say("flushall", PROMPT), "(error) ERR unknown command 'flushall'%s\n" % REFUSED)
    equal(t.say("monitor", PROMPT), "(error) ERR unknown command 'monitor'%s\n" % REFUSED)
    transaction(t)
    t.end("quit")
    equal(t.status, 0)


def transaction(t):
    other, queuing = "127.0.0.1:%s[3]> " % PORT, "127.0.0.1:%s(TX)> " % PORT
    equal(t.say("select 3", other), "OK\n")
    equal(t.say("select 99", other), "(error) ERR invalid DB index\n")
    equal(t.say("select 0", PROMPT), "OK\n")
    equal(t.say("multi", queuing), "OK\n")
    equal(t.say("set t 1", queuing), "QUEUED\n")
    equal(t.say("incr t", queuing), "QUEUED\n")
    equal(t.say("exec", PROMPT), "1) OK\n2) (integer) 2\n")
    equal(t.say("multi", queuing), "OK\n")
    equal(t.say("discard", PROMPT), "OK\n")
    equal(t.say("watch t", PROMPT), "OK\n")
    cli("set", "t", "changed")
    equal(t.say("multi", queuing), "OK\n")
    equal(t.say("set t mine", queuing), "QUEUED\n")
    equal(t.say("exec", PROMPT), "(nil)\n")


def subscriptions():
    reading = "Reading messages... (press Ctrl-C to quit)\n"
    t = Terminal(["redis-cli", "-p", PORT] + AUTH_ARGUMENTS, ENVIRONMENT)
    t.prompt(PROMPT)
    equal(t.say("psubscribe n* m", '"m"\n3) (integer) 2\n', keep=True),
          reading + '1) "psubscribe"\n2) "n*"\n3) (integer) 1\n1) "psubscribe"\n2) "m"\n3) (integer) 2\n')
    equal(cli("publish", "news", "hello"), "1\n")
    equal(t.until('"hello"\n'), '1) "pmessage"\n2) "n*"\n3) "news"\n4) "hello"\n')
    t.interrupt() # ends the subscriptions, not the program
    t.prompt(PROMPT)
    t.end("quit")
    equal(t.status, 0)
    process = subprocess.Popen(["redis-cli", "-p", PORT] + AUTH_ARGUMENTS + ["subscribe", "news"],
                               stdout=subprocess.PIPE, env=ENVIRONMENT, text=True)
    equal([process.stdout.readline() for _ in range(3)], ["subscribe\n", "news\n", "1\n"])
    equal(cli("publish", "news", "one\r\ntwo"), "1\n")
    equal([process.stdout.readline() for _ in range(4)], ["message\n", "news\n", "one\n", "two\n"])
    process.kill()
    process.communicate()


def values():
    big = b"big value " * 104858
    equal(cli("-x", "set", "big", stdin=big), "OK\n")
    equal(run(["-p", PORT] + AUTH_ARGUMENTS + ["get", "big"])[0] == big + b"\n", True)
    equal(cli("-x", "set", "bytes", stdin=BINARY), "OK\n")
    equal(run(["-p", PORT] + AUTH_ARGUMENTS + ["get", "bytes"])[0], BINARY + b"\n")
    equal(cli("-X", "VALUE", "set", "byname", "VALUE", stdin=b"v"), "OK\n")


def resp(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def mass_insertion():
    commands = [resp(b"SET", b"mass:%d" % i, b"x" * (i % 100)) for i in range(99987)]
    commands += [resp(b"SET", b"big:%d" % i, bytes([i]) * (1 << 20)) for i in range(10)]
    commands += [resp(b"LPUSH", b"mass:1", b"x"), resp(b"FLUSHALL"), b"INCR mass:none\r\n"]
    output = cli("--pipe", stdin=b"".join(commands))
    # The two errors come whenever they come, among the lines on what it does.
    equal(sorted(output.splitlines()), sorted([
        "All data transferred. Waiting for the last reply...",
        WRONGTYPE, "ERR unknown command 'FLUSHALL'" + REFUSED,
        "Last reply received from server.", "errors: 2, replies: 100000"]))
    equal(cli("dbsize"), "99998\n")
    equal(cli("strlen", "big:7"), "1048576\n")
    equal(cli("get", "mass:99942"), "x" * 42 + "\n")


def scans():
    cli(stdin=b"".join(b"set scan:%d v\n" % i for i in range(500)) + b"set other v\nrpush l a b c\n")
    names = ["scan:%d" % i for i in range(500)]
    equal(sorted(set(cli("--scan", "--pattern", "scan:*").split())), sorted(names))
    equal(sorted(set(cli("--scan").split())), sorted(names + ["other", "l"]))
    big = cli("--bigkeys")
    matches(big, r'Biggest +list found \'?"l"\'? has 3 items')
    matches(big, r"501 strings with 501 bytes")
    matches(big, r"Sampled 502 keys in the keyspace!")
    matches(cli("--memkeys"), "MEMORY USAGE on '.*' failed")
    matches(cli("--hotkeys"), re.escape("Error: ERR unknown command 'OBJECT'" + REFUSED))


def watching():
    matches(cli("--latency"), r"^[0-9]+ [0-9]+ [0-9.]+ [0-9]+\n$")
    buffered = ["stdbuf", "-oL", "redis-cli", "-p", PORT] + AUTH_ARGUMENTS
    history = seconds_of(buffered + ["--latency-history", "-i", "1"], 1.5)
    matches(history, r"^[0-9]+ [0-9]+ [0-9.]+ [0-9]+\n")
    stat = seconds_of(buffered + ["--stat", "-i", "0.1"], 0.6)
    matches(stat, r"(?m)^keys +mem +clients +blocked +requests +connections")
    matches(stat, r"(?m)^0 +[0-9.]+[KM] +[0-9]+ +0 +[0-9]+ \(\+[0-9]+\) +[0-9]+")


def refused_modes():
    equal(cli("--eval", "/dev/null"), "ERR unknown command 'EVAL'%s\n\n" % REFUSED)
    equal(cli("--rdb", os.path.join(HOME, "dump.rdb")).splitlines()[-1],
          "SYNC with master failed: -ERR unknown command 'SYNC'" + REFUSED)
    equal(cli("--replica").splitlines()[-1], "SYNC with master failed: -ERR unknown command 'SYNC'" + REFUSED)
    matches(cli("--cluster", "check", "127.0.0.1:" + PORT), r"\[ERR\] Node 127\.0\.0\.1")
    equal(cli("config", "get", "maxmemory"), "ERR unknown command 'config'%s\n\n" % REFUSED)
    equal(cli("client", "list"), "ERR unknown command 'client'%s\n" % REFUSED)


def operators():
    equal(operator("config", "get", "databases"), "databases\n16\n")
    matches(operator("client", "list"), r"(?m)^id=[0-9]+ addr=\S+ .*cmd=client$")
    equal(operator("set", "k", "v"), "OK\n")
    equal(operator("object", "encoding", "k"), "embstr\n")
    matches(operator("--bigkeys"), r"Biggest string found '\"k\"' has 1 bytes")
    matches(operator("slowlog", "len"), r"^[0-9]+\n$")
    monitor = subprocess.Popen(["redis-cli", "-s", SOCKET, "monitor"], stdout=subprocess.PIPE, env=ENVIRONMENT,
                               text=True)
    equal(monitor.stdout.readline(), "OK\n")
    cli("set", "seen", "1")
    while '"set"' not in (line := monitor.stdout.readline()) and line:
        pass
    matches(line, r'^[0-9.]+ \[0 127\.0\.0\.1:[0-9]+\] "set" "seen" "1"\n$')
    monitor.kill()
    monitor.communicate()
    equal(operator("flushall"), "OK\n")
    equal(cli("dbsize"), "0\n")


def reconnects():
    t = Terminal(["redis-cli", "-p", PORT] + AUTH_ARGUMENTS, ENVIRONMENT)
    t.prompt(PROMPT)
    equal(t.say("set k before", PROMPT), "OK\n")
    tell("kill")
    refused = "Could not connect to Redis at 127.0.0.1:%s: Connection refused\n" % PORT
    equal(t.say("get k", "not connected> "), "Error: Server closed the connection\n")
    equal(t.say("get k", "not connected> "), refused)
    tell("start")
    equal(t.say("set k after", PROMPT), "OK\n")
    equal(t.say("get k", PROMPT), '"after"\n')
    equal(cli("get", "k"), "after\n")
    t.end("exit")
    equal(t.status, 0)


def main():
    said = subprocess.run(["redis-cli", "--version"], stdout=subprocess.PIPE, text=True).stdout
    tell("version " + re.search(r"[0-9.]+", said)[0])
    check("passwords", passwords)
    for name, body in (("arguments and formats", arguments_and_formats), ("on a terminal", terminal),
                       ("subscriptions", subscriptions), ("binary and big values", values), ("--pipe", mass_insertion),
                       ("--scan, --bigkeys, --memkeys, --hotkeys", scans), ("--latency, --stat", watching),
                       ("modes that need refused commands", refused_modes), ("over the operator's socket", operators),
                       ("reconnects and quits on a terminal", reconnects)):
        operator("flushall")
        check(name, body)


if __name__ == "__main__":
    main()
