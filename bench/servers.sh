# shellcheck shell=bash
# Real servers for the benches. Sourced after bench/common.sh. Each `start_…` sets `server_pid` and
# returns once the server answers; all end with the script.

server_pid=""

# stop_server: ends the one that was started last, and waits for its end.
stop_server() {
  kill "$server_pid"
  wait "$server_pid" || true
  unset 'servers[-1]'
}

# What each server's bench needs; `have SERVER` asks, `need_server SERVER` ends where it is missing.
programs_of() {
  case $1 in
  openldap) echo slapd slapadd ldapsearch ;;
  389ds) echo ns-slapd ldapmodify ldapsearch ;;
  ad) echo samba samba-tool ldapsearch openssl ;;
  keycloak) echo java mvn unzip curl ;;
  *) die "\`$1\` is no server: openldap, 389ds, ad, keycloak" ;;
  esac
}

have() {
  local program programs
  programs="$(programs_of "$1")" || exit 1
  for program in $programs; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || return 1
  done
  # The ports of Active Directory are fixed ones below 1024.
  [ "$1" != ad ] || [ "$(id -u)" = 0 ]
}

need_server() {
  have "$1" && return
  local wanted
  case $1 in
  openldap) wanted="slapd ldap-utils" ;;
  389ds) wanted="389-ds-base ldap-utils" ;;
  ad) wanted="samba samba-ad-provision python3-samba ldap-utils openssl, as root" ;;
  keycloak) wanted="openjdk-17-jre-headless maven unzip curl" ;;
  esac
  die "what \`$1\` needs is missing: tests/run installs it, or apt-get install $wanted"
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
  server_pid=$!
  servers+=("$server_pid")
  wait_for 20 "$server_pid" ldapsearch -x -H "ldap://127.0.0.1:$port/" -b "" -s base ||
    die "slapd did not answer: $(tail -n 5 "$scratch/slapd.log")"
}

# start_slapd_to_follow PORT LDIF SERVICE [DATABASE]: as start_slapd, with what docs/feeds.md asks for, password
# policies, and a root DN whose password is `bench-root`.
start_slapd_to_follow() {
  start_slapd "$1" "$2" "$3" "moduleload syncprov
moduleload ppolicy" "rootpw bench-root
index objectClass,entryUUID,uid,member,entryCSN eq
${4:-}
overlay syncprov
syncprov-sessionlog 10000
syncprov-checkpoint 100 1
overlay ppolicy"
}

