#!/usr/bin/env bash
# Runs all tests and prints their results: by cargo-nextest where it is installed, by cargo alone elsewhere. What cargo
# builds before is silent unless it fails.
set -euo pipefail
exec 2>&1

if ! cargo nextest --version >/dev/null 2>&1; then
    cargo test --no-run --quiet
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    status=0
    cargo test --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?
    awk '/^test result: / { passed += $4; failed += $6; ignored += $8 }
        END { printf "Summary: %d tests passed, %d failed, %d ignored\n", passed, failed, ignored }' "$log"
    exit "$status"
fi

# A result on the way to a file or a pipe is for reading: no progress bars.
[ -t 1 ] || export NEXTEST_SHOW_PROGRESS=none
status=0
cargo nextest run --cargo-quiet --no-fail-fast "$@" || status=$?
# Examples in the documentation are what nextest can't run.
if ! examples=$(cargo test --doc --quiet) || ! grep -q '^running 0 tests' <<<"$examples"; then
    printf '%s\n' "$examples"
    grep -q '^test result: ok' <<<"$examples" || status=1
fi
exit "$status"
