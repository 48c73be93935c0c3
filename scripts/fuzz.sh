#!/bin/sh
# Runs each fuzz target for a bounded time: SECONDS_EACH, 60 by default; or those that are named. What makes one fail is left
# in fuzz/artifacts. It needs a nightly compiler for its coverage of the program, and nothing else.
set -eu
cd "$(dirname "$0")/../fuzz"

host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions"
RUSTFLAGS=$(echo "$coverage" | tr '\n' ' ')
export RUSTFLAGS

cargo +nightly build --release --quiet --target "$host"
programs=${CARGO_TARGET_DIR:-target}/$host/release
test $# -gt 0 || set -- policy_file state_file command_line topology_file
for name in "$@"; do
    mkdir -p "corpus/$name" "artifacts/$name"
    "$programs/$name" -max_total_time="${SECONDS_EACH:-60}" -max_len=8192 -timeout=10 -print_final_stats=1 \
        -artifact_prefix="artifacts/$name/" "corpus/$name" "../tests/seeds/$name"
done