# start_ds389 PORT LDIF: a 389-DS in $scratch that holds LDIF and lets everybody read all but passwords, with what
# docs/feeds.md asks for; the directory manager's password is `bench-root`. Without `dscreate`, which insists on
# systemd: from Debian's template, as tests/support/ds389.rs has it.
start_ds389() {
  local port=$1 ldif=$2 dir="$scratch/ds389" name
  mkdir -p "$dir"/{etc/schema,lock,tmp,ldif,bak,run,inst,log,db,dbhome}
  cp /usr/share/dirsrv/schema/* /etc/dirsrv/schema/99user.ldif "$dir/etc/schema/"
  cp /etc/dirsrv/config/{slapd-collations.conf,certmap.conf} "$dir/etc/"
  python3 - "$dir" "$port" "$(id -un)" <<'PY'
import sys
folder, port, user = sys.argv[1:]
at = lambda name: f"{folder}/{name}"
fields = {
    "schema_dir": at("etc/schema"), "lock_dir": at("lock"), "tmp_dir": at("tmp"), "cert_dir": at("etc"),
    "ldif_dir": at("ldif"), "bak_dir": at("bak"), "run_dir": at("run"), "inst_dir": at("inst"),
    "log_dir": at("log"), "config_dir": at("etc"), "db_dir": at("db"), "db_home_dir": at("dbhome"),
    "db_lib": "bdb", "fqdn": "localhost", "ds_port": f"{port}\nnsslapd-listenhost: 127.0.0.1",
    "ds_user": user, "rootdn": "cn=Directory Manager", "ds_passwd": "{CLEAR}bench-root",
    "ds_suffix": "dc=example,dc=org", "ldapi_enabled": "off", "ldapi_autobind": "off",
    "ldapi": at("run/ldapi"),
}
with open("/usr/share/dirsrv/data/template-dse.ldif", encoding="utf-8") as template:
    text = template.read()
for name, value in fields.items():
    text = text.replace(f"%{name}%", value)
with open(at("etc/dse.ldif"), "w", encoding="utf-8") as file:
    file.write(text)
PY
  run_ds389 "$port"
  ds389_modify "$port" <<'LDIF'
dn: cn=userRoot,cn=ldbm database,cn=plugins,cn=config
changetype: add
objectClass: extensibleObject
objectClass: nsBackendInstance
cn: userRoot
nsslapd-suffix: dc=example,dc=org

dn: cn="dc=example,dc=org",cn=mapping tree,cn=config
changetype: add
objectClass: extensibleObject
objectClass: nsMappingTree
cn: dc=example,dc=org
nsslapd-state: backend
nsslapd-backend: userRoot

dn: cn=Retro Changelog Plugin,cn=plugins,cn=config
changetype: modify
replace: nsslapd-pluginEnabled
nsslapd-pluginEnabled: on
-
add: nsslapd-attribute
nsslapd-attribute: nsuniqueid:targetUniqueId

dn: cn=Content Synchronization,cn=plugins,cn=config
changetype: modify
replace: nsslapd-pluginEnabled
nsslapd-pluginEnabled: on

dn: cn=config,cn=ldbm database,cn=plugins,cn=config
changetype: modify
replace: nsslapd-lookthroughlimit
nsslapd-lookthroughlimit: -1

dn: cn=config
changetype: modify
replace: nsslapd-sizelimit
nsslapd-sizelimit: -1

LDIF
  stop_server
  ns-slapd ldif2db -D "$dir/etc" -n userRoot -i "$ldif" >"$scratch/ldif2db.log" 2>&1 ||
    die "ldif2db: $(tail -n 5 "$scratch/ldif2db.log")"
  rm "$ldif"
  run_ds389 "$port"
  ds389_modify "$port" <<'LDIF'
dn: dc=example,dc=org
changetype: modify
add: aci
aci: (targetattr != "userPassword")(version 3.0; acl "read"; allow (read, search, compare) userdn = "ldap:///anyone";)

LDIF
}

run_ds389() {
  ns-slapd -D "$scratch/ds389/etc" -i "$scratch/ds389/pid" -d 0 >"$scratch/ds389.out" 2>&1 &
  server_pid=$!
  servers+=("$server_pid")
  wait_for 60 "$server_pid" ldapsearch -x -H "ldap://127.0.0.1:$1/" -b "" -s base vendorVersion ||
    die "ns-slapd did not answer: $(tail -n 5 "$scratch/ds389/log/errors")"
}

ds389_modify() {
  ldapmodify -x -H "ldap://127.0.0.1:$1/" -D "cn=Directory Manager" -w bench-root >/dev/null
}

# start_keycloak PORT: a Keycloak on a fresh database with the administrator `admin` / `admin`.
start_keycloak() {
  local port=$1 management home="${IDPSYNCD_KEYCLOAK_HOME:-}"
  management="$(free_port)"
  if [ -z "$home" ]; then home="$(tests/tools/keycloak-fetch.sh)"; fi
  mkdir "$scratch/db"
  cp "$home/template/keycloakdb.mv.db" "$scratch/db/"
  JAVA_OPTS_KC_HEAP="-Xms512m -Xmx2g" "$home/bin/kc.sh" start --optimized \
    --cache=local --http-enabled=true --hostname-strict=false \
    --http-host=127.0.0.1 --http-port="$port" --http-management-port="$management" \
    "--db-url=jdbc:h2:file:$scratch/db/keycloakdb;NON_KEYWORDS=VALUE" \
    >"$scratch/keycloak.log" 2>&1 &
  server_pid=$!
  servers+=("$server_pid")
  wait_for 180 "$server_pid" curl -fsS "http://127.0.0.1:$management/health/ready" ||
    die "Keycloak did not come up: $(tail -n 20 "$scratch/keycloak.log")"
}

# start_samba LDIF: Samba's domain controller of ad.example.org that holds LDIF beside what every domain has, with
# the administrator `Administrator`, password `Admin-4711-secret`. Sets `samba_address`, an address of the loopback
# of its own since the ports are fixed, and `$scratch/ca.pem`, its authority. As tests/support/samba.rs has it, and
# with the domain that is kept in the same cache.
samba_address=""
start_samba() {
  local ldif=$1 kept dir="$scratch/samba" version cache
  version="$(/usr/sbin/samba --version | tr -c '[:alnum:]\n' '-')"
  cache="${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}"
  kept="$cache/ad.example.org-$version"
  mkdir -p "$cache"
  (
    flock 9
    [ ! -e "$kept/done" ] || exit 0
    rm -rf "$kept"
    mkdir "$kept"
    samba-tool domain provision --server-role=dc --dns-backend=NONE --realm=AD.EXAMPLE.ORG \
      --domain=ADEX --adminpass=Admin-4711-secret --targetdir="$kept" --host-name=dc \
      --option="interfaces=lo" --option="bind interfaces only=yes" \
      --option="vfs objects=dfs_samba4 acl_xattr xattr_tdb" >"$scratch/provision.log" 2>&1 ||
      die "samba-tool: $(tail -n 5 "$scratch/provision.log")"
    touch "$kept/done"
  ) 9>"$cache/ad.example.org.lock"
  samba_address="$(python3 - <<'PY'
import random, socket
while True:
    address = ".".join(["127", *(str(random.randint(2, 250)) for _ in range(3))])
    try:
        with socket.socket() as taken:
            taken.bind((address, 389))
        print(address)
        break
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
PY
)"
  cp -a "$kept" "$dir"
  mkdir -p "$dir/run/ncalrpc"
  local key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
  (
    cd "$scratch"
    # shellcheck disable=SC2086 # options
    {
      openssl req -x509 $key -keyout ca.key -out ca.pem -subj /CN=Bench-CA
      openssl req $key -keyout server.key -out server.csr -subj /CN=dc
      printf 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:%s\n' "$samba_address" >extension
      openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile extension -out server.pem
    } 2>/dev/null >&2
  )
  python3 - "$kept" "$dir" "$samba_address" "$scratch" <<'PY'
import sys
kept, here, address, scratch = sys.argv[1:]
with open(f"{here}/etc/smb.conf", encoding="utf-8") as file:
    lines = file.read().replace(kept, here).splitlines()
ours = f"""\
	interfaces = {address}/8
	server services = ldap
	log file = {here}/log
	pid directory = {here}/run
	ncalrpc dir = {here}/run/ncalrpc
	server role check:inhibit = yes
	tls enabled = yes
	tls cafile = {scratch}/ca.pem
	tls certfile = {scratch}/server.pem
	tls keyfile = {scratch}/server.key
"""
replaced = {"interfaces", "server services", "log file"}
with open(f"{here}/etc/smb.conf", "w", encoding="utf-8") as file:
    for line in lines:
        if line.split("=")[0].strip() not in replaced:
            file.write(line + "\n")
        if line == "[global]":
            file.write(ours)
PY
  /usr/bin/python3 tests/tools/samba-load.py "$dir/etc/smb.conf" "$dir/private/sam.ldb" "$ldif"
  rm "$ldif"
  /usr/sbin/samba -s "$dir/etc/smb.conf" -i -M single </dev/null >"$scratch/samba.log" 2>&1 &
  server_pid=$!
  servers+=("$server_pid")
  LDAPTLS_CACERT="$scratch/ca.pem" wait_for 60 "$server_pid" \
    ldapsearch -x -H "ldaps://$samba_address" -b "" -s base defaultNamingContext ||
    die "samba did not answer: $(tail -n 5 "$scratch/samba.log")"
}

# each_server SCRIPT DEFAULT [SERVER...]: returns where one server is named. Else it runs the script for each of those
# that are named, or for each of DEFAULT that can be had, and ends with 1 where one of them failed.
each_server() {
  local script=$1 default=$2 server failed=0
  shift 2
  if [ $# = 1 ]; then
    need_server "$1"
    return
  fi
  if [ $# = 0 ]; then
    for server in $default; do
      if have "$server"; then
        set -- "$@" "$server"
      else
        say "$server: left out, it is not installed"
      fi
    done
  fi
  [ $# -gt 0 ] || die "none of these servers can be had: $default"
  for server in "$@"; do
    bash "$script" "$server" || failed=1
  done
  exit "$failed"
}

# start_filled SERVER USERS GROUPS MEMBERSHIPS HUGE: starts one that holds a company of that size, HUGE of whom are in
# one group (0: there is none). Sets `filled`, the arguments of bench/followed.py.
filled=()
start_filled() {
  local server=$1 users=$2 groups=$3 memberships=$4 huge=$5 host=127.0.0.1 port file="$scratch/company"
  local size=(--users "$users" --groups "$groups" --memberships "$memberships")
  port="$(free_port)"
  say "$server: making $users users, $groups groups, $memberships memberships"
  case $server in
  openldap)
    python3 bench/gen_ldif.py "${size[@]}" --huge "$huge" >"$file"
    start_slapd_to_follow "$port" "$file" "cn=idpsyncd,ou=services,dc=example,dc=org"
    ;;
  389ds)
    python3 bench/gen_ldif.py "${size[@]}" --huge "$huge" >"$file"
    start_ds389 "$port" "$file"
    ;;
  ad)
    python3 bench/gen_ldif.py "${size[@]}" --huge "$huge" --ad >"$file"
    start_samba "$file"
    host=$samba_address port=636
    ;;
  keycloak)
    start_keycloak "$port"
    python3 bench/gen_realm.py "${size[@]}" --events >"$file"
    python3 -c 'import sys; sys.path.insert(0, "bench"); import keycloak_admin as admin
admin.make_realm(int(sys.argv[1]), sys.argv[2])' "$port" "$file"
    ;;
  esac
  filled=(--server "$server" --host "$host" --port "$port" "${size[@]}" --huge "$huge")
  [ "$server" != ad ] || filled+=(--ca-file "$scratch/ca.pem")
}
