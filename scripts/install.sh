#!/usr/bin/env bash
# Installs vpcctl below PREFIX (/usr/local), or for a package below DESTDIR + PREFIX. It keeps a list of what it put there:
# scripts/uninstall.sh removes that and nothing else, and so does the next install with what it doesn't bring any more.
#
#   make build && sudo make install
#   make install DESTDIR=stage PREFIX=/usr VPCCTL_BIN=some/vpcctl
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

prefix=${PREFIX:-/usr/local} root=${DESTDIR-}
prefix=${prefix%/} root=${root%/}
list=$prefix/share/vpcctl/installed
built=${CARGO_TARGET_DIR:-target}/release/vpcctl

fail() {
    printf 'error: %s\n hint: %s\n' "$1" "$2" >&2
    exit 1
}

# The program to install: the one that is given, or the release build, which is built where it is missing or older than the
# sources. Called by sudo, it is the caller who builds: root leaves no files of its own in target/.
program() {
    local as=()
    if [ -n "${VPCCTL_BIN-}" ]; then
        built=$VPCCTL_BIN
    elif [ ! -x "$built" ] || [ -n "$(find src Cargo.toml Cargo.lock -newer "$built" -print -quit)" ]; then
        if [ "$(id -u)" -eq 0 ] && [ "${SUDO_USER:-root}" != root ]; then
            as=(sudo -H -u "$SUDO_USER" "PATH=$PATH:$(getent passwd "$SUDO_USER" | cut -d: -f6)/.cargo/bin")
        fi
        if "${as[@]}" cargo --version >/dev/null 2>&1; then
            "${as[@]}" cargo build --release --quiet >&2
            # What cargo finds current is current.
            "${as[@]}" touch "$built"
        elif [ -x "$built" ]; then
            echo "note: $built is older than the sources, and there is no cargo: it is installed as it is" >&2
        fi
    fi
    [ -x "$built" ] || fail "there is no $built, and no cargo to build it" 'make build, as the user who has cargo'
    realpath "$built"
}

# put MODE FILE PATH: copies a file to a path below the prefix.
put() {
    install -D -m "$1" "$2" "$root$prefix/$3"
    printf '%s\n' "$prefix/$3" >>"$work/list"
}

case $prefix in
*[!A-Za-z0-9/._+-]* | */../* | */..) fail "PREFIX is $prefix, which has more than plain names in it" 'make install PREFIX=/usr/local' ;;
/*) ;;
*) fail "PREFIX is $prefix, which is no absolute path" 'make install PREFIX=/usr/local' ;;
esac
program=$(program)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for what in man completions schema; do
    "$program" --quiet generate "$what" --out "$work/$what"
done
# The unit names the program by its full path.
sed "s|^\\(ExecStart=\\)/usr/local/|\\1$prefix/|" scripts/vpcctl.service >"$work/vpcctl.service"

put 755 "$program" bin/vpcctl
for page in "$work"/man/*; do
    put 644 "$page" "share/man/man1/${page##*/}"
done
put 644 "$work/completions/vpcctl.bash" share/bash-completion/completions/vpcctl
put 644 "$work/completions/_vpcctl" share/zsh/site-functions/_vpcctl
put 644 "$work/completions/vpcctl.fish" share/fish/vendor_completions.d/vpcctl.fish
put 644 "$work/vpcctl.service" lib/systemd/system/vpcctl.service
for schema in "$work"/schema/*; do
    put 644 "$schema" "share/vpcctl/${schema##*/}"
done
if [ -e scripts/cleanup.sh ]; then
    put 755 scripts/cleanup.sh share/vpcctl/cleanup.sh
fi
for document in README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT docs/reference.md; do
    put 644 "$document" "share/doc/vpcctl/${document##*/}"
done
for policy in policies/*.json; do
    put 644 "$policy" "share/doc/vpcctl/examples/${policy##*/}"
done

# What an earlier install put there and this one didn't.
printf '%s\n' "$list" >>"$work/list"
if [ -e "$root$list" ]; then
    { grep -vxFf "$work/list" "$root$list" || true; } | while IFS= read -r path; do
        case $path in
        *..*) ;;
        "$prefix"/*) rm -f -- "$root$path" ;;
        esac
    done
fi
install -D -m 644 "$work/list" "$root$list"
echo "installed vpcctl below $root$prefix" >&2
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    echo ' hint: systemctl enable vpcctl, and each boot restores the VPCs' >&2
fi
