#!/usr/bin/env bash
# Access tokens in a big store: an LDIF of 1,000,000 users and 7,000,000 memberships is synced, every
# user gets a token (1,000,000 rows, put into the store as `token create` would), and then one token is
# made, listed among all, and revoked. Beside it `grant add` on the same store, which reads the same
# state, and a dump of the same rows by sqlite3; then an unchanged sync, and one after one membership in a
# hundred has changed, with time and peak memory.
#
# usage: bench/store_tokens.sh
# Environment: IDPSYNCD_BIN (target/release/idpsyncd), BENCH_ROUNDS (3; the best counts),
#   BENCH_USERS, BENCH_GROUPS, BENCH_MEMBERSHIPS (1000000, 2000, 7000000)
# Needs about 4 GB in the temporary folder. Exit status 1 when a limit is not met.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/common.sh
. bench/common.sh

need sqlite3 sqlite3
need python3 python3
need_binary

company=(--users "${BENCH_USERS:-1000000}" --groups "${BENCH_GROUPS:-2000}"
  --memberships "${BENCH_MEMBERSHIPS:-7000000}")

say "making ${company[*]}"
python3 bench/gen_ldif.py "${company[@]}" >"$scratch/before.ldif"
python3 bench/gen_ldif.py "${company[@]}" --moved 1 >"$scratch/after.ldif"

say "measuring: best of $rounds"
python3 bench/store_tokens_compare.py --users "${BENCH_USERS:-1000000}" --scratch "$scratch" \
  --binary "$binary" --rounds "$rounds"
