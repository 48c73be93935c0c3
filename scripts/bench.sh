#!/usr/bin/env bash
# Runs the benchmarks, built for release, in a sandbox. From the environment: JSON, a file for the results; ONLY, `engine` or
# `wire`; QUICK=1, small networks and short runs.
set -euo pipefail
cd "$(dirname "$0")/.."

words=()
[ -z "${QUICK-}" ] || words+=(--quick)
[ -z "${JSON-}" ] || words+=(--json "$(realpath -m -- "$JSON")")
[ -z "${ONLY-}" ] || words+=("$ONLY")
exec cargo bench --quiet --bench cost -- "${words[@]}"
