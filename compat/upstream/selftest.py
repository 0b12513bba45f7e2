#!/usr/bin/env python3
"""selftest.py - can the harness fail? Runs run.py, sentinel.py and find_suite.py on a little suite of its own, made on
the spot.

  compat/upstream/selftest.py [--ckv build/ckv]

The last line is `N passed, N failed`; exit status 1 if anything failed.

SPDX-License-Identifier: GPL-3.0-or-later
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

# What client.tcl needs of a suite: the procedures that it replaces, and a client.
HELPER = r"""
set ::all_tests { unit/cases unit/more }
namespace eval redis { array set fd {} }
set ::servers {}
set ::tags {}
set ::redis::id 0
proc redis {host port {deferred 0}} {
    set id [incr ::redis::id]
    set ::redis::fd($id) [socket $host $port]
    fconfigure $::redis::fd($id) -translation binary
    set ::redis::addr($id) [list $host $port]
    set ::redis::blocking($id) 1
    interp alias {} ::redis::redisHandle$id {} ::redis::__dispatch__ $id
}
proc ::redis::redis_reset_state {id} {}
proc ::redis::__method__close {id fd} { close $fd; unset ::redis::fd($id) }
proc ::redis::__dispatch__ {id name args} { ::redis::talk $id $name {*}$args }
proc ::redis::talk {id name args} {
    set fd $::redis::fd($id)
    puts -nonewline $fd "*[expr {[llength $args] + 1}]\r\n"
    foreach word [concat [list $name] $args] { puts -nonewline $fd "$[string length $word]\r\n$word\r\n" }
    flush $fd
    set line [string trim [gets $fd]]
    switch [string index $line 0] {
        - { error [string range $line 1 end] }
        * { return $line }
        $ { return [string trim [gets $fd]] }
    }
    string range $line 1 end
}
proc srv {level name} { dict get [lindex $::servers end] $name }
proc r {args} { [srv 0 client] {*}$args }
proc assert {condition} { if {![uplevel 1 [list expr $condition]]} { error "assertion:not true: $condition" } }
proc assert_equal {a b} { if {$a ne $b} { error "assertion:$a is not $b" } }
proc assert_match {a b} { if {![string match $a $b]} { error "assertion:$b is not like $a" } }
proc assert_encoding {encoding key} { assert_match "*$encoding*" [r debug object $key] }
proc wait_for_condition {tries delay condition else script} {}
proc find_available_port {start} {}
proc send_data_packet {fd status data} {}
proc test {args} {}
proc reconnect {} {
    set server [lindex $::servers end]
    dict set server client [redis 127.0.0.1 [srv 0 port]]
    lset ::servers end $server
    r select 9
}
proc start_server {options code} {
    set port [find_available_port 0]
    set f [open tests/tmp/conf w]
    puts $f "port $port\ndir tests/tmp"
    close $f
    set pid [exec src/redis-server tests/tmp/conf > tests/tmp/log &]
    while {[catch {close [socket 127.0.0.1 $port]}]} { after 10 }
    lappend ::servers [dict create port $port client {}]
    reconnect
    uplevel 1 $code
    exec kill $pid
    set ::servers [lrange $::servers 0 end-1]
}

