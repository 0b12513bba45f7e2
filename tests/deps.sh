#!/bin/bash
# deps.sh PACKAGE...: installs those of the Debian packages that are missing. No network is needed when none is.
#
# SPDX-License-Identifier: GPL-3.0-or-later
set -eu

missing=()
for package in "$@"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "This is not Debian; please install what corresponds to: ${missing[*]}" >&2
    exit 1
fi
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
echo "Installing: ${missing[*]}"
"${as_root[@]}" apt-get update -qq </dev/null
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends \
    "${missing[@]}" </dev/null

# The tests start servers of their own: Debian's services are not left running by being installed here (that is what
# RUNLEVEL=1 above is for where there is no systemd).
for service in redis-server redis-sentinel; do
    if [[ " ${missing[*]} " == *" $service "* ]] && [ -d /run/systemd/system ]; then
        "${as_root[@]}" systemctl disable --now --quiet "$service"
    fi
done
