#!/bin/bash
# check-style.sh: the measurable part of the house style: each file says its licence; no C file is longer than 1,000
# lines, no function outside of tests than 70, no line than 120 characters. The last line is `N passed, N failed`: a
# file is a test.
#
# SPDX-License-Identifier: GPL-3.0-or-later
set -u

passed=0 failed=0
files=$(find . \( -path './build*' -o -path ./compat/golden -o -name .git \) -prune -o \
    -regex '.*\.\(c\|h\|sh\|tcl\|py\)' -print | sort)
for file in $files; do
    wrong=$(awk '
        FNR <= 30 && /SPDX-License-Identifier: GPL-3.0-or-later/ { licence = 1 }
        length($0) > 120 { print FILENAME ":" FNR ": a line of " length($0) " characters" }
        FILENAME ~ /\.c$/ && /^[a-zA-Z].*[^;]$/ && !/^(struct|enum|union|typedef|static const|const)/ { name = $0 }
        FILENAME ~ /\.c$/ && /^{/ { start = FNR }
        FILENAME ~ /\.c$/ && /^}$/ && start {
            if (FNR - start > 70 && FILENAME !~ /tests/)
                print FILENAME ":" start ": a function of " FNR - start " lines: " name
            start = 0
        }
        END {
            if (!licence) print FILENAME ": no SPDX line in its first 30 lines"
            if (FILENAME ~ /\.[ch]$/ && FNR > 1000) print FILENAME ": " FNR " lines"
        }' "$file")
    if [ -n "$wrong" ]; then
        echo "$wrong"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
