#!/usr/bin/env python3
"""The gateway's p99 while the directory changes 100 times a second, beside its p99 in peace: the part of
bench/gateway.sh that is about changes. The real program follows the server and answers gateways, in
one process."""

import argparse
import collections
import itertools
import subprocess
import sys
import threading
import time

import followed
import gen_ldif
import ldap_client
import lib
import program

LIMIT = 1.5
RATE = 100
# The changes count only if this part of them was made in time.
KEPT_UP = 0.95
SECONDS = 6
# Fifty of gen_ldif's groups give a role; these, ordinary ones, change.
ROLES = 50
CHANGING = range(20, ROLES)
# So many people are out of a group at any time.
OUT = 50
# The longest that the last change is waited for, in seconds.
PATIENCE = 60

GATEWAY = """\
grpc = "127.0.0.1:{grpc}"
subject_header = "x-osmo-subject"
"""

ROLE = """
[roles.r{role}]
external_roles = ["{group}"]
[[roles.r{role}.policies]]
actions = ["workflow:*"]
resources = ["pool/p{one}", "pool/p{other}", "pool/team{role}-*"]
"""


def roles():
    """Fifty roles over a hundred pools, as the other benches of the gateway have them; so that nearly every
    question is answered with yes, everybody may do what is asked."""
    text = """
[roles.osmo-default]
everyone = true
external_roles = []
[[roles.osmo-default.policies]]
actions = ["workflow:*", "pool:List"]
resources = ["*"]
"""
    for role in range(ROLES):
        group = gen_ldif.group_name(role)
        text += ROLE.format(role=role, group=group, one=role * 2, other=role * 2 + 1)
    return text


class Changer:
    """Takes people out of groups, and puts them back a while later, RATE times a second."""

    def __init__(self, server, a):
        self.server, self.connection = server, server.connect()
        sizes = gen_ldif.sizes(a.users, a.groups, a.memberships)
        each = [list(gen_ldif.members(group, sizes[group], a.users)) for group in CHANGING]
        # One of each group in turn; the first of the first is left for the end.
        rows = zip(*(people[1:] for people in each))
        names = [gen_ldif.group_name(group) for group in CHANGING]
        self.turn = itertools.cycle([pair for row in rows for pair in zip(names, row)])
        self.out = collections.deque()
        self.made, self.stop = 0, threading.Event()

    def change(self):
        if self.made % 2 == 0 or len(self.out) < OUT:
            group, person = next(self.turn)
            self.out.append((group, person))
            how = ldap_client.DELETE
        else:
            group, person = self.out.popleft()
            how = ldap_client.ADD
        shape = self.server.shape
        self.connection.modify(shape.group_dn(group), how, "member", shape.person_dn(person))
        self.made += 1

    def run(self):
        began = time.monotonic()
        for number in itertools.count():
            wait = began + number / RATE - time.monotonic()
            if self.stop.wait(max(0, wait)):
                return
            self.change()


def subject(person):
    """The id that gen_ldif.py gives somebody with `--uuids`."""
    return f"{person:08x}-1111-4222-8333-444455556666"


def main():
    parser = argparse.ArgumentParser(description="The gateway's p99 under changes.")
    followed.arguments(parser)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--load", required=True, help="benches/ext_authz.rs, built")
    a = parser.parse_args()

    server = followed.server(a, CHANGING[0])
    grpc = program.free_port()
    source = server.source(server.host, server.port) + roles()
    more = GATEWAY.format(grpc=grpc)
    running = program.Program(a.binary, a.scratch, source, server.env, more)
    load = [a.load, "--steady", f"127.0.0.1:{grpc}", "--users", str(a.users), "--seconds"]

    def p99(seconds):
        done = subprocess.run([*load, str(seconds)], check=True, stdout=subprocess.PIPE)
        return int(done.stdout)

    peace, changing, rates = [], [], []
    changer = Changer(server, a)
    try:
        running.start()
        p99(2)
        for _ in range(a.rounds):
            peace.append(p99(SECONDS))
            thread = threading.Thread(target=changer.run)
            made, began = changer.made, time.monotonic()
            changer.stop.clear()
            thread.start()
            time.sleep(1)
            changing.append(p99(SECONDS))
            changer.stop.set()
            thread.join()
            rates.append((changer.made - made) / (time.monotonic() - began))
        # What was changed counts, and not long after.
        gateway = program.Gateway(running.http, "x-osmo-subject")
        last = server.members[0]
        if not gateway.allows(subject(last)):
            sys.exit("who is taken last has no role")
        server.removal(changer.connection, server.group, last)()
        began = time.monotonic()
        while gateway.allows(subject(last)):
            if time.monotonic() > began + PATIENCE:
                sys.exit("the last change does not count")
            time.sleep(0.005)
        behind = time.monotonic() - began
    finally:
        changer.stop.set()
        running.stop()
    lib.figure("p99 in peace", min(peace) / 1000, " ms")
    lib.figure("p99 while 100 changes a second are applied", min(changing) / 1000, " ms")
    lib.figure("a change after the last of them counted after", behind * 1000, " ms")
    judge = lib.Verdicts()
    judge.at_least("changes a second", min(rates), RATE * KEPT_UP)
    judge.at_most("p99 under changes / in peace", min(changing) / min(peace), LIMIT, " x")
    return judge.exit_status()


if __name__ == "__main__":
    sys.exit(main())
