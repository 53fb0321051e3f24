#!/usr/bin/env bash
# How long it takes from a server's acknowledgement of a change until the gateway denies: the real
# program follows a real OpenLDAP, and is asked every 5 ms.
#
# usage: bench/freshness.sh
# Environment: IDPSYNCD_BIN (target/release/idpsyncd), BENCH_USERS, BENCH_GROUPS, BENCH_MEMBERSHIPS
#   (10000, 200, 73000), BENCH_CHANGES (200)
# Exit status 1 when a limit is not met.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/common.sh
. bench/common.sh

need slapd slapd
need slapadd slapd
need ldapsearch ldap-utils
need python3 python3
need_binary
PATH="$PATH:/usr/sbin:/sbin"

users="${BENCH_USERS:-10000}"
groups="${BENCH_GROUPS:-200}"
memberships="${BENCH_MEMBERSHIPS:-73000}"
changes="${BENCH_CHANGES:-200}"
service="cn=idpsyncd,ou=services,dc=example,dc=org"
port="$(free_port)"

say "making $users users, $groups groups, $memberships memberships"
python3 bench/gen_ldif.py --users "$users" --groups "$groups" --memberships "$memberships" \
  >"$scratch/company.ldif"

start_slapd "$port" "$scratch/company.ldif" "$service" "moduleload syncprov" "rootpw bench-root
index objectClass,entryUUID,uid,member,entryCSN eq
overlay syncprov
syncprov-sessionlog 10000
syncprov-checkpoint 100 1"

say "measuring $changes changes"
python3 bench/freshness_compare.py --port "$port" --gateway "$(free_port)" --scratch "$scratch" \
  --binary "$binary" --users "$users" --changes "$changes"
