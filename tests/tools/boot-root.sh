#!/bin/sh
# Makes a small Debian with systemd for the tests that boot the units: a folder below
# ${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}, of the release and from the archive that this
# machine's own apt uses. Prints its path.
#
# Needs root and debootstrap. A second run finds it in place and only prints. Two at once are safe:
# the second waits for the first.
set -eu

cache=${IDPSYNCD_TEST_CACHE:-$HOME/.cache/idpsyncd-tests}
mkdir -p "$cache"

say() { echo "boot-root: $*" >&2; }

release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ -n "$release" ] || { say "this is no Debian release"; exit 1; }
home=$cache/boot-$release

exec 9>"$cache/boot.lock"
flock 9

if [ ! -d "$home" ]; then
    [ "$(id -u)" = 0 ] || { say "only root can make it"; exit 1; }
    command -v debootstrap >/dev/null || { say "\`debootstrap\` is not installed"; exit 1; }
    archive=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(SITE)' 'Created-By: Packages' |
        awk -v release="$release" '$1 == release && $2 == "main" { print $3; exit }')
    [ -n "$archive" ] || { say "apt knows no archive of $release: run \`apt-get update\`"; exit 1; }
    say "making a Debian $release"
    rm -rf "$home.new"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps,curl,sqlite3 \
        "$release" "$home.new" "$archive" >"$cache/boot-root.log" 2>&1 || {
        say "debootstrap failed; the end of $cache/boot-root.log:"
        tail -n 5 "$cache/boot-root.log" >&2
        exit 1
    }
    rm -rf "$home.new/var/cache/apt/archives" "$home.new/var/lib/apt/lists"
    mv "$home.new" "$home"
fi
echo "$home"
