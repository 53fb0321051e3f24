#!/usr/bin/env python3
"""The measuring half of bench/size.sh: a raw import, then a first sync, an unchanged second one, and
one after a hundredth of the memberships has changed."""

import argparse
import os
import shutil
import sqlite3
import sys

import gen_ldif
import lib
from ldap_compare import GROUP_FILTER, GROUPS, PEOPLE, PERSON_FILTER, RULES, count
from program import CATALOG, COMPANY

# What the design promises; the times are told as ratios and not judged.
MEMORY_LIMIT = 1024

CONFIG = """\
[store]
path = "{store}"

"""
CONFIG += COMPANY + CATALOG

# What any program must do that keeps the same facts in a file: read them, and put each into a tree
# by its key.
IMPORT = """\
CREATE TABLE user (id INTEGER PRIMARY KEY, username TEXT UNIQUE, email TEXT);
CREATE TABLE member (team INTEGER, user INTEGER, PRIMARY KEY (team, user)) WITHOUT ROWID;
.mode csv
.import {users} user
.import {members} member
"""


def rows(a):
    """Writes the company as rows of two files, and the script that imports them."""
    users, members = (os.path.join(a.scratch, name) for name in ("users.csv", "members.csv"))
    with open(users, "w", encoding="utf-8") as file:
        file.writelines(
            f"{number},{gen_ldif.uid(number)},{gen_ldif.uid(number)}@example.org\n"
            for number in range(a.users)
        )
    with open(members, "w", encoding="utf-8") as file:
        for group, size in enumerate(gen_ldif.sizes(a.users, a.groups, a.memberships)):
            people = gen_ldif.members(group, size, a.users)
            file.writelines(f"{group},{number}\n" for number in people)
    script = os.path.join(a.scratch, "import.sql")
    with open(script, "w", encoding="utf-8") as file:
        file.write(IMPORT.format(users=users, members=members))
    return script


def import_rows(a, script):
    store = os.path.join(a.scratch, "rows.db")
    done = lib.run(["sqlite3", "-bail", store, f".read {script}"])
    found = count(store, "member")
    if found != a.memberships:
        sys.exit(f"{found} memberships were imported, not {a.memberships}: this measured nothing")
    os.remove(store)
    return done


def changed(store, before):
    """How many rows of history there are beyond `before`."""
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
        total = connection.execute("select count(*) from history").fetchone()[0]
    return total - before


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--groups", type=int, required=True)
    parser.add_argument("--memberships", type=int, required=True)
    parser.add_argument("--rules", choices=sorted(RULES), required=True)
    parser.add_argument("--reference-only", action="store_true")
    a = parser.parse_args()

    script = rows(a)
    reference, syncs = [], {"first": [], "unchanged": [], "one in a hundred changed": []}
    for number in range(a.rounds):
        reference.append(import_rows(a, script))
        if a.reference_only:
            continue
        folder = os.path.join(a.scratch, f"round-{number}")
        os.mkdir(folder)
        store, config, ldif = (
            os.path.join(folder, name) for name in ("store.db", "idpsyncd.toml", "company.ldif")
        )
        with open(config, "w", encoding="utf-8") as file:
            file.write(
                CONFIG.format(
                    store=store,
                    ldif=ldif,
                    people=PEOPLE,
                    groups=GROUPS,
                    person_filter=PERSON_FILTER,
                    group_filter=GROUP_FILTER,
                    rules=RULES[a.rules],
                )
            )
        history = 0
        for name, source in zip(syncs, ("before", "before", "after")):
            if not os.path.exists(ldif) or source == "after":
                shutil.copyfile(os.path.join(a.scratch, f"{source}.ldif"), ldif)
            sync = [a.binary, "sync", "--config", config]
            syncs[name].append(lib.run(sync, None, os.path.join(folder, "log")))
            more = changed(store, history)
            if (more > 0) != (name != "unchanged"):
                sys.exit(f"`{name}` wrote {more} changes: this measured nothing")
            history += more
            lib.figure(f"changes written, {name}, thousands", more / 1000, "")
        people = count(store, "gateway_user")
        if people != a.users:
            sys.exit(f"the store has {people} users, not {a.users}: this measured nothing")

    import_seconds = lib.best(reference)
    lib.figure("sqlite3 .import of the same rows", import_seconds, " s")
    if a.reference_only:
        return 0
    lib.figure("size of the store", os.path.getsize(store) / 2**20, " MiB")
    lib.figure("user-role pairs in it, thousands", count(store, "gateway_user_role") / 1000, "")
    judge = lib.Verdicts()
    for name, runs in syncs.items():
        lib.figure(f"{name}: seconds", lib.best(runs), " s")
        lib.figure(f"{name}: of the import", lib.best(runs) / import_seconds, " x")
    for name, runs in syncs.items():
        peak = max(item.mebibytes for item in runs)
        judge.at_most(f"{name}: peak memory", peak, MEMORY_LIMIT, " MiB")
    return judge.exit_status()


if __name__ == "__main__":
    sys.exit(main())
