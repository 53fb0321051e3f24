#!/usr/bin/env python3
"""Writes the LDIF of a big company: people, groups, memberships. The same numbers give the same
bytes.

usage: bench/gen_ldif.py [--users N] [--groups N] [--memberships N] [--moved PERCENT] > FILE

As in real directories a few groups hold a great part: one group in 200 holds a fifth of the people,
19 in 200 a hundredth, the others share what is left of the memberships. With `--moved` the company
is the same some time later: so many of each group's members have left it, and others have come.
"""

import argparse
import math
import sys

SUFFIX = "dc=example,dc=org"
SERVICE = f"cn=idpsyncd,ou=services,{SUFFIX}"
PASSWORD = "bench-password"


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


def write(out, users, groups, memberships, moved=0.0):
    out.write(f"dn: {SUFFIX}\nobjectClass: domain\ndc: example\n\n")
    for unit in ("people", "groups", "services"):
        out.write(f"dn: ou={unit},{SUFFIX}\nobjectClass: organizationalUnit\nou: {unit}\n\n")
    out.write(
        f"dn: {SERVICE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n"
        f"cn: idpsyncd\nuserPassword: {PASSWORD}\n\n"
    )
    for number in range(users):
        name = uid(number)
        out.write(
            f"dn: uid={name},ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\nuid: {name}\n"
            f"cn: Person {number}\nsn: {number}\nmail: {name}@example.org\n\n"
        )
    for group, size in enumerate(sizes(users, groups, memberships)):
        name = f"team-{group:04d}"
        out.write(f"dn: cn={name},ou=groups,{SUFFIX}\nobjectClass: groupOfNames\ncn: {name}\n")
        out.writelines(
            f"member: uid={uid(number)},ou=people,{SUFFIX}\n"
            for number in members(group, size, users, moved)
        )
        out.write("\n")


def main():
    parser = argparse.ArgumentParser(description="An LDIF of a big company, on standard output.")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--groups", type=int, default=2_000)
    parser.add_argument("--memberships", type=int, default=730_000)
    parser.add_argument("--moved", type=float, default=0.0)
    a = parser.parse_args()
    write(sys.stdout, a.users, a.groups, a.memberships, a.moved)


if __name__ == "__main__":
    main()
