#!/usr/bin/env python3
"""The measuring half of bench/ldap.sh: raw dumps, a first sync, an unchanged second one."""

import argparse
import os
import shutil
import sqlite3
import sys

import gen_ldif
import lib
from program import CATALOG, TEAMS

# Of the first sync, by the rules; of the unchanged second one; in megabytes.
FIRST_LIMIT = {"few": 2.0, "all": 3.0}
SECOND_LIMIT = 1.2
MEMORY_LIMIT = 300

PEOPLE = f"ou=people,{gen_ldif.SUFFIX}"
GROUPS = f"ou=groups,{gen_ldif.SUFFIX}"
PERSON_FILTER = "(objectClass=inetOrgPerson)"
GROUP_FILTER = "(objectClass=groupOfNames)"

# Twenty roles, one for each hundred groups. `few` is what a platform's rules look like: 60 of the
# groups, about 2 roles a person.
RULES = {"few": "(00|50|99)", "all": "[0-9]{2}"}

CONFIG = """\
[store]
path = "{store}"

[[source]]
name = "bench-ldap"
kind = "ldap"
url = "ldap://127.0.0.1:{port}"
bind_dn = "{bind_dn}"
bind_password = {{ env = "BENCH_LDAP_PASSWORD" }}
flavor = "openldap"
users = {{ base = "{people}", filter = "{person_filter}", username = "uid", email = "mail" }}
groups = {{ base = "{groups}", filter = "{group_filter}", name = "cn" }}

"""
CONFIG += TEAMS.replace("{source}", "bench-ldap") + CATALOG


def dump(port, base, search_filter, attributes):
    return lib.run(
        ["ldapsearch", "-x", "-LLL", "-o", "ldif-wrap=no", "-E", "pr=1000/noprompt"]
        + ["-H", f"ldap://127.0.0.1:{port}/", "-D", gen_ldif.SERVICE, "-w", gen_ldif.PASSWORD]
        + ["-b", base, search_filter, *attributes]
    )


def dumps(port):
    """Both dumps, one after the other: people, then groups."""
    people = dump(port, PEOPLE, PERSON_FILTER, ["uid", "mail", "entryUUID"])
    groups = dump(port, GROUPS, GROUP_FILTER, ["member", "entryUUID", "cn"])
    return lib.Run(people.seconds + groups.seconds, 0, "", people.cpu + groups.cpu)


def count(store, what):
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
        return connection.execute(f"select count(*) from {what}").fetchone()[0]


class Measured:
    """One round's syncs of one set of rules, and what they left in the store."""

    def __init__(self, a, rules, number):
        folder = os.path.join(a.scratch, f"{rules}-{number}")
        os.mkdir(folder)
        store = os.path.join(folder, "store.db")
        config = os.path.join(folder, "idpsyncd.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(
                CONFIG.format(
                    store=store,
                    port=a.port,
                    bind_dn=gen_ldif.SERVICE,
                    people=PEOPLE,
                    groups=GROUPS,
                    person_filter=PERSON_FILTER,
                    group_filter=GROUP_FILTER,
                    rules=RULES[rules],
                )
            )
        env = {"BENCH_LDAP_PASSWORD": gen_ldif.PASSWORD}
        sync = [a.binary, "sync", "--config", config]
        self.first = lib.run(sync, env, os.path.join(folder, "first.log"))
        people = count(store, "gateway_user")
        if people != a.users:
            sys.exit(f"the store has {people} users, not {a.users}: this measured nothing")
        self.second = lib.run(sync, env, os.path.join(folder, "second.log"))
        self.mebibytes = os.path.getsize(store) / 2**20
        self.pairs = count(store, "gateway_user_role")
        self.sets = count(store, "(select distinct role_set from gateway_user)")
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True)
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--rules", choices=sorted(RULES), nargs="+", required=True)
    parser.add_argument("--reference-only", action="store_true")
    a = parser.parse_args()

    dumps(a.port)  # warms the server
    reference, measured = [], {rules: [] for rules in a.rules}
    for number in range(a.rounds):
        for rules in a.rules:
            # Beside each sync, so that a machine that is slow for a while is slow for both.
            reference.append(dumps(a.port))
            if not a.reference_only:
                measured[rules].append(Measured(a, rules, number))

    seconds = lib.best(reference)
    lib.figure("two ldapsearch dumps, one after the other", seconds, " s")
    if a.reference_only:
        return 0
    judge = lib.Verdicts()
    for rules, rounds in measured.items():
        first, second = ([getattr(it, name) for it in rounds] for name in ("first", "second"))
        lib.figure(f"{rules} rules: first sync into a fresh store", lib.best(first), " s")
        lib.figure(f"{rules} rules: second sync, nothing changed", lib.best(second), " s")
        lib.figure(f"{rules} rules: CPU of the first sync", lib.least_cpu(first), " s")
        lib.figure(f"{rules} rules: CPU of the second sync", lib.least_cpu(second), " s")
        lib.figure(f"{rules} rules: size of the store", rounds[-1].mebibytes, " MiB")
        lib.figure(f"{rules} rules: user-role pairs, thousands", rounds[-1].pairs / 1000, "")
        lib.figure(f"{rules} rules: role sets", rounds[-1].sets, "")
    for rules, rounds in measured.items():
        first, second = ([getattr(it, name) for it in rounds] for name in ("first", "second"))
        ratio = lib.best(first) / seconds
        judge.at_most(f"{rules} rules: first sync / dumps", ratio, FIRST_LIMIT[rules], " x")
        ratio = lib.best(second) / seconds
        judge.at_most(f"{rules} rules: unchanged sync / dumps", ratio, SECOND_LIMIT, " x")
        for name, runs in (("first", first), ("unchanged", second)):
            # The limit is in megabytes.
            peak = max(item.mebibytes for item in runs) * 2**20 / 1e6
            judge.at_most(f"{rules} rules: peak memory, {name}", peak, MEMORY_LIMIT, " MB")
    return judge.exit_status()


if __name__ == "__main__":
    sys.exit(main())
