#!/usr/bin/env bash
# One person's change in a mirror of 1,000,000 people with 7,000,000 memberships: a delta beside a
# full read in the same run, in time and in rows. No server is needed.
#
# usage: bench/mirror.sh [arguments for `cargo bench --bench mirror --`]
set -euo pipefail
cd "$(dirname "$0")/.."
# `cargo bench` builds the program too, by a profile of its own: not in the place of `target/release/idpsyncd`.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/bench}"
exec cargo bench --bench mirror -- "$@"
