# shellcheck shell=bash
# What the benches share. Sourced after `set -euo pipefail`, with the repository as the working
# directory. Servers listen on loopback ports that were free, keep their files in one temporary
# folder, and are stopped by their process id when the script ends, however it ends.

binary="${IDPSYNCD_BIN:-target/release/idpsyncd}"
# shellcheck disable=SC2034 # read by the scripts that source this
rounds="${BENCH_ROUNDS:-3}"
scratch="$(mktemp -d)"
servers=()

cleanup() {
  local pid
  for pid in "${servers[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { printf '== %s\n' "$*"; }

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

need() {
  PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null ||
    die "\`$1\` is missing: tests/run installs it, or apt-get install $2"
}

# The program, unless only the references are wanted (BENCH_REFERENCE_ONLY=1).
need_binary() {
  if [ -z "${BENCH_REFERENCE_ONLY:-}" ] && [ ! -x "$binary" ]; then
    die "\`$binary\` is missing: cargo build --release (or name one in IDPSYNCD_BIN)"
  fi
}

# Prints a port that nobody listens on.
free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# wait_for SECONDS PID COMMAND...: until the command succeeds; fails when the process ends first.
wait_for() {
  local deadline=$((SECONDS + $1)) pid=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    kill -0 "$pid" 2>/dev/null || return 1
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# start_slapd PORT LDIF SERVICE [GLOBAL [DATABASE]]: an OpenLDAP in $scratch that holds LDIF, and what SERVICE (a DN)
# may read in whole; further lines for the configuration before the database, and within it.
start_slapd() {
  local port=$1 ldif=$2 service=$3 global=${4:-} database=${5:-}
  mkdir "$scratch/db"
  cat >"$scratch/slapd.conf" <<CONF
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile $scratch/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
$global
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
directory $scratch/db
maxsize 4294967296
limits dn.exact="$service" size=unlimited time=unlimited
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="$service" read by * none
$database
CONF
  slapadd -q -f "$scratch/slapd.conf" -l "$ldif"
  rm "$ldif"
  slapd -f "$scratch/slapd.conf" -h "ldap://127.0.0.1:$port/" -d 0 2>"$scratch/slapd.log" &
  servers+=($!)
  wait_for 20 "${servers[0]}" ldapsearch -x -H "ldap://127.0.0.1:$port/" -b "" -s base ||
    die "slapd did not answer: $(tail -n 5 "$scratch/slapd.log")"
}
