#!/usr/bin/env bash
# Runs a command that starts sandboxes by way of cargo. A sandbox needs user namespaces. Where only root may use them
# (Ubuntu since 23.10, hardened kernels), cargo builds as it is and starts what it built by sudo.
set -euo pipefail

# What a sandbox does first, with the options of `unshare` given.
works() {
    local how=$1
    shift
    # shellcheck disable=SC2086 # a command, or none
    $how unshare "$@" --net --mount --pid --fork ip link set dev lo up >/dev/null 2>&1
}

if [ "${1-}" = --as-root ]; then
    shift
    exec sudo -E env "PATH=$PATH" "$@"
fi
if works '' --user --map-root-user || { [ "$(id -u)" -eq 0 ] && works ''; }; then
    exec "$@"
fi
sudo='sudo -n'
[ ! -t 0 ] || sudo=sudo
if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null && $sudo true && works "$sudo"; then
    echo 'note: this machine keeps user namespaces to root: sandboxes are started by sudo' >&2
    target=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${target}_RUNNER=$(realpath "$0") --as-root"
    exec "$@"
fi
cat >&2 <<'END'
error: this machine lets nobody make network namespaces
 hint: run it as root or where user namespaces are allowed; a container needs `--privileged`
END
exit 1
