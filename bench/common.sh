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
