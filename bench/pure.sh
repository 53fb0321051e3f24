#!/usr/bin/env bash
# Resolve, policy and plan from memory for 1,000,000 users and 7,000,000 memberships: time, peak
# memory, and whether they grow in line from 100,000 users. No server is needed.
#
# usage: bench/pure.sh [arguments for `cargo bench --bench pure --`]
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo bench --bench pure -- "$@"