if {$::client} {
    error "the runner of the suite itself was started"
}
"""

CASES = r"""
start_server {} {
    r eval "return 1" 0
    test {passes} { r set k v; r get k } {v}
    test {fails} { r set k v; assert_equal v w }
    test {fails by its value} { r get k } {other}
    test {fails in MULTI} { r select 5; r multi; r set k v; error "no more" }
    test {comes after it} { r get k } {v}
    test {comes again} { r ping } {PONG}
    test {comes again} { r ping } {PONG}
    test {is refused} { r eval "return 1" 0 } {1}
    test {reaches no refusal} { r get k } {1}
    test {builds on a refusal} { r get k } {loaded}
    test {differs} { error "as documented" }
    test {differs otherwise} { error "in another way" }
    test {differs no more} { r ping }
    test {needs more than it says} { r flushall } {OK}
    test {needs what it says} { r set k v; assert_encoding embstr k }
    test {needs less than it says} { r ping } {PONG}
    test {waits} { r eval {return {ok='OK'}} 0 } {OK}
    test {waits no more} { r ping } {PONG}
    test {is not applicable} { error "was run" }
    test {nobody knows} { r ping } {PONG}
}
"""

MORE = r"""
start_server {} {
    test {hangs} { exec sh -c {echo $PPID > "$CKV_SELFTEST_PID"}; while 1 { after 100 } }
}
"""

# file, test, class, what, expect, status to come
TABLE = [
    ("unit/cases", "passes", "run", "", "", "passed"),
    ("unit/cases", "fails", "run", "", "", "failed"),
    ("unit/cases", "fails by its value", "run", "", "", "failed"),
    ("unit/cases", "fails in MULTI", "run", "", "", "failed"),
    ("unit/cases", "comes after it", "run", "", "", "passed"),
    ("unit/cases", "comes again", "run", "", "", "passed"),
    ("unit/cases", "comes again #2", "run", "", "", "passed"),
    ("unit/cases", "is refused", "refused", "eval", "", "passed"),
    ("unit/cases", "reaches no refusal", "refused", "eval", "", "failed"),
    ("unit/cases", "builds on a refusal", "refused", "eval", "Expected 'loaded'*", "passed"),
    ("unit/cases", "differs", "difference", "auth-form", "as documented", "passed"),
    ("unit/cases", "differs otherwise", "difference", "auth-form", "as documented", "failed"),
    ("unit/cases", "differs no more", "difference", "auth-form", "as documented", "failed"),
    ("unit/cases", "needs more than it says", "run", "", "", "failed"),
    ("unit/cases", "needs what it says", "admin", "assert_encoding", "", "passed"),
    ("unit/cases", "needs less than it says", "admin", "flushall", "", "failed"),
    ("unit/cases", "waits", "waits", "scripts", "eval", "skipped"),
    ("unit/cases", "waits no more", "waits", "replication", "save", "failed"),
    ("unit/cases", "is not applicable", "not-applicable", "it says so", "", "skipped"),
    ("unit/cases", "is gone from the suite", "run", "", "", "failed"),
    ("unit/more", "hangs", "run", "", "", "failed"),
]

# What sentinel.tcl needs of a suite.
INSTANCES = r"""
proc spawn_instance {type port count {conf {}}} {
    if {![file executable ../../../src/redis-server]} { error "no server" }
}
proc R {number args} { return PONG }
proc assert {condition} { if {![uplevel 1 [list expr $condition]]} { error "assertion:not true: $condition" } }
proc assert_match {a b} {}
proc assert_equal {a b} {}
proc wait_for_condition {tries delay condition else script} {}
proc abort_sentinel_test {message} {}
proc test {args} {}
proc cleanup {} {}
cd tmp
"""
SENTINEL_RUN = r"""
cd tests/sentinel
source ../instances.tcl
set ::instances_count 1

if {[catch main e]} { error "the runner of the suite itself was started" }
"""
SENTINEL_UNITS = {
    "00-good": r"""
test "passes on 127.0.0.1:1234" { assert {[R 0 ping] eq "PONG"} }
test "comes again" {}
test "comes again" {}
test "sends more than it says" { R 0 slaveof no one }
test "needs what it says" { R 0 slaveof no one }
test "is not applicable" { error "was run" }
test "nobody knows" {}
""",
    "01-bad": r"""
test "fails" { assert {1 == 2} }
test "comes after it" {}
""",
    "02-ended": r"""
