#!/usr/bin/env bash
# How long a sync from a big OpenLDAP takes, beside two raw `ldapsearch` dumps of the same
# attributes measured in the same run.
#
# usage: bench/ldap.sh
# Environment: IDPSYNCD_BIN (target/release/idpsyncd), BENCH_ROUNDS (3, the best counts),
#   BENCH_USERS, BENCH_GROUPS, BENCH_MEMBERSHIPS (100000, 2000, 730000),
#   BENCH_RULES="few all" (few: 60 groups give 20 roles; all: every group does; each has its limits),
#   BENCH_REFERENCE_ONLY=1 (only the dumps)
# Exit status 1 when a limit is not met.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/common.sh
. bench/common.sh
# shellcheck source=bench/servers.sh
. bench/servers.sh

need slapd slapd
need slapadd slapd
need ldapsearch ldap-utils
need python3 python3
need_binary
PATH="$PATH:/usr/sbin:/sbin"

users="${BENCH_USERS:-100000}"
groups="${BENCH_GROUPS:-2000}"
memberships="${BENCH_MEMBERSHIPS:-730000}"
read -ra rules <<<"${BENCH_RULES:-few all}"
service="cn=idpsyncd,ou=services,dc=example,dc=org"
port="$(free_port)"

say "making $users users, $groups groups, $memberships memberships"
python3 bench/gen_ldif.py --users "$users" --groups "$groups" --memberships "$memberships" \
  >"$scratch/company.ldif"

start_slapd "$port" "$scratch/company.ldif" "$service" "" "dbnosync
index objectClass,entryUUID,uid eq"

say "measuring: best of $rounds"
python3 bench/ldap_compare.py --port "$port" --scratch "$scratch" --binary "$binary" \
  --rounds "$rounds" --users "$users" --rules "${rules[@]}" ${BENCH_REFERENCE_ONLY:+--reference-only}
