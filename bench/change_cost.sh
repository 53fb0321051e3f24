#!/usr/bin/env bash
# What one change costs beside a full run: CPU of the program and bytes from the server, which a proxy
# between them counts; and the server's own CPU. What a change in a huge group costs.
#
# usage: bench/change_cost.sh [openldap|389ds|ad|keycloak ...]   (default: openldap 389ds keycloak,
#   those that can be had)
# Environment: IDPSYNCD_BIN (target/release/idpsyncd), BENCH_USERS, BENCH_GROUPS, BENCH_MEMBERSHIPS
#   (100000, 2000, 730000; Keycloak 100000, 800, 300000; Active Directory 10000, 200, 73000, since more
#   takes Samba too long: a full run is cheaper then, and the limit harder), BENCH_HUGE (50000; 0: no
#   such group),
#   BENCH_CHANGES (20, of each kind), BENCH_HUGE_CHANGES (10)
# Exit status 1 when a limit is not met.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/common.sh
. bench/common.sh
# shellcheck source=bench/servers.sh
. bench/servers.sh

need python3 python3
need_binary
each_server bench/change_cost.sh "openldap 389ds keycloak" "$@"
PATH="$PATH:/usr/sbin:/sbin"

sizes=(100000 2000 730000 50000)
case $1 in
keycloak) sizes=(100000 800 300000 0) ;;
ad) sizes=(10000 200 73000 0) ;;
esac

start_filled "$1" "${BENCH_USERS:-${sizes[0]}}" "${BENCH_GROUPS:-${sizes[1]}}" \
  "${BENCH_MEMBERSHIPS:-${sizes[2]}}" "${BENCH_HUGE:-${sizes[3]}}"
say "$1: measuring two full runs, and changes one by one"
python3 bench/change_cost_compare.py "${filled[@]}" --server-pid "$server_pid" --scratch "$scratch" \
  --binary "$binary" --changes "${BENCH_CHANGES:-20}" --huge-changes "${BENCH_HUGE_CHANGES:-10}"
