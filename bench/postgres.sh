#!/usr/bin/env bash
# The store on PostgreSQL beside the store on SQLite, by turns: an LDIF of 1,000,000 users and 7,000,000
# memberships is synced into an empty store, again unchanged, and by `store copy` from one into the other. Then one
# person's change at a time, as a feed tells it, and what the database works for it.
#
# usage: bench/postgres.sh [first] [change]   (default: both)
# Environment: IDPSYNCD_BIN (target/release/idpsyncd), BENCH_ROUNDS (1 here; the best of each counts, and of ratios the middle one),
#   BENCH_USERS, BENCH_GROUPS, BENCH_MEMBERSHIPS (1000000, 2000, 7000000), BENCH_RULES=few|all
# Needs about 8 GB in the temporary folder; `change` builds a bench of `cargo bench`. Exit status 1 when a
# limit is not met.
set -euo pipefail
cd "$(dirname "$0")/.."
BENCH_ROUNDS="${BENCH_ROUNDS:-1}"
# shellcheck source=bench/common.sh
. bench/common.sh
# shellcheck source=bench/postgres_server.sh
. bench/postgres_server.sh

need python3 python3
users="${BENCH_USERS:-1000000}"
company=(--users "$users" --groups "${BENCH_GROUPS:-2000}" --memberships "${BENCH_MEMBERSHIPS:-7000000}")
[ $# -gt 0 ] || set -- first change
for part in "$@"; do
  [ "$part" = first ] || [ "$part" = change ] || die "\`$part\` is neither first nor change"
done

start_postgres

measure_first() {
  need_binary
  say "making ${company[*]}"
  python3 bench/gen_ldif.py "${company[@]}" >"$scratch/company.ldif"
  say "measuring: best of $rounds"
  python3 bench/postgres_compare.py "${company[@]}" --scratch "$scratch" --binary "$binary" \
    --rounds "$rounds" --rules "${BENCH_RULES:-few}" --port "$postgres_port" --server "${servers[0]}"
  rm "$scratch/company.ldif"
}

# The program's own CPU and the database's time, with a store of its own.
measure_change() {
  say "one change among $users people"
  export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/bench}"
  BENCH_USERS="$users" BENCH_POSTGRES="postgresql://idpsyncd@127.0.0.1:$postgres_port/idpsyncd" \
    cargo bench --bench change
}

failed=0
for part in "$@"; do
  "measure_$part" || failed=1
done
exit "$failed"
