#!/usr/bin/env bash
# Resolve, policy and plan from memory for 1,000,000 users and 7,000,000 memberships: time, peak
# memory, and whether they grow in line from 100,000 users. No server is needed.
#
# usage: bench/pure.sh [arguments for `cargo bench --bench pure --`]
set -euo pipefail
cd "$(dirname "$0")/.."
# `cargo bench` builds the program too, by a profile of its own: not in the place of `target/release/idpsyncd`.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/bench}"
exec cargo bench --bench pure -- "$@"
