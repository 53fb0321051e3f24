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

mkdir "$scratch/db"
cat >"$scratch/slapd.conf" <<CONF
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile $scratch/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
directory $scratch/db
maxsize 4294967296
dbnosync
index objectClass,entryUUID,uid eq
limits dn.exact="$service" size=unlimited time=unlimited
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="$service" read by * none
CONF
slapadd -q -f "$scratch/slapd.conf" -l "$scratch/company.ldif"
rm "$scratch/company.ldif"

slapd -f "$scratch/slapd.conf" -h "ldap://127.0.0.1:$port/" -d 0 2>"$scratch/slapd.log" &
servers+=($!)
wait_for 20 "${servers[0]}" ldapsearch -x -H "ldap://127.0.0.1:$port/" -b "" -s base ||
  die "slapd did not answer: $(tail -n 5 "$scratch/slapd.log")"

say "measuring: best of $rounds"
python3 bench/ldap_compare.py --port "$port" --scratch "$scratch" --binary "$binary" \
  --rounds "$rounds" --users "$users" --rules "${rules[@]}" ${BENCH_REFERENCE_ONLY:+--reference-only}
