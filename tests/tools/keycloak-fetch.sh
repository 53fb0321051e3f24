#!/bin/sh
# Fetches Keycloak for the tests, builds it once and makes a template database, all below
# ${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}. Prints the folder of the distribution.
#
#   keycloak-fetch.sh            one built for H2, with a template database
#   keycloak-fetch.sh postgres   one built for PostgreSQL (what a build is for cannot be changed at a
#                                start); no template: it fills the empty database it is started on
#
# Needs java 17, mvn and unzip. A second run finds everything in place and only prints. Two at
# once are safe: the second waits for the first.
#
# The template is the database of a server that was started once with the bootstrap admin
# `admin` / `admin` and stopped: copying it saves half a minute at each start.
set -eu

version=26.7.3
cache=${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}
case ${1:-} in
'') home=$cache/keycloak-$version db=dev-file ;;
postgres) home=$cache/keycloak-$version-postgres db=postgres ;;
*) echo "keycloak-fetch: \`$1\` is no database: leave it out, or say \`postgres\`" >&2; exit 64 ;;
esac
mkdir -p "$cache"

exec 9>"$cache/keycloak.lock"
flock 9

say() { echo "keycloak-fetch: $*" >&2; }

# Unpacks the distribution into $home and builds it for $db.
build() {
    for tool in java mvn unzip curl; do
        command -v "$tool" >/dev/null || { say "\`$tool\` is not installed"; exit 1; }
    done
    rm -rf "$home" "$cache/unpack"
    mkdir -p "$cache/unpack"
    zip=$cache/keycloak-quarkus-dist-$version.zip
    if [ ! -e "$zip" ]; then
        say "fetching version $version"
        mvn -q -B dependency:get -Dtransitive=false \
            -Dartifact=org.keycloak:keycloak-quarkus-dist:$version:zip >&2
        mvn -q -B dependency:copy -Dmdep.useBaseVersion=true \
            -Dartifact=org.keycloak:keycloak-quarkus-dist:$version:zip \
            -DoutputDirectory="$cache/unpack" >&2
        mv "$cache/unpack/keycloak-quarkus-dist-$version.zip" "$zip"
    fi
    unzip -q "$zip" -d "$cache/unpack"
    mv "$cache/unpack/keycloak-$version" "$home"
    rm -rf "$cache/unpack"

    say "building for $db"
    "$home/bin/kc.sh" build --db=$db --health-enabled=true >"$home/build.log" 2>&1 9>&- ||
        { cat "$home/build.log" >&2; exit 1; }
}

if [ $db = postgres ]; then
    if [ ! -e "$home/build.done" ]; then
        build
        touch "$home/build.done"
    fi
elif [ ! -e "$home/template.done" ]; then
    build

    say "making the template database"
    mkdir -p "$home/template"
    # Ports of this one start only; nothing else is running it: we hold the lock.
    port=${IDPSYNCD_KEYCLOAK_TEMPLATE_PORT:-18970}
    KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=admin \
    JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1 \
        "$home/bin/kc.sh" start --optimized --cache=local --http-enabled=true \
        --hostname-strict=false --http-host=127.0.0.1 --http-port="$port" \
        --http-management-port=$((port + 1)) \
        "--db-url=jdbc:h2:file:$home/template/keycloakdb;NON_KEYWORDS=VALUE" \
        >"$home/template.log" 2>&1 9>&- &
    server=$!
    tries=0
    until curl -fsS "http://127.0.0.1:$((port + 1))/health/ready" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 300 ] || ! kill -0 $server 2>/dev/null; then
            kill $server 2>/dev/null || true
            cat "$home/template.log" >&2
            say "the server did not come up"
            exit 1
        fi
        sleep 1
    done
    kill $server
    wait $server || true
    [ -e "$home/template/keycloakdb.mv.db" ] || { say "no template database was made"; exit 1; }
    touch "$home/template.done"
fi
echo "$home"
