#!/usr/bin/env python3
"""Writes a Keycloak realm of a big company as JSON, for POST /admin/realms. The same numbers give
the same bytes.

usage: bench/gen_realm.py [--users N] [--groups N] [--memberships N] [--organization] [--events] > FILE

A tenth of the groups are top-level units (`/unit-00`, `/unit-01`, …), each with nine teams below
it (`/unit-00/team-0`, …). Everyone is in the same number of groups, give or take one. There are
100 realm roles (`bench-00`, …), each with a few direct holders, every tenth one a composite. With
`--organization` the realm has another name, and one organization: every third person is a member
of it, and in one of its 40 groups (`/unit-0`, `/unit-0/team-0`, …). With `--events` it keeps its
admin events, and the reader may see them.
"""

import argparse
import json
import sys

REALM = "bench"
WITH_ORGANIZATION = "bench-organization"
CLIENT = "idpsyncd"
SECRET = "bench-secret"
# With the last the reader can prove that there is no organization, and need not read in pages.
RIGHTS = ["view-users", "view-realm", "view-clients", "view-organizations"]
EVENTS = ["view-events"]
ROLES = 100
HOLDERS = 20  # of each realm role, directly
ORGANIZATION_UNITS = 8
ORGANIZATION_TEAMS = 4  # below each unit


def organization(people):
    """One organization. Group ids are kept as they are written here."""
    units = []
    for number in range(ORGANIZATION_UNITS):
        path = f"/unit-{number}"
        teams = [
            {"id": f"bench-{number}-{team}", "name": f"team-{team}", "path": f"{path}/team-{team}"}
            for team in range(ORGANIZATION_TEAMS)
        ]
        unit = {"id": f"bench-{number}", "name": path[1:], "path": path, "subGroups": teams}
        units.append(unit)
    groups = [group["id"] for unit in units for group in [unit, *unit["subGroups"]]]
    members = [
        {
            "username": username(number),
            "membershipType": "UNMANAGED",
            "groups": [groups[number // 3 % len(groups)]],
        }
        for number in range(0, people, 3)
    ]
    return {
        "name": "one",
        "alias": "one",
        "enabled": True,
        "domains": [{"name": "one.example.org"}],
        "members": members,
        "groups": units,
    }


def paths(groups):
    """Every group's path: a unit, then its teams."""
    return [
        f"/unit-{number // 10:02d}" + ("" if number % 10 == 0 else f"/team-{number % 10 - 1}")
        for number in range(groups)
    ]


def enabled(number):
    return number % 50 != 0


def username(number):
    return f"u{number:06d}"


def realm(users, groups, memberships, name=REALM, events=False):
    if groups % 10 or memberships < users or memberships > users * groups:
        sys.exit("these numbers do not go together: groups in tens, at least one membership each")
    every = paths(groups)
    each, more = divmod(memberships, users)
    # Steps of a length that is odd and not a multiple of five share no factor with a number of
    # groups like 800, so nobody is in one group twice before all have been gone through.
    steps = [7, 11, 13, 17, 19, 23, 29, 31]
    default = f"default-roles-{name}"
    people = []
    for number in range(users):
        who = username(number)
        step = steps[number % len(steps)]
        count = each + (number < more)
        roles = [default]
        if number < ROLES * HOLDERS:
            roles.append(f"bench-{number % ROLES:02d}")
        people.append(
            {
                "username": who,
                "email": f"{who}@example.org",
                "emailVerified": True,
                "firstName": "Person",
                "lastName": str(number),
                "enabled": enabled(number),
                "groups": [every[(number * 3 + k * step) % groups] for k in range(count)],
                "realmRoles": roles,
            }
        )
    people.append(
        {
            "username": f"service-account-{CLIENT}",
            "enabled": True,
            "serviceAccountClientId": CLIENT,
            "clientRoles": {"realm-management": RIGHTS + EVENTS * events},
        }
    )
    roles = [{"name": f"bench-{number:02d}"} for number in range(ROLES)]
    for number in range(0, ROLES, 10):
        roles[number]["composite"] = True
        roles[number]["composites"] = {"realm": [f"bench-{number + 1:02d}"]}
    units = []
    for unit in range(groups // 10):
        teams = [
            {"name": f"team-{team}", "path": f"/unit-{unit:02d}/team-{team}"} for team in range(9)
        ]
        units.append(
            {
                "name": f"unit-{unit:02d}",
                "path": f"/unit-{unit:02d}",
                "realmRoles": [f"bench-{unit % ROLES:02d}"],
                "subGroups": teams,
            }
        )
    kept = {"adminEventsEnabled": True} if events else {}
    return {
        **kept,
        "realm": name,
        "enabled": True,
        "organizationsEnabled": True,
        "organizations": [organization(users)] if name == WITH_ORGANIZATION else [],
        "roles": {"realm": roles},
        "groups": units,
        "clients": [
            {
                "clientId": CLIENT,
                "secret": SECRET,
                "publicClient": False,
                "serviceAccountsEnabled": True,
                "standardFlowEnabled": False,
                "attributes": {"access.token.lifespan": "1800"},
            }
        ],
        "users": people,
    }


def main():
    parser = argparse.ArgumentParser(description="A big Keycloak realm, on standard output.")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--groups", type=int, default=800)
    parser.add_argument("--memberships", type=int, default=60_000)
    parser.add_argument("--organization", action="store_true")
    parser.add_argument("--events", action="store_true")
    arguments = parser.parse_args()
    name = WITH_ORGANIZATION if arguments.organization else REALM
    made = realm(arguments.users, arguments.groups, arguments.memberships, name, arguments.events)
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()
