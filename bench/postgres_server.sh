# shellcheck shell=bash
# A PostgreSQL for the benches, in a temporary folder. Sourced after bench/common.sh. `start_postgres` sets
# `postgres_port` and returns once the server answers; it ends with the script.

postgres_port=""
postgres_folder=""

# What a small server of its own would be given. Commits are safe on the disk, as SQLite's are.
postgres_settings=(shared_buffers=512MB max_wal_size=4GB maintenance_work_mem=256MB max_connections=300
  track_io_timing=off listen_addresses=127.0.0.1)

# as_postgres COMMAND...: as somebody who is not root, which the server refuses to be run by.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid nobody --regid nogroup --clear-groups "$@"
  else
    "$@"
  fi
}

start_postgres() {
  local programs setting settings=()
  programs="$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)"
  [ -n "$programs" ] || die "PostgreSQL is missing: tests/run installs it, or apt-get install postgresql"
  programs="$(dirname "$programs")"
  PATH="$PATH:$programs"
  need psql postgresql-client
  # Not in $scratch, which is nobody else's to enter.
  postgres_folder="$(mktemp -d)"
  trap 'cleanup; rm -rf "$postgres_folder"' EXIT
  chmod 755 "$postgres_folder"
  [ "$(id -u)" != 0 ] || chown nobody "$postgres_folder"
  (cd "$postgres_folder" && as_postgres "$programs/initdb" -D "$postgres_folder/data" --auth=trust \
    --username=postgres --encoding=UTF8 --locale=C >"$scratch/initdb.log" 2>&1) ||
    die "initdb: $(tail -n 5 "$scratch/initdb.log")"
  postgres_port="$(free_port)"
  for setting in "${postgres_settings[@]}"; do
    settings+=(-c "$setting")
  done
  (cd "$postgres_folder" && exec setpriv $([ "$(id -u)" != 0 ] || echo --reuid nobody --regid nogroup --clear-groups) \
    "$programs/postgres" -D "$postgres_folder/data" -p "$postgres_port" -k "$postgres_folder" "${settings[@]}") \
    >"$scratch/postgres.log" 2>&1 &
  servers+=($!)
  wait_for 60 "$!" psql -X -h 127.0.0.1 -p "$postgres_port" -U postgres -c "SELECT 1" ||
    die "PostgreSQL did not answer: $(tail -n 5 "$scratch/postgres.log")"
  psql -X -q -h 127.0.0.1 -p "$postgres_port" -U postgres \
    -c "CREATE ROLE idpsyncd LOGIN" -c "CREATE DATABASE idpsyncd OWNER idpsyncd"
}
