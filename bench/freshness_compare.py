#!/usr/bin/env python3
"""The measuring half of bench/freshness.sh: changes at the server, and how long the gateway still
allows."""

import argparse
import json
import os
import socket
import subprocess
import sys
import time

import gen_ldif
import lib

# From the acknowledgement to the first denial, in milliseconds.
P99_LIMIT = 300
# How often the gateway is asked.
EVERY = 0.005
# The longest that anything is waited for, in seconds.
PATIENCE = 60

PEOPLE = f"ou=people,{gen_ldif.SUFFIX}"
GROUPS = f"ou=groups,{gen_ldif.SUFFIX}"
# A fifth of everybody is in it.
GROUP = f"cn=team-0000,{GROUPS}"

CONFIG = """\
[store]
path = "{store}"

[schedule]
cron = "0 0 0 1 1 *"

[sync]
on_missing = {{ after = "0s" }}

[guard]
max_lost_percent = 100
max_disabled_percent = 100

[[source]]
name = "bench-ldap"
kind = "ldap"
url = "ldap://127.0.0.1:{port}"
bind_dn = "{bind_dn}"
bind_password = {{ env = "BENCH_LDAP_PASSWORD" }}
flavor = "openldap"
users = {{ base = "{people}", filter = "(objectClass=inetOrgPerson)", username = "uid", email = "mail" }}
groups = {{ base = "{groups}", filter = "(objectClass=groupOfNames)", name = "cn" }}

[roles.bench]
external_roles = ["team-0000"]
[[roles.bench.policies]]
actions = ["profile:Read"]
resources = ["*"]

[gateway]
identity = "header"
preset = "osmo"
http = "127.0.0.1:{gateway}"
"""


def ber(tag, *parts):
    """A BER value."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


class Directory:
    """One connection to the server, that changes things (RFC 4511). A call returns once the server
    has acknowledged."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.number = 0
        dn = f"cn=admin,{gen_ldif.SUFFIX}".encode()
        self.call(ber(0x60, ber(0x02, b"\x03"), ber(0x04, dn), ber(0x80, b"bench-root")))

    def call(self, operation):
        self.number += 1
        number = self.number.to_bytes(4, "big")
        self.socket.sendall(ber(0x30, ber(0x02, number), operation))
        head = self.file.read(2)
        size = head[1]
        if size & 0x80:
            size = int.from_bytes(self.file.read(size & 0x7F), "big")
        body = self.file.read(size)
        # messageID, then the operation, which begins with its result code.
        after_id = body[2 + body[1] :]
        code_at = 2 + (after_id[1] & 0x7F if after_id[1] & 0x80 else 0)
        if after_id[code_at : code_at + 2] != b"\x0a\x01" or after_id[code_at + 2]:
            sys.exit(f"the server refused: {after_id!r}")

    def remove_member(self, dn, member):
        values = ber(0x31, ber(0x04, member.encode()))
        change = ber(0x30, ber(0x0A, b"\x01"), ber(0x30, ber(0x04, b"member"), values))
        self.call(ber(0x66, ber(0x04, dn.encode()), ber(0x30, change)))

    def delete(self, dn):
        self.call(ber(0x4A, dn.encode()))


class Gateway:
    """Asks as a gateway does, on one connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def status(self, path, user=None):
        who = f"x-osmo-user: {user}\r\n" if user else ""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nhost: bench\r\n{who}\r\n".encode())
        status = int(self.file.readline().split()[1])
        size = 0
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        self.file.read(size)
        return status

    def allows(self, user):
        return self.status("/authz/api/profile/settings", user) == 200


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"waited in vain: {what}")
        time.sleep(0.05)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    except OSError:
        return False


def followed(binary, config):
    done = subprocess.run(
        [binary, "status", "--output", "json", "--config", config], capture_output=True, check=False
    )
    if done.returncode != 0:
        return False
    return json.loads(done.stdout)["sources"][0]["following"] == "persist"


def percentile(times, part):
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


def main():
    parser = argparse.ArgumentParser(description="How soon a change at OpenLDAP counts.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--gateway", type=int, required=True)
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--changes", type=int, required=True)
    a = parser.parse_args()

    config = os.path.join(a.scratch, "freshness.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(
            CONFIG.format(
                store=os.path.join(a.scratch, "freshness.db"),
                port=a.port,
                bind_dn=gen_ldif.SERVICE,
                people=PEOPLE,
                groups=GROUPS,
                gateway=a.gateway,
            )
        )
    log = open(os.path.join(a.scratch, "freshness.log"), "wb")
    env = {**os.environ, "BENCH_LDAP_PASSWORD": gen_ldif.PASSWORD}
    daemon = subprocess.Popen([a.binary, "run", "--config", config], env=env, stderr=log)
    try:
        wait_for("the gateway's port", lambda: listens(a.gateway))
        gateway, directory = Gateway(a.gateway), Directory(a.port)
        people = list(gen_ldif.members(0, a.users // 5, a.users))
        wait_for("the first run", lambda: gateway.allows(gen_ldif.uid(people[0])))
        wait_for("the feed", lambda: followed(a.binary, config))
        # Removed from the group and deleted, in turn.
        kinds = {"member removed": [], "user deleted": []}
        for number in range(a.changes):
            uid = gen_ldif.uid(people[number])
            dn = f"uid={uid},{PEOPLE}"
            if not gateway.allows(uid):
                sys.exit(f"{uid} is denied before anything changed")
            if number % 2 == 0:
                kind = "member removed"
                directory.remove_member(GROUP, dn)
            else:
                kind = "user deleted"
                directory.delete(dn)
            acknowledged = time.perf_counter()
            deadline = acknowledged + PATIENCE
            while gateway.allows(uid):
                if time.perf_counter() > deadline:
                    sys.exit(f"{uid} is allowed still: {kind}")
                time.sleep(EVERY)
            kinds[kind].append((time.perf_counter() - acknowledged) * 1000)
    finally:
        daemon.terminate()
        daemon.wait()
        log.close()
    verdicts = lib.Verdicts()
    for kind, times in kinds.items():
        lib.figure(f"{kind}: p50", percentile(times, 0.5), " ms")
        lib.figure(f"{kind}: worst", max(times), " ms")
        verdicts.at_most(f"{kind}: p99", percentile(times, 0.99), P99_LIMIT, " ms")
    return verdicts.exit_status()


if __name__ == "__main__":
    sys.exit(main())
