#!/usr/bin/env bash
# The gateway's side: ext_authz over gRPC beside the barest tonic server; p99 while a generation of
# a million users loads; AuthZEN beside ext_authz, and its searches; one evaluation beside cedar-policy; tokens and strangers; access tokens beside JWTs; the memory of
# `idpsyncd serve` with a million users, while a second generation is loaded too; p99 while an OpenLDAP of
# 100,000 people that is followed changes 100 times a second, beside p99 in peace.
#
# usage: bench/gateway.sh [changes]   (the last of these alone)
# Environment: IDPSYNCD_BIN (target/release/idpsyncd), BENCH_USERS (1000000), BENCH_ROUNDS (3),
#   BENCH_CHANGED_USERS, BENCH_CHANGED_GROUPS, BENCH_CHANGED_MEMBERSHIPS (100000, 2000, 730000),
#   BENCH_LOAD (benches/ext_authz.rs, built; default: cargo builds it)
# Exit status 1 when a limit is not met.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=bench/common.sh
. bench/common.sh
# shellcheck source=bench/servers.sh
. bench/servers.sh
# `cargo bench` builds the program too, by a profile of its own: not in the place of the one that is measured.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/bench}"

need python3 python3
need curl curl
need sqlite3 sqlite3
need_binary
need_server openldap
PATH="$PATH:/usr/sbin:/sbin"

# The gateway's p99 while what it follows changes. The directory would have a machine of its own: here all its threads
# get what the program leaves, and its commits do not wait for the disk that both share.
under_changes() {
  local load size=(--users "${BENCH_CHANGED_USERS:-100000}" --groups "${BENCH_CHANGED_GROUPS:-2000}"
    --memberships "${BENCH_CHANGED_MEMBERSHIPS:-730000}")
  local port
  port="$(free_port)"
  load="${BENCH_LOAD:-$(cargo bench --bench ext_authz --no-run --message-format=json | python3 -c '
import json, sys
made = [json.loads(line) for line in sys.stdin]
print(*[it["executable"] for it in made if it.get("executable") and it["target"]["name"] == "ext_authz"])')}"
  python3 bench/gen_ldif.py "${size[@]}" --uuids >"$scratch/company.ldif"
  start_slapd_to_follow "$port" "$scratch/company.ldif" "cn=idpsyncd,ou=services,dc=example,dc=org" dbnosync
  chrt --all-tasks --idle --pid 0 "$server_pid"
  python3 bench/gateway_changes.py --server openldap --port "$port" "${size[@]}" --scratch "$scratch" \
    --binary "$binary" --rounds "$rounds" --load "$load"
}

if [ "${1:-}" = changes ]; then
  say "p99 while the directory changes"
  under_changes
  exit
fi

users="${BENCH_USERS:-1000000}"
limit_kib=$((400 * 1024))
failed=0

say "making a store of $users users"
python3 - "$users" >"$scratch/realm.json" <<'PY'
import sys
users = int(sys.argv[1])
out = sys.stdout
groups = ",".join(f'{{"id":"g{n}","name":"g{n}","path":"/g{n}","subGroups":[]}}' for n in range(50))
out.write(f'{{"realm":"acme","groups":[{groups}],"roles":{{"realm":[],"client":{{}}}},"users":[')
for n in range(users):
    sep = "," if n else ""
    out.write(
        f'{sep}{{"id":"{n:08x}-1111-4222-8333-444455556666","username":"user{n}","enabled":true,'
        f'"groups":["/g{n % 50}","/g{(n * 7 + 1) % 50}","/g{(n * 13 + 2) % 50}"]}}'
    )
out.write("]}")
PY
http="$(free_port)"
configuration() {
  cat <<TOML
[store]
path = "store.db"
[[source]]
name = "acme"
kind = "file"
realm_export = "realm.json"
[gateway]
http = "127.0.0.1:$http"
identity = "header"
subject_header = "x-osmo-subject"   # so that people are found by id, as with tokens
preset = "osmo"
[roles.osmo-default]
everyone = true
external_roles = []
[[roles.osmo-default.policies]]
actions = ["profile:*", "pool:List"$1]
TOML
  local role
  for role in $(seq 0 49); do
    cat <<TOML
[roles.r$role]
external_roles = ["g$role"]
[[roles.r$role.policies]]
actions = ["workflow:*"]
resources = ["pool/p$((role * 2))", "pool/p$((role * 2 + 1))", "pool/team$role-*"]
TOML
  done
}
configuration "" >"$scratch/one.toml"
configuration ', "app:Read"' >"$scratch/two.toml"
"$binary" sync --config "$scratch/one.toml" >/dev/null
sqlite3 "$scratch/store.db" ".backup $scratch/one.db"
"$binary" sync --offline --config "$scratch/two.toml" >/dev/null
sqlite3 "$scratch/store.db" ".backup $scratch/two.db"
rm "$scratch/realm.json"

say "ext_authz over gRPC"
cargo bench --bench ext_authz -- --store "$scratch/one.db" --next "$scratch/two.db" || failed=1

say "AuthZEN"
cargo bench --bench authzen || failed=1

say "one evaluation"
cargo bench --bench gateway || failed=1

say "who asks"
cargo bench --bench callers || failed=1

say "access tokens"
cargo bench --bench tokens || failed=1

say "memory of \`idpsyncd serve\`"
rm -f "$scratch"/store.db*
cp "$scratch/one.db" "$scratch/store.db"
"$binary" serve --config "$scratch/one.toml" 2>"$scratch/serve.log" &
server_pid=$!
servers+=("$server_pid")
ready() { curl -fsS "http://127.0.0.1:$http/readyz"; }
generation() { curl -fsS "http://127.0.0.1:$http/metrics" | awk '$1 == "idpsyncd_generation" {print $2}'; }
peak() { awk '/^VmHWM/ {print $2}' "/proc/$server_pid/status"; }
wait_for 120 "$server_pid" ready || die "it does not get ready: $(tail -n 3 "$scratch/serve.log")"
first="$(peak)"
old="$(generation)"
cp "$scratch/two.db" "$scratch/coming.db"
mv "$scratch/coming.db" "$scratch/store.db"
swapped() { [ "$(generation)" != "$old" ]; }
wait_for 120 "$server_pid" swapped || die "the second generation was not loaded"
second="$(peak)"
verdict=PASS
[ "$second" -le "$limit_kib" ] || { verdict=FAIL; failed=1; }
printf 'loaded once %d MiB, with a second generation beside it %d MiB (at most 400)  %s\n' \
  "$((first / 1024))" "$((second / 1024))" "$verdict"
stop_server

say "p99 while the directory changes"
under_changes || failed=1
exit "$failed"
