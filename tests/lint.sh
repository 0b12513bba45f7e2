#!/bin/bash
# lint.sh CFLAGS: layout, cppcheck and clang-tidy over all C files; the last line is `N passed, N failed`.
#
# SPDX-License-Identifier: GPL-3.0-or-later
set -u

cflags=$1
passed=0 failed=0
mapfile -t all < <(find . -path './build*' -prune -o -name '*.[ch]' -print)
mapfile -t sources < <(find base net store cmds repl tools compat bench ckv.c -name '*.c' 2>/dev/null)

check() {
    local name=$1
    shift
    if "$@"; then
        echo "$name: nothing to say"
        passed=$((passed + 1))
    else
        echo "$name: FAILED"
        failed=$((failed + 1))
    fi
}

tidy() {
    # shellcheck disable=SC2086
    printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -I{} clang-tidy --quiet {} -- $cflags 2>/dev/null
}

check clang-format clang-format --dry-run -Werror "${all[@]}"
check cppcheck cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr -I. -j "$(nproc)" \
    --enable=warning,performance,portability --suppressions-list=tests/cppcheck.suppress "${sources[@]}"
check clang-tidy tidy
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
