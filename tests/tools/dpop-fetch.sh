#!/bin/sh
# Fetches a DPoP client for the tests: npm's package `dpop`, below
# ${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}. Prints the path of its module.
#
# Needs node 18 or later with npm. A second run finds it in place and only prints. Two at once are
# safe: the second waits for the first.
set -eu

version=2.1.2
cache=${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}
home=$cache/dpop-$version
mkdir -p "$cache"

exec 9>"$cache/dpop.lock"
flock 9

say() { echo "dpop-fetch: $*" >&2; }

for program in node npm; do
    command -v "$program" >/dev/null || { say "\`$program\` is not installed"; exit 1; }
done
module=$home/node_modules/dpop
if [ ! -d "$module" ]; then
    rm -rf "$home" "$home.new"
    mkdir -p "$home.new"
    say "fetching version $version"
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$home.new" "dpop@$version" >&2
    mv "$home.new" "$home"
fi
entry=$(node -p 'const p = require(process.argv[1] + "/package.json"); let e = p.exports["."] ?? p.exports;
    while (typeof e === "object") e = e.default ?? e.import; e' "$module")
echo "$module/$entry"
