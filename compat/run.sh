#!/bin/bash
# run.sh compat|report: runs the compatibility suites and reports on them. `make compat` and `make report` call it.
#
#   compat   the upstream suite and the transcripts, against build/ckv or a server that is up already; the report is
#            build/compat/REPORT.md, report.html and report.xml (JUnit), the suites' tables are in build/compat/results
#   report   all five suites, against build/ckv; the report is in build/report, compat/REPORT.md is renewed, the tables
#            are in build/results
#
# Environment: TARGET=HOST:PORT (compat only) the server to test, which the tests EMPTY; AUTH=PASSWORD its password, as
# AUTH takes it; FORCE=1 even if it holds keys; REDIS_SUITE=DIR Redis 3.2.13's tests; STEPS=N and SEEDS=N how long the
# differential run of `report` is.
#
# The last line is `N passed, N failed, N skipped`, counting tests. Exit status: 0 passed, 1 something failed, 2 a suite
# could not be run.
#
# SPDX-License-Identifier: GPL-3.0-or-later
set -u
cd "$(dirname "$0")/.." || exit 2

usage() {
    sed -n '2,/^# SPDX/{/SPDX/d;s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

# A suite: its name, and the command that runs it, which leaves a table or is reported as not run.
suite() {
    local name=$1
    shift
    echo "== $name"
    rm -f "$results/$name.tsv"
    "$@" --results "$results" </dev/null
    suites+=${suites:+,}$name
}

[ $# = 1 ] || usage
mode=$1
case $mode in
compat) out=build/compat results=build/compat/results ;;
report) out=build/report results=build/results ;;
*) usage ;;
esac
suites="" server=(--ckv build/ckv) reported=()
mkdir -p "$results" || exit 2

if [ -n "${TARGET:-}" ]; then
    if [ "$mode" != compat ]; then
        echo "TARGET is for make compat: the other suites need a server of their own" >&2
        exit 2
    fi
    server=(--target "$TARGET")
    [ -z "${AUTH:-}" ] || server+=(--auth "$AUTH")
    reported=(--target "$TARGET")
    python3 compat/target.py "$TARGET" "${AUTH:-}" ${FORCE:+--force} || exit 2
    server+=(--force) # the first suite leaves keys behind
fi

suite transcripts python3 compat/replay.py "${server[@]}"
suite upstream python3 compat/upstream/run.py "${server[@]}"
if [ "$mode" = report ]; then
    suite sentinel python3 compat/upstream/sentinel.py
    suite differential python3 compat/differential/fuzz.py --steps "${STEPS:-1000000}" --seeds "${SEEDS:-10}"
    suite clients python3 tests/clients/run.py
fi

echo "== report"
python3 compat/report.py --results "$results" --out "$out" --suites "$suites" "${reported[@]}"
status=$?
if [ "$mode" = report ] && [ -f $out/REPORT.md ]; then
    cp $out/REPORT.md compat/REPORT.md
fi
exit $status
