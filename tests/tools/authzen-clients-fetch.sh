#!/bin/sh
# Fetches two programs that speak AuthZEN for the tests: the PyPI packages `decern` (a client) and `apparitor` (which
# lets an MCP server ask about each tool call; with FastMCP, the server), below
# ${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}. Prints the folder, which is to be in PYTHONPATH.
#
# Needs python3 (3.10 or later) with pip. A second run finds it in place and only prints. Two at once are safe: the
# second waits for the first.
set -eu

decern=0.6.0
apparitor=0.1.1
fastmcp=3.4.11
cache=${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}
home=$cache/authzen-clients-$decern-$apparitor-$fastmcp
mkdir -p "$cache"

exec 9>"$cache/authzen-clients.lock"
flock 9

say() { echo "authzen-clients-fetch: $*" >&2; }

if [ ! -d "$home" ]; then
    command -v python3 >/dev/null || { say "\`python3\` is not installed"; exit 1; }
    rm -rf "$home.new"
    say "fetching decern $decern, apparitor $apparitor, fastmcp $fastmcp"
    python3 -m pip install -q --no-compile --disable-pip-version-check --no-warn-script-location \
        --target "$home.new" "decern==$decern" "apparitor==$apparitor" "fastmcp==$fastmcp" >&2
    mv "$home.new" "$home"
fi
echo "$home"
