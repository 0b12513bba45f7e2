#!/bin/bash
# check-includes.sh: each room may include only the rooms below it. The last line is `N passed, N failed`: a file is a
# test.
#
# SPDX-License-Identifier: GPL-3.0-or-later
set -u

declare -A may=(
    [base]="base"
    [net]="net base"
    [store]="store base"
    [repl]="repl net store base ckv.h"
    [cmds]="cmds repl/handover.h repl/master.h repl/slave.h net store base ckv.h"
    [tools]="tools repl cmds net store base ckv.h"
    [ckv.c]="tools repl cmds net store base ckv.h"
    [ckv.h]=""
)

passed=0 failed=0
for file in $(find base net store cmds repl tools ckv.[ch] -name '*.[ch]' 2>/dev/null); do
    wrong=
    while read -r header; do
        allowed=
        for room in ${may[${file%%/*}]}; do
            case $header in "$room" | "$room"/*) allowed=yes ;; esac
        done
        [ -n "$allowed" ] || wrong+=" $header"
    done < <(sed -nE 's/^ *# *include *"([^"]*)".*/\1/p' "$file")
    if [ -n "$wrong" ]; then
        echo "FAIL  $file may not include:$wrong"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
