#!/usr/bin/env bash
# Many gateways on one database: 100 real `idpsyncd serve`, each with a replica and connections of its own, follow a
# store of 10,000 people on PostgreSQL. Someone is disabled, and all are asked until all deny: measured from the commit as
# the database dates it. What they ask of the database at rest, and for one change. Then one `serve` on a store of
# 1,000,000 people, through a proxy that counts: what one person's change brings it.
#
# usage: bench/followers.sh [many] [bytes]   (default: both)
# Environment: IDPSYNCD_BIN (target/release/idpsyncd), BENCH_FOLLOWERS (100), BENCH_CHANGES (20),
#   BENCH_PEOPLE (10000), BENCH_USERS (1000000), BENCH_MEMBERSHIPS (seven for each of BENCH_USERS)
# `many` needs about 5 GB of memory, `bytes` about 5 GB in the temporary folder. Exit status 1 when a limit is
# not met.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/common.sh
. bench/common.sh
# shellcheck source=bench/postgres_server.sh
. bench/postgres_server.sh

need python3 python3
need_binary
[ $# -gt 0 ] || set -- many bytes
for part in "$@"; do
  [ "$part" = many ] || [ "$part" = bytes ] || die "\`$part\` is neither many nor bytes"
done
users="${BENCH_USERS:-1000000}"
people="${BENCH_PEOPLE:-10000}"

# By it the moment of each commit is known.
postgres_settings+=(track_commit_timestamp=on)
start_postgres

failed=0
for part in "$@"; do
  case $part in
  many) company=(--users "$people" --groups 200 --memberships "$((people * 7))") ;;
  bytes) company=(--users "$users" --groups 2000 --memberships "${BENCH_MEMBERSHIPS:-$((users * 7))}") ;;
  esac
  say "$part: making ${company[*]}"
  python3 bench/gen_ldif.py "${company[@]}" >"$scratch/company.ldif"
  say "$part: measuring"
  python3 bench/followers.py "$part" --scratch "$scratch" --binary "$binary" --port "$postgres_port" \
    --server "${servers[0]}" --followers "${BENCH_FOLLOWERS:-100}" --changes "${BENCH_CHANGES:-20}" || failed=1
done
exit "$failed"
