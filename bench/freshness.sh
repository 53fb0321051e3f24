#!/usr/bin/env bash
# How long it takes from a server's acknowledgement of a change until the gateway denies: the real
# program follows a real server, and is asked every 5 ms.
#
# usage: bench/freshness.sh [openldap|389ds|ad|keycloak ...]   (default: all that can be had)
# Environment: IDPSYNCD_BIN (target/release/idpsyncd), BENCH_USERS, BENCH_GROUPS, BENCH_MEMBERSHIPS
#   (10000, 200, 73000), BENCH_CHANGES (200, of each kind)
# Exit status 1 when a limit is not met.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/common.sh
. bench/common.sh
# shellcheck source=bench/servers.sh
. bench/servers.sh

need python3 python3
need_binary
each_server bench/freshness.sh "openldap 389ds ad keycloak" "$@"
PATH="$PATH:/usr/sbin:/sbin"

users="${BENCH_USERS:-10000}"
groups="${BENCH_GROUPS:-200}"
memberships="${BENCH_MEMBERSHIPS:-73000}"
changes="${BENCH_CHANGES:-200}"

start_filled "$1" "$users" "$groups" "$memberships" 0
say "$1: measuring $changes changes of each kind"
python3 bench/freshness_compare.py "${filled[@]}" --scratch "$scratch" --binary "$binary" \
  --changes "$changes"
