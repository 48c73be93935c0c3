#!/usr/bin/env bash
# Checks the formatting, the lints, and the shell scripts where shellcheck is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --check
cargo clippy --quiet --all-targets -- -D warnings
if command -v shellcheck >/dev/null; then
    shellcheck .ci/run scripts/*.sh scripts/debian/*
else
    echo 'note: shellcheck is not installed: the scripts are not checked'
fi
