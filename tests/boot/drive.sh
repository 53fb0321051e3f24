#!/bin/bash
# What the test `a_company_under_systemd` does inside the container that it boots. Each step is one
# line of /drive/out: its name, a tab, what was seen. The test compares; nothing is judged here, but
# that a step never came.
set -u
exec 2>>/drive/errors
set -x

store=/var/lib/idpsyncd/store.db

step() { printf '%s\t%s\n' "$1" "$2" >>/drive/out; }

# Keeps the logs and turns the container off. With an argument: what never came.
end() {
    journalctl -o cat _SYSTEMD_UNIT=idpsyncd.service >/drive/daemon.log
    journalctl -o cat _SYSTEMD_UNIT=idpsyncd-serve.service >/drive/serve.log
    [ -z "$1" ] || journalctl -o cat -n 40 >/drive/errors.journal
    step end "${1:-yes}"
    systemctl poweroff
    exit
}

# Runs a command until it succeeds, ten minutes at most: systemd's own limits end a step that hangs.
await() {
    local tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 3000 ] || end "$*"
        sleep 0.2
    done
}

property() { systemctl show --value --property "$2" "$1"; }
as() { runuser -u "$1" -- "${@:2}"; }
ask() { as "$1" curl -s -o /dev/null -w '%{http_code}' --unix-socket "$2" -H 'x-osmo-user: ada' \
    -H 'x-original-method: GET' -H 'x-original-uri: /reports/q1' http://localhost/authz; }
answers() { [ "$(ask "$1" "$2")" = "$3" ]; }
may() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }
generation() { as envoy sqlite3 -readonly "$store" 'SELECT generation FROM gateway_meta'; }
another_pid() { local pid; pid=$(property idpsyncd MainPID); [ "$pid" != 0 ] && [ "$pid" != "$1" ] &&
    [ "$(property idpsyncd ActiveState)" = active ]; }
says() { case "$(property idpsyncd StatusText)" in *"$1"*) ;; *) return 1 ;; esac; }
says_not() { ! says "$1"; }

# --- start
systemctl start idpsyncd
step start "$(property idpsyncd ActiveState)"
await answers envoy /run/idpsyncd/http.sock 200
step asks-envoy "$(ask envoy /run/idpsyncd/http.sock)"
step asks-stranger "$(ask stranger /run/idpsyncd/http.sock)"
pid=$(property idpsyncd MainPID)
step runs-as "$(stat -c %U "/proc/$pid")"
step seccomp "$(awk '$1 == "Seccomp:" { print $2 }' "/proc/$pid/status")"
step capabilities "$(awk '$1 == "CapEff:" { print $2 }' "/proc/$pid/status")"
step descriptors "$(awk '$1 " " $2 " " $3 == "Max open files" { print $4 }' "/proc/$pid/limits")"

# --- who reads the store
step generation "$(generation)"
step envoy-reads "$(may as envoy cat "$store")"
step envoy-writes "$(may as envoy sqlite3 "$store" 'DELETE FROM user')"
step envoy-makes "$(may as envoy touch /var/lib/idpsyncd/x)"
step stranger-reads "$(may as stranger cat "$store")"
step stranger-lists "$(may as stranger ls /var/lib/idpsyncd)"

# --- a broken file is not taken up
cp /etc/idpsyncd/idpsyncd.toml /drive/good.toml
echo 'nonsense = [' >>/etc/idpsyncd/idpsyncd.toml
systemctl reload idpsyncd || end reload
await says 'old configuration'
step broken-active "$(property idpsyncd ActiveState)"
step broken-same-process "$([ "$(property idpsyncd MainPID)" = "$pid" ] && echo yes || echo no)"
step broken-asks "$(ask envoy /run/idpsyncd/http.sock)"
cp /drive/good.toml /etc/idpsyncd/idpsyncd.toml
systemctl reload idpsyncd || end reload
await says_not 'old configuration'
step mended-active "$(property idpsyncd ActiveState)"

# --- killed: back by itself, nothing lost
kill -KILL "$pid"
await another_pid "$pid"
await answers envoy /run/idpsyncd/http.sock 200
step killed-asks "$(ask envoy /run/idpsyncd/http.sock)"
step killed-restarts "$(property idpsyncd NRestarts)"
step killed-away "$(property idpsyncd RestartUSec)"
step killed-generation "$(generation)"

# --- stopped: the store stays readable
systemctl stop idpsyncd
step stopped "$(property idpsyncd Result) $(property idpsyncd ActiveState)"
step stopped-generation "$(generation)"

# --- the reader's unit, first with the daemon's own sockets, then with its own
systemctl start idpsyncd-serve
step serve-foreign "$(property idpsyncd-serve ActiveState)"
systemctl stop idpsyncd-serve
systemctl reset-failed idpsyncd-serve
journalctl -o cat -u idpsyncd-serve >/drive/serve-foreign.log
sed -i 's|unix:/run/idpsyncd/|unix:/run/idpsyncd-serve/|' /etc/idpsyncd/idpsyncd.toml
systemctl start idpsyncd-serve
await answers envoy /run/idpsyncd-serve/http.sock 200
step serve-asks "$(ask envoy /run/idpsyncd-serve/http.sock)"
step serve-stranger "$(ask stranger /run/idpsyncd-serve/http.sock)"
systemctl stop idpsyncd-serve
step serve-stopped "$(property idpsyncd-serve Result) $(property idpsyncd-serve ActiveState)"

end ""
