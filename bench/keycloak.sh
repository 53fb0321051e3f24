#!/usr/bin/env bash
# How long reading a big Keycloak realm takes, beside replaying the same URLs with the same
# concurrency and throwing the bodies away, and beside asking user by user; all in one run. Then the
# same in a smaller realm that has one organization, where an answer costs the square of its rows: a third of
# the people are members of it, and its members and groups are read too, beside the same lists in small pages.
#
# usage: bench/keycloak.sh
# Environment: IDPSYNCD_BIN (target/release/idpsyncd), BENCH_ROUNDS (3, the best counts),
#   BENCH_USERS, BENCH_GROUPS, BENCH_MEMBERSHIPS (20000, 800, 60000),
#   BENCH_ORGANIZATION_USERS (3000; 80 groups; 0: leave that realm out),
#   IDPSYNCD_KEYCLOAK_HOME (an unpacked and built Keycloak, with its template database; default:
#   what tests/tools/keycloak-fetch.sh fetches),
#   BENCH_REFERENCE_ONLY=1 (only the replay, of a list of URLs made here)
# Exit status 1 when a limit is not met.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/common.sh
. bench/common.sh
# shellcheck source=bench/servers.sh
. bench/servers.sh

need java openjdk-17-jre-headless
need python3 python3
need curl curl
need_binary

users="${BENCH_USERS:-20000}"
groups="${BENCH_GROUPS:-800}"
memberships="${BENCH_MEMBERSHIPS:-60000}"
port="$(free_port)"

say "starting Keycloak"
start_keycloak "$port"

say "making a realm of $users users, $groups groups, $memberships memberships"
python3 bench/gen_realm.py --users "$users" --groups "$groups" --memberships "$memberships" \
  >"$scratch/realm.json"

say "measuring: best of $rounds"
failed=0
compare() {
  python3 bench/keycloak_compare.py --port "$port" --scratch "$scratch" --binary "$binary" \
    --rounds "$rounds" ${BENCH_REFERENCE_ONLY:+--reference-only} "$@" || failed=1
}
compare --realm-file "$scratch/realm.json"

members="${BENCH_ORGANIZATION_USERS:-3000}"
if [ "$members" -gt 0 ]; then
  say "the same with one organization: $members users, 80 groups"
  python3 bench/gen_realm.py --organization --users "$members" --groups 80 \
    --memberships "$((members * 3))" >"$scratch/organization.json"
  compare --realm-file "$scratch/organization.json" --organization
fi
exit "$failed"
