#!/usr/bin/env bash
# Installs what `make demo` and `make test` need and this machine lacks, from Debian's or Ubuntu's archive.
# Where nothing is missing it does nothing and says nothing.
set -euo pipefail

# Each tool and the package that has it.
tools="
cc         gcc libc6-dev
curl       curl
ip         iproute2
ping       iputils-ping
ipset      ipset
iptables   iptables
nc         netcat-openbsd
nft        nftables
pkill      procps
python3    python3
strace     strace
unshare    util-linux
"

fail() {
    printf 'error: %s\n hint: %s\n' "$1" "$2" >&2
    exit 1
}

has() {
    case $1 in
    # There is another `nc`, with other options.
    nc) command -v nc >/dev/null && nc -h 2>&1 | grep -q OpenBSD ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# The packages of the tools that are missing.
missing() {
    local tool packages
    while read -r tool packages; do
        if [ -n "$tool" ] && ! has "$tool"; then
            printf '%s ' "$packages"
        fi
    done <<<"$tools"
}

# As root: as it is, or by sudo, which may ask for the password where there is somebody to ask.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >>"$log" 2>&1
}

# shellcheck disable=SC2086 # a list of packages
install() {
    apt install -y --no-install-recommends $1 || { apt update && apt install -y --no-install-recommends $1; }
}

command -v cargo >/dev/null || fail 'cargo is missing' 'install Rust 1.89 or later, with rustup for instance'
packages=$(missing)
[ -n "$packages" ] || exit 0

by_hand="apt-get install ${packages% }"
command -v apt-get >/dev/null || fail "tools are missing, and there is no apt-get" "install what is in Debian's ${packages% }"
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "tools are missing, and only root can install them" "as root: $by_hand"
    # What sudo asks has to be seen, so it is asked before the output goes to a file.
    as_root true || fail "tools are missing, and sudo lets nobody install them" "as root: $by_hand"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
printf 'installing %s\n' "${packages% }" >&2
if ! install "$packages"; then
    tail -n 20 "$log" >&2
    fail 'apt-get cannot install them' "is there a network? by hand: $by_hand"
fi
packages=$(missing)
[ -z "$packages" ] || fail "still missing after the installation: ${packages% }" "by hand: apt-get install ${packages% }"