test "ends" {}
error "no more"
""",
    "03-empty": "# Test what is to be written yet.\n"}
SENTINEL_TABLE = [
    ("00-good", "passes on 127.0.0.1:PORT", "run", "", "", "passed"),
    ("00-good", "comes again", "run", "", "", "passed"),
    ("00-good", "comes again #2", "run", "", "", "passed"),
    ("00-good", "sends more than it says", "run", "", "", "failed"),
    ("00-good", "needs what it says", "admin", "slaveof", "", "passed"),
    ("00-good", "is not applicable", "not-applicable", "it says so", "", "skipped"),
    ("01-bad", "fails", "run", "", "", "failed"),
    ("01-bad", "comes after it", "run", "", "", "failed"),
    ("02-ended", "ends", "run", "", "", "passed"),
    ("02-ended", "would be next", "run", "", "", "failed"),
]

passed = failed = 0


def check(name, condition, detail=""):
    global passed, failed
    if condition:
        passed += 1
    else:
        failed += 1
        print("FAIL  %s: %s" % (name, detail), flush=True)


def start(program, *arguments, **environment):
    """Runs one of the harness' programs: (exit status, what it printed)."""
    env = {key: value for key, value in os.environ.items() if key not in ("REDIS_SUITE", "XDG_CACHE_HOME")}
    done = subprocess.run([sys.executable, os.path.join(HERE, program), *arguments], env={**env, **environment},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    return done.returncode, done.stdout


def make_suite(directory):
    os.makedirs(os.path.join(directory, "tests", "unit"))
    for name, text in (("test_helper", HELPER), ("unit/cases", CASES), ("unit/more", MORE)):
        with open(os.path.join(directory, "tests", name + ".tcl"), "w", encoding="utf-8") as f:
            f.write(text)


def make_sentinel_suite(tests):
    units = os.path.join(tests, "sentinel", "tests")
    os.makedirs(units)
    for path, text in (("instances.tcl", INSTANCES), ("sentinel/run.tcl", SENTINEL_RUN),
                       *(("sentinel/tests/%s.tcl" % name, text) for name, text in SENTINEL_UNITS.items())):
        with open(os.path.join(tests, path), "w", encoding="utf-8") as f:
            f.write(text)


def write_table(scratch, rows):
    table = os.path.join(scratch, "table.tsv")
    with open(table, "w", encoding="utf-8") as f:
        f.write("file\ttest\tclass\twhat\texpect\ttarget\n")
        f.writelines("\t".join(row[:5]) + "\t\n" for row in rows)
    return table


def check_rows(scratch, name, rows):
    """The results against what the rows have last, and a test that has none: {name: result}, {name: status}."""
    expected = {name: row_status for _, name, _, _, _, row_status in rows}
    expected["nobody knows"] = "failed"
    with open(os.path.join(scratch, name + ".tsv"), encoding="utf-8") as f:
        found = {line.split("\t")[2]: line.rstrip("\n").split("\t") for line in f.readlines()[1:]}
    for test, row_status in expected.items():
        row = found.get(test, [""] * 9)
        check("the test that " + test, row[4] == row_status, "'%s' instead of %s: %s" % (row[4], row_status, row[8]))
    check("no other test", not found.keys() - expected.keys(), found.keys() - expected.keys())
    return found, expected


def check_counts(expected, output):
    counts = tuple(list(expected.values()).count(kind) for kind in ("passed", "failed", "skipped"))
    check("the counts", "%d passed, %d failed, %d skipped" % counts == output.splitlines()[-1], output)


def check_sentinel(scratch, suite, ckv):
    if not shutil.which("redis-sentinel"):
        return
    table = write_table(scratch, SENTINEL_TABLE)
    status, output = start("sentinel.py", "--ckv", ckv, "--table", table, "--results", scratch, REDIS_SUITE=suite)
    check("a run of Sentinel's with failures", status == 1, "exit status %d:\n%s" % (status, output))
    found, expected = check_rows(scratch, "sentinel", SENTINEL_TABLE)
    check("its suite", all(row[0] == "sentinel" for row in found.values()), output)
    check("its assertions are counted", found["passes on 127.0.0.1:PORT"][5] == "1", output)
    check_counts(expected, output)


def check_verdicts(scratch, suite, ckv):
    table = write_table(scratch, TABLE)
    pid_file = os.path.join(scratch, "pid")
    status, output = start("run.py", "--ckv", ckv, "--table", table, "--results", scratch, "--seconds", "3",
                           REDIS_SUITE=suite, CKV_SELFTEST_PID=pid_file)
    check("a run with failures", status == 1, "exit status %d:\n%s" % (status, output))
    found, expected = check_rows(scratch, "upstream", TABLE)
    check("assertions are counted", found["fails"][5] == "1" and found["passes"][5] == "1", found["fails"])
    check("commands are recorded", found["passes"][7] == "get set", found["passes"][7])
    check_counts(expected, output)
    check("a test can hang", os.path.exists(pid_file), output)
    if os.path.exists(pid_file):
        with open(pid_file, encoding="utf-8") as f:
            check("what hangs is ended", not os.path.exists("/proc/" + f.read().strip()), "it still runs")
    status, output = start("run.py", "--ckv", ckv, "--table", table, "unit/nothing", REDIS_SUITE=suite)
    check("a file that is missing", status == 2, output)


def check_target(suite, scratch, ckv):
    log = os.path.join(scratch, "log")
    with open(log, "w", encoding="utf-8") as f:
        server = subprocess.Popen([ckv, "--port", "0", "--dir", scratch], stdout=f, stdin=subprocess.DEVNULL)
    try:
        port = None
        while port is None and server.poll() is None:
            with open(log, encoding="utf-8") as f:
                port = re.search(r"accept connections on port (\d+)", f.read())
        address = "127.0.0.1:" + port.group(1)
        subprocess.run(["redis-cli", "-p", port.group(1), "set", "k", "v"], stdout=subprocess.DEVNULL, check=True)
        status, output = start("run.py", "--target", address, REDIS_SUITE=suite)
        check("a target that holds keys", status == 2 and "--force" in output, output)
    finally:
        server.kill()
        server.wait()
    status, output = start("run.py", "--target", address, REDIS_SUITE=suite)
    check("a target that is not there", status == 2 and "no server" in output, output)


def check_search(scratch, suite):
    archive = os.path.join(scratch, "redis.tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(os.path.join(suite, "tests"), "redis-3.2.13/tests")
        tar.add(__file__, "redis-3.2.13/src/redis.c")
    with open(archive, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    cache = os.path.join(scratch, "cache")
    fetched = {"XDG_CACHE_HOME": cache, "CKV_SUITE_URL": "file://" + archive}
    status, output = start("find_suite.py", **fetched)
    check("an archive with a wrong checksum", status == 2 and "SHA-256" in output, output)
    check("it leaves nothing", not os.listdir(os.path.join(cache, "ckv")), os.listdir(os.path.join(cache, "ckv")))
    status, output = start("find_suite.py", CKV_SUITE_SHA256=digest, **fetched)
    directory = output.splitlines()[-1]
    check("an archive is fetched", status == 0 and os.listdir(directory) == ["tests"], output)
    status, output = start("find_suite.py", XDG_CACHE_HOME=cache, CKV_SUITE_URL="file:///nowhere")
    check("then it is in the cache", status == 0 and output.strip() == directory, output)
    for asked in (suite, os.path.join(suite, "tests")):
        status, output = start("find_suite.py", REDIS_SUITE=asked)
        check("REDIS_SUITE", status == 0 and output.strip() == suite, output)
    status, output = start("run.py", "--if-found", REDIS_SUITE=scratch)
    check("a wrong REDIS_SUITE", status == 2 and "REDIS_SUITE" in output, output)
    nowhere = {"XDG_CACHE_HOME": os.path.join(scratch, "empty"), "CKV_SUITE_URL": "http://127.0.0.1:9/redis.tar.gz"}
    status, output = start("run.py", **nowhere)
    check("a suite that is nowhere", status == 2 and "WAS NOT RUN" in output, output)
    for program in ("run.py", "sentinel.py"):
        status, output = start(program, "--if-found", **nowhere)
        check(program + ": or is skipped", status == 0 and output.endswith("0 passed, 0 failed, 1 skipped\n"), output)


def main():
    arguments = sys.argv[1:]
    if arguments[:1] not in ([], ["--ckv"]) or len(arguments) not in (0, 2):
        print(__doc__.strip())
        return 0 if arguments in (["-h"], ["--help"]) else 2
    ckv = os.path.abspath(arguments[1] if arguments else "build/ckv")
    with tempfile.TemporaryDirectory(prefix="ckv-selftest-") as scratch:
        suite = os.path.join(scratch, "suite")
        make_suite(suite)
        make_sentinel_suite(os.path.join(suite, "tests"))
        check_verdicts(scratch, suite, ckv)
        check_sentinel(scratch, suite, ckv)
        check_target(suite, scratch, ckv)
        check_search(scratch, suite)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
