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

mkdir "$scratch/db"
cat >"$scratch/slapd.conf" <<CONF
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile $scratch/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload syncprov
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw bench-root
directory $scratch/db
maxsize 4294967296
index objectClass,entryUUID,uid,member,entryCSN eq
limits dn.exact="$service" size=unlimited time=unlimited
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="$service" read by * none
overlay syncprov
syncprov-sessionlog 10000
syncprov-checkpoint 100 1
CONF
slapadd -q -f "$scratch/slapd.conf" -l "$scratch/company.ldif"
rm "$scratch/company.ldif"

slapd -f "$scratch/slapd.conf" -h "ldap://127.0.0.1:$port/" -d 0 2>"$scratch/slapd.log" &
servers+=($!)
wait_for 20 "${servers[0]}" ldapsearch -x -H "ldap://127.0.0.1:$port/" -b "" -s base ||
  die "slapd did not answer: $(tail -n 5 "$scratch/slapd.log")"

say "measuring $changes changes"
python3 bench/freshness_compare.py --port "$port" --gateway "$(free_port)" --scratch "$scratch" \
  --binary "$binary" --users "$users" --changes "$changes"
