#!/usr/bin/env python3
"""train.py - the work by which the compiler of `make release` learns what a server does most: every command of the load
generator in turn, at three pipeline lengths, without and with a journal, and a start with what that left.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import argparse
import os
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from subject import Subject  # noqa: E402

MIXES = ("get", "set", "mset", "del", "exists", "incr", "lpush", "rpush", "lrange_100", "lpop", "rpop", "sadd",
         "sismember", "spop", "hset", "hget", "zadd", "zscore", "zrank", "small_hash")


def train(subject, keys):
    for fsync in (None, "everysec"):
        subject.start(fsync=fsync)
        subject.fill(keys)
        for mix in MIXES:
            for pipeline in (64, 16, 1):
                count = keys // (2 if pipeline > 1 else 8) // (100 if "lrange" in mix else 1)
                load = subject.load_command("--mix", mix, "--pipeline", pipeline, "--keys", keys, "--requests", count)
                subprocess.run(load, stdout=subprocess.DEVNULL, check=True)  # that something isn't there is as well
        subject.stop(signal.SIGTERM)
    subject.start(fsync="everysec", fresh=False)
    subject.stop(signal.SIGTERM)


def main():
    options = argparse.ArgumentParser(description=__doc__.split(":")[0])
    options.add_argument("--ckv", required=True, metavar="PATH", help="built with -fprofile-generate")
    options.add_argument("--load", required=True, metavar="PATH", help="the load generator")
    options.add_argument("--keys", type=int, default=200000)
    args = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="ckv-train-") as parent:
        subject = Subject(os.path.abspath(args.ckv), "ckv", parent, os.path.abspath(args.load))
        try:
            train(subject, args.keys)
        finally:
            subject.stop()


if __name__ == "__main__":
    main()
