#!/usr/bin/env bash
# A whole sync at the size that idpsyncd is made for: an LDIF of 1,000,000 users and 7,000,000
# memberships, synced into an empty store, again unchanged, and again after one membership in a
# hundred has changed. Time and peak memory of each, beside `sqlite3 .import` of the same users and
# memberships as rows. No server is needed.
#
# usage: bench/size.sh
# Environment: IDPSYNCD_BIN (target/release/idpsyncd), BENCH_ROUNDS (1 here; the best counts),
#   BENCH_USERS, BENCH_GROUPS, BENCH_MEMBERSHIPS (1000000, 2000, 7000000),
#   BENCH_RULES=few|all (few: 60 groups give 20 roles; all: every group does),
#   BENCH_REFERENCE_ONLY=1 (only the import)
# Needs about 3 GB in the temporary folder. Exit status 1 when a limit is not met.
set -euo pipefail
cd "$(dirname "$0")/.."
BENCH_ROUNDS="${BENCH_ROUNDS:-1}"
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
python3 bench/size_compare.py "${company[@]}" --scratch "$scratch" --binary "$binary" \
  --rounds "$rounds" --rules "${BENCH_RULES:-few}" ${BENCH_REFERENCE_ONLY:+--reference-only}
