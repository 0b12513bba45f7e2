#!/usr/bin/env python3
"""redis_benchmark.py - redis-benchmark's tests as a way to load the server; run by run.py, which explains the protocol.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import re
import subprocess

from kit import CHECK_S_MAX, PASSWORD, PORT, check, equal, matches, tell

# Redis 7.0's default tests, but for ZPOPMIN, which came after 3.2.
TESTS = ("ping_inline ping_mbulk set get incr lpush rpush lpop rpop sadd hset spop zadd lrange_100 lrange_300 "
         "lrange_500 lrange_600 mset").split()
TITLES = ("PING_INLINE,PING_MBULK,SET,GET,INCR,LPUSH,RPUSH,LPOP,RPOP,SADD,HSET,SPOP,ZADD,"
          "LPUSH (needed to benchmark LRANGE),LRANGE_100 (first 100 elements),LRANGE_300 (first 300 elements),"
          "LRANGE_500 (first 500 elements),LRANGE_600 (first 600 elements),MSET (10 keys)").split(",")


def benchmark(*arguments, password=PASSWORD):
    """The lines it writes, without its progress, and its exit status."""
    command = ["redis-benchmark", "-p", PORT, "-q"] + (["-a", password] if password else []) + list(arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=CHECK_S_MAX)
    lines = [line.strip() for line in re.split(r"[\r\n]", done.stdout)]
    return [line for line in lines if line and "rps=" not in line], done.returncode


def all_pass(lines, titles):
    """Each title has a rate, and but for the warning that CONFIG is refused there is nothing else."""
    equal([line for line in lines if "requests per second" not in line], ["WARNING: Could not fetch server CONFIG"])
    equal([line.split(": ")[0] for line in lines[1:]], titles)
    for line in lines[1:]:
        matches(line, r": [1-9][0-9]*\.[0-9]+ requests per second, p50=[0-9.]+ msec$")


def default_tests(*arguments):
    lines, status = benchmark("-t", ",".join(TESTS), *arguments)
    equal(status, 0)
    all_pass(lines, TITLES)


def own_command():
    lines, status = benchmark("-n", "1000", "-P", "16", "-r", "100", "hmset", "h:__rand_int__", "field", "value")
    equal(status, 0)
    all_pass(lines, ["hmset h:__rand_int__ field value"])


def later_command():
    lines, _ = benchmark("-n", "100", "-t", "zpopmin")
    equal(lines[1:], ["Error from server: ERR unknown command 'ZPOPMIN'"])


def refused_command():
    lines, status = benchmark("-n", "100", "flushall")
    equal(lines[-1], "Error from server: ERR unknown command 'flushall' (not supported by CKV Master/Slave)")
    equal(status, 1)


def credentials():
    if PASSWORD:
        lines, _ = benchmark("-n", "100", "-t", "get", password="crs-clients:wrong")
        equal([line for line in lines if line.startswith("ERR ")], ["ERR invalid password"])
        lines, _ = benchmark("-n", "100", "-t", "get", password="")
        matches("\n".join(lines), "NOAUTH Authentication required")
    else:
        lines, status = benchmark("-n", "100", "-t", "get")
        equal(status, 0)
        all_pass(lines, ["GET"])


def main():
    said = subprocess.run(["redis-benchmark", "--version"], stdout=subprocess.PIPE, text=True).stdout
    tell("version " + re.search(r"[0-9.]+", said)[0])
    check("wrong and missing passwords", credentials)
    check("all tests", default_tests, "-n", "1000")
    check("all tests, 50 clients, pipelines of 16, random keys", default_tests, "-n", "5000", "-c", "50", "-P", "16",
          "-r", "10000")
    check("all tests, values of 10 kB", default_tests, "-n", "500", "-d", "10000")
    check("all tests, two threads", default_tests, "-n", "1000", "--threads", "2")
    check("a command of one's own", own_command)
    check("a command of later versions", later_command)
    check("a refused command", refused_command)


if __name__ == "__main__":
    main()
