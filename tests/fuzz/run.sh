#!/bin/bash
# run.sh SECONDS BUILD: runs every fuzz target in BUILD for SECONDS; the last line is `N passed, N failed`. What a
# target finds interesting is kept in BUILD/corpus, what breaks it in BUILD/crashes.
#
# SPDX-License-Identifier: GPL-3.0-or-later
set -u

seconds=$1 build=$2
passed=0 failed=0
mkdir -p "$build/crashes"
for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    binary=$build/$name
    corpus=$build/corpus/$name
    mkdir -p "$corpus"
    if timeout -k 10 $((seconds + 60)) "$binary" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
        -rss_limit_mb=3000 -print_final_stats=1 -artifact_prefix="$build/crashes/$name-" \
        "$corpus" >"$build/$name.log" 2>&1; then
        passed=$((passed + 1))
        echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$build/$name.log") runs, nothing found"
    else
        failed=$((failed + 1))
        echo "$name: FAILED"
        tail -n 60 "$build/$name.log"
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
