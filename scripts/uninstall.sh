#!/usr/bin/env bash
# Removes what scripts/install.sh put below DESTDIR + PREFIX, and the directories that are vpcctl's own. The VPCs, their state
# and what others installed stay.
set -euo pipefail

prefix=${PREFIX:-/usr/local} root=${DESTDIR-}
prefix=${prefix%/} root=${root%/}
list=$root$prefix/share/vpcctl/installed

if [ ! -e "$list" ]; then
    echo "vpcctl is not installed below $root$prefix: nothing to do" >&2
    exit 0
fi
if [ -z "$root" ] && [ -d /run/systemd/system ] && systemctl --quiet is-enabled vpcctl.service 2>/dev/null; then
    systemctl disable vpcctl.service
fi
while IFS= read -r path; do
    case $path in
    *..*) ;;
    "$prefix"/*) rm -f -- "$root$path" ;;
    esac
done < <(cat "$list")
for dir in share/vpcctl share/doc/vpcctl/examples share/doc/vpcctl; do
    if [ -d "$root$prefix/$dir" ]; then
        rmdir --ignore-fail-on-non-empty "$root$prefix/$dir"
    fi
done
echo "uninstalled vpcctl below $root$prefix; the VPCs and /var/lib/vpcctl are as they were" >&2
