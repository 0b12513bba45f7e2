#!/usr/bin/env python3
"""find_suite.py - finds the Redis 3.2.13 test suite, or fetches it.

  compat/upstream/find_suite.py

Prints the directory that holds tests/. It is looked for

  1. at REDIS_SUITE=DIR: a directory that holds tests/, or tests/ itself. If that is wrong, nothing else is tried.
  2. in ${XDG_CACHE_HOME:-~/.cache}/ckv/redis-3.2.13/
  3. in the release archive of the Redis project, which is fetched, checked by its SHA-256, and of which tests/ is kept
     in the cache directory. Nothing of it is ever part of ckv.

For the harness' own tests, CKV_SUITE_URL and CKV_SUITE_SHA256 take the archive's place.
Exit status: 0 found, 1 nowhere to be had, 2 REDIS_SUITE or the archive's checksum is wrong.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.request

VERSION = "redis-3.2.13"
URL = "https://download.redis.io/releases/redis-3.2.13.tar.gz"
SHA256 = "862979c9853fdb1d275d9eb9077f34621596fec1843e3e7f2e2f09ce09a387ba"
SILENCE_S_MAX = 15
FETCH_S_MAX = 120
ARCHIVE_BYTES_MAX = 50_000_000


class NotFound(Exception):
    """The suite is nowhere to be had: it cannot be run here, and that is nobody's mistake."""


class Wrong(Exception):
    """What was asked for or fetched is not the suite: somebody has to look."""


def holds_suite(directory):
    return os.path.isfile(os.path.join(directory, "tests", "test_helper.tcl"))


def cache_directory():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "ckv", VERSION)


def download(url, path):
    """The archive into a file, in bounded time; its SHA-256."""
    end = time.monotonic() + FETCH_S_MAX
    digest, size = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=SILENCE_S_MAX) as source, open(path, "wb") as target:
        while piece := source.read(1 << 16):
            digest.update(piece)
            target.write(piece)
            size += len(piece)
            if time.monotonic() > end or size > ARCHIVE_BYTES_MAX:
                raise OSError("%d bytes after %d s: given up" % (size, FETCH_S_MAX))
    return digest.hexdigest()


def unpack_tests(archive, directory):
    """The plain files under redis-3.2.13/tests/, and only these."""
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = member.name.split("/")
            if not member.isfile() or parts[1:2] != ["tests"] or ".." in parts:
                continue
            path = os.path.join(directory, *parts[1:])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with tar.extractfile(member) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target)


def fetch(directory):
    """Fetches the suite into the cache directory."""
    url = os.environ.get("CKV_SUITE_URL", URL)
    expected = os.environ.get("CKV_SUITE_SHA256", SHA256)
    try:
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        with tempfile.TemporaryDirectory(dir=os.path.dirname(directory), prefix="fetch-") as scratch:
            archive = os.path.join(scratch, "archive")
            print("fetching %s" % url, file=sys.stderr, flush=True)
            found = download(url, archive)
            if found != expected:
                raise Wrong("%s has the SHA-256 %s, not %s: it is not used" % (url, found, expected))
            unpacked = os.path.join(scratch, VERSION)
            unpack_tests(archive, unpacked)
            if not holds_suite(unpacked):
                raise Wrong("%s holds no tests/test_helper.tcl" % url)
            shutil.rmtree(directory, ignore_errors=True)
            os.rename(unpacked, directory)
    except OSError as error:
        raise NotFound("%s could not be fetched: %s" % (url, error)) from error


def find():
    """The directory that holds tests/."""
    asked = os.environ.get("REDIS_SUITE")
    if asked:
        for directory in (asked, os.path.dirname(os.path.abspath(asked))):
            if holds_suite(directory) and (directory == asked or os.path.basename(os.path.abspath(asked)) == "tests"):
                return os.path.abspath(directory)
        raise Wrong("REDIS_SUITE=%s is neither a directory that holds tests/test_helper.tcl nor that tests/" % asked)
    directory = cache_directory()
    if not holds_suite(directory):
        fetch(directory)
    return directory


def not_run_message(reason):
    """What must not be overlooked when the suite is nowhere to be had."""
    return "\n".join([
        "*" * 78,
        "THE UPSTREAM SUITE WAS NOT RUN: nothing is known here about what it would say.",
        "",
        "Why: %s." % reason,
        "",
        "Remedy: on a machine with access to the Internet, `make upstream` fetches it by itself. Without access, get",
        "%s elsewhere, unpack it, and" % URL,
        "say where it is: make upstream REDIS_SUITE=/path/to/%s" % VERSION,
        "*" * 78])


def main():
    if len(sys.argv) > 1:
        print(__doc__.strip())
        return 0 if sys.argv[1] in ("-h", "--help") else 2
    try:
        print(find())
    except NotFound as error:
        print(not_run_message(error), file=sys.stderr)
        return 1
    except Wrong as error:
        print("find_suite: %s" % error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
