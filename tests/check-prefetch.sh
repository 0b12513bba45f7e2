#!/bin/bash
# check-prefetch.sh PROGRAM: are the prefetches in the program? A compiler may drop them without a word (prefetch.h),
# and nothing but speed tells. Each function is a test; A|B:3: A, or if the compiler put it into B, three of them there.
# The last line is `N passed, N failed`.
#
# SPDX-License-Identifier: GPL-3.0-or-later
set -u

functions="keyspace_prefetch|run_chunk:3 run_chunk|command_run_batch look_ahead|keys_next prefetch_batch
    element_find_many table_split|table_insert free_prefetch|table_free_some pages_prefetch|checkpoint_step
    wheel_next|expire_run|upkeep_tick"

case $(uname -m) in
    x86_64) instruction='prefetch' ;;
    aarch64) instruction='prfm' ;;
    *) echo "no such check for $(uname -m)"; echo "0 passed, 0 failed"; exit 0 ;;
esac
having=$(objdump -d --no-show-raw-insn "$1" |
    awk -v instruction="$instruction" '/^[0-9a-f]+ </ { name = substr($2, 2, length($2) - 3) }
        index($0, instruction) && !/</ { sub(/\..*/, "", name); print name ":" ++count[name] }')
passed=0 failed=0
for function in $functions; do
    if echo "$having" | grep -qxE "$(echo "$function" | sed -E 's/([a-z_]+)(\||$)/\1:1\2/g')"; then
        passed=$((passed + 1))
    else
        echo "FAIL  $1: $function has no prefetch"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
