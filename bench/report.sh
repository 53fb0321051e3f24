#!/usr/bin/env bash
# How long `who` and `report access` take over a big store: 1,000,000 users with 7,000,000 memberships,
# synced twice, a hundredth of the memberships changed in between. `who` of one request, the report now
# and as of the first generation, all as CSV, beside `sqlite3 -csv` dumps of the same pairs from the
# views. Time and peak memory of each. No server is needed.
#
# usage: bench/report.sh
# Environment: IDPSYNCD_BIN (target/release/idpsyncd), BENCH_ROUNDS (3; the best counts),
#   BENCH_USERS, BENCH_GROUPS, BENCH_MEMBERSHIPS (1000000, 2000, 7000000),
#   BENCH_RULES=few|all (all: every group gives a role; few: 60 of them do)
# Needs about 3 GB in the temporary folder. Exit status 1 when a limit is not met.
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
python3 bench/report_compare.py --scratch "$scratch" --binary "$binary" --rounds "$rounds" \
  --rules "${BENCH_RULES:-all}"
