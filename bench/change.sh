#!/usr/bin/env bash
# One person's change among 10,000, 100,000 and 1,000,000 people with seven memberships each, from what a
# feed tells to a gateway's replica: CPU time, beside a full run that finds one. No server is needed.
#
# usage: bench/change.sh [arguments for `cargo bench --bench change --`]
# Environment: BENCH_USERS (10000,100000,1000000), BENCH_ALL=1 (everybody in one group more)
set -euo pipefail
cd "$(dirname "$0")/.."
# `cargo bench` builds the program too, by a profile of its own: not in the place of `target/release/idpsyncd`.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/bench}"
exec cargo bench --bench change -- "$@"
