#!/bin/bash
# run.sh BINARY...: runs unit tests; the last line is `N passed, N failed`. A binary that crashes, hangs or ends with an
# error counts at least one failure.
#
# SPDX-License-Identifier: GPL-3.0-or-later
set -u

passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for binary in "$@"; do
    timeout -k 5 400 "$binary" >"$log" 2>&1
    status=$?
    ok=$(grep -c '^\[       OK \]' "$log")
    bad=$(grep -c '^\[  FAILED  \] [a-z_0-9]*$' "$log")
    if [ $status -ne 0 ]; then
        [ "$bad" -gt 0 ] || bad=1
        grep -vE '^\[ (     OK|RUN     ) \]' "$log" | tail -n 60
    fi
    printf '%-32s %4d passed, %d failed\n' "$(basename "$binary")" "$ok" "$bad"
    passed=$((passed + ok)) failed=$((failed + bad))
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
