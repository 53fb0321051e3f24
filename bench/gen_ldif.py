#!/usr/bin/env python3
"""Writes the LDIF of a big company: people, groups, memberships. The same numbers give the same
bytes.

usage: bench/gen_ldif.py [--users N] [--groups N] [--memberships N] [--moved PERCENT] [--huge N]
                         [--uuids] [--ad] > FILE

As in real directories a few groups hold a great part: one group in 200 holds a fifth of the people,
19 in 200 a hundredth, the others share what is left of the memberships. With `--moved` the company
is the same some time later: so many of each group's members have left it, and others have come.
`--huge` adds a group `huge` that so many people are in, from the first on. `--uuids` gives people the
`entryUUID` that benches/ext_authz.rs asks for. `--ad` writes it as Active Directory has it, below
`ou=people` and `ou=groups` of the domain ad.example.org.
"""

import argparse
import math
import sys

SUFFIX = "dc=example,dc=org"
AD_SUFFIX = "DC=ad,DC=example,DC=org"
SERVICE = f"cn=idpsyncd,ou=services,{SUFFIX}"
PASSWORD = "bench-password"
HUGE = "huge"


def sizes(users, groups, memberships):
    """How many members each group has; they sum to `memberships`."""
    wanted = [0] * groups
    for group in range(groups):
        if group % 200 == 0:
            wanted[group] = users // 5
        elif group % 200 < 20:
            wanted[group] = users // 100
    rest = [group for group in range(groups) if not wanted[group]]
    left = memberships - sum(wanted)
    if not rest or not len(rest) <= left <= len(rest) * users:
        sys.exit("these numbers do not go together: too few or too many memberships")
    each, more = divmod(left, len(rest))
    for position, group in enumerate(rest):
        wanted[group] = each + (position < more)
    return wanted


def members(group, size, users, moved=0.0):
    """Distinct people, spread over the whole company: steps of a length that shares no factor with
    their number. `moved` percent of them left at one end, and as many came at the other."""
    step = 7919 + 2 * group
    while math.gcd(step, users) != 1:
        step += 1
    start = group * 104729 % users
    shift = min(int(size * moved / 100), users - size)
    return ((start + k * step) % users for k in range(shift, size + shift))


def uid(number):
    return f"u{number:07d}"


class Plain:
    """Entries as OpenLDAP and 389-DS have them."""

    people = f"ou=people,{SUFFIX}"
    groups = f"ou=groups,{SUFFIX}"

    def __init__(self, uuids=False):
        self.uuids = uuids

    def tree(self):
        parts = [f"dn: {SUFFIX}\nobjectClass: domain\ndc: example\n\n"]
        parts += [
            f"dn: ou={unit},{SUFFIX}\nobjectClass: organizationalUnit\nou: {unit}\n\n"
            for unit in ("people", "groups", "services")
        ]
        parts.append(
            f"dn: {SERVICE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n"
            f"cn: idpsyncd\nuserPassword: {PASSWORD}\n\n"
        )
        return "".join(parts)

    def person_dn(self, number):
        return f"uid={uid(number)},{self.people}"

    def person(self, number):
        name = uid(number)
        uuid = f"entryUUID: {number:08x}-1111-4222-8333-444455556666\n" if self.uuids else ""
        return (
            f"dn: {self.person_dn(number)}\nobjectClass: inetOrgPerson\nuid: {name}\n"
            f"cn: Person {number}\nsn: {number}\nmail: {name}@example.org\n{uuid}\n"
        )

    def group_dn(self, name):
        return f"cn={name},{self.groups}"

    def group(self, name):
        return f"dn: {self.group_dn(name)}\nobjectClass: groupOfNames\ncn: {name}\n"


class ActiveDirectory:
    """Entries as Active Directory has them. Whoever is enabled there has no password."""

    people = f"OU=people,{AD_SUFFIX}"
    groups = f"OU=groups,{AD_SUFFIX}"

    def tree(self):
        return "".join(
            f"dn: OU={unit},{AD_SUFFIX}\nobjectClass: organizationalUnit\nou: {unit}\n\n"
            for unit in ("people", "groups")
        )

    def person_dn(self, number):
        return f"CN={uid(number)},{self.people}"

    def person(self, number):
        name = uid(number)
        return (
            f"dn: {self.person_dn(number)}\nobjectClass: user\nsAMAccountName: {name}\n"
            f"userAccountControl: 544\nmail: {name}@example.org\n\n"
        )

    def group_dn(self, name):
        return f"CN={name},{self.groups}"

    def group(self, name):
        return f"dn: {self.group_dn(name)}\nobjectClass: group\nsAMAccountName: {name}\n"


def group_name(number):
    return f"team-{number:04d}"


def write(out, shape, users, groups, memberships, moved=0.0, huge=0):
    if huge > users:
        sys.exit(f"these numbers do not go together: {huge} of {users} people in one group")
    out.write(shape.tree())
    for number in range(users):
        out.write(shape.person(number))

    def group(name, people):
        out.write(shape.group(name))
        out.writelines(f"member: {shape.person_dn(number)}\n" for number in people)
        out.write("\n")

    for number, size in enumerate(sizes(users, groups, memberships)):
        group(group_name(number), members(number, size, users, moved))
    if huge:
        group(HUGE, range(huge))


def main():
    parser = argparse.ArgumentParser(description="An LDIF of a big company, on standard output.")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--groups", type=int, default=2_000)
    parser.add_argument("--memberships", type=int, default=730_000)
    parser.add_argument("--moved", type=float, default=0.0)
    parser.add_argument("--huge", type=int, default=0)
    parser.add_argument("--uuids", action="store_true")
    parser.add_argument("--ad", action="store_true")
    a = parser.parse_args()
    shape = ActiveDirectory() if a.ad else Plain(a.uuids)
    write(sys.stdout, shape, a.users, a.groups, a.memberships, a.moved, a.huge)


if __name__ == "__main__":
    main()
