#!/bin/bash
# run.sh: every test there is, in the order in which a failure is cheapest to learn of. The last line is
# `N passed, N failed, N skipped`; exit status 1 if anything failed.
#
# SPDX-License-Identifier: GPL-3.0-or-later
set -u
cd "$(dirname "$0")/.." || exit 1

passed=0 failed=0 skipped=0
failures=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT
make=(make --no-print-directory -s -j"$(nproc)")

# Runs a command and adds the counts that it prints last; a command without counts is one test.
step() {
    local name=$1 start=$SECONDS status line p=0 f=0 s=0
    shift
    echo "== $name"
    "$@" </dev/null 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    line=$(grep -E '^[0-9]+ passed, ' "$log" | tail -n 1)
    if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
        p=${BASH_REMATCH[1]} f=${BASH_REMATCH[2]} s=${BASH_REMATCH[4]:-0}
    elif [ "$status" = 0 ]; then
        p=1
    fi
    [ "$status" = 0 ] || [ "$f" -gt 0 ] || f=1
    [ "$f" = 0 ] || failures+=("$name: $f failed")
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    echo "-- $name: $((SECONDS - start)) s"
}

step "include rule" tests/check-includes.sh
step "style" tests/check-style.sh
step "build with gcc" "${make[@]}" all units CC=gcc
step "prefetches" tests/check-prefetch.sh build/ckv
step "unit tests" "${make[@]}" unit CC=gcc
step "end-to-end tests" make -s e2e CC=gcc
step "what is on the disk" tests/format/test_format.py build/ckv
step "service of systemd" tests/service/test_service.py build/ckv
step "load generator" make -s test-load CC=gcc
step "benchmark" make -s test-bench CC=gcc
step "RDB files and real servers" tests/rdb/test_rdb.py build/ckv
step "faults" make -s fault-quick CC=gcc
step "replication and failover" make -s ha-test CC=gcc
step "upgrades" make -s upgrade-test CC=gcc
step "golden transcripts" make -s golden CC=gcc
step "upstream harness" compat/upstream/selftest.py
step "upstream suite" make -s upstream CC=gcc IF_FOUND=1
step "upstream suite, Sentinel" make -s sentinel-suite CC=gcc IF_FOUND=1
step "differential tests" make -s differential CC=gcc
step "Redis as slaves" make -s replicas CC=gcc
step "clients" make -s clients CC=gcc
step "report" tests/report/test_report.py
step "transcripts against a target" tests/report/test_replay.py build/ckv
step "README" "${make[@]}" check-readme CC=gcc
step "build with clang" "${make[@]}" all units CC=clang
step "build with sanitizers" "${make[@]}" all units CC=gcc SAN=asan
step "unit tests, sanitizers" "${make[@]}" unit CC=gcc SAN=asan
step "end-to-end tests, sanitizers" make -s e2e CC=gcc SAN=asan
step "flipped bytes, sanitizers" tests/fault/flip.py --ckv build-asan/ckv --sample 60 --checkpoints 1
step "golden transcripts, sanitizers" make -s golden CC=gcc SAN=asan
step "fuzz" make -s fuzz FUZZ_SECONDS=20
step "lint" make -s lint

echo
printf '%s\n' "${failures[@]+"${failures[@]}"}"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
