#!/usr/bin/env python3
"""The measuring half of bench/postgres.sh: the same company into a file and into a database, by turns."""

import argparse
import os
import sys

import lib
from ldap_compare import GROUP_FILTER, GROUPS, PEOPLE, PERSON_FILTER, RULES
from size_compare import CONFIG

# Of SQLite's time, on the same machine, with database and program on its processors.
FIRST = UNCHANGED = 1.5

DATABASE = "postgresql://idpsyncd@127.0.0.1:{port}/idpsyncd"


def configured(a, name, store):
    """The path of a configuration whose store is where `store` says, the keys of `[store]`."""
    text = CONFIG.format(
        store="store.db",
        ldif=os.path.join(a.scratch, "company.ldif"),
        people=PEOPLE,
        groups=GROUPS,
        person_filter=PERSON_FILTER,
        group_filter=GROUP_FILTER,
        rules=RULES[a.rules],
    )
    path = os.path.join(a.scratch, f"{name}.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace('path = "store.db"', store))
    return path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--groups", type=int, required=True)
    parser.add_argument("--memberships", type=int, required=True)
    parser.add_argument("--rules", choices=sorted(RULES), required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", type=int, required=True)
    a = parser.parse_args()

    file = os.path.join(a.scratch, "store.db")
    url = DATABASE.format(port=a.port)
    configs = {
        "SQLite": configured(a, "sqlite", f'path = "{file}"'),
        "PostgreSQL": configured(a, "postgres", f'postgres = "{url}"'),
    }
    steps = ("first sync", "unchanged sync")
    runs = {(name, step): [] for name in configs for step in steps}
    copies = {"store copy into PostgreSQL": [], "store copy into SQLite": []}
    log = os.path.join(a.scratch, "log")
    worked = {step: [] for step in steps}
    for _ in range(a.rounds):
        for path in (file, file + "-wal", file + "-shm", file + ".copy", file + ".copy-wal", file + ".copy-shm"):
            if os.path.exists(path):
                os.remove(path)
        lib.psql(a.port, "DROP SCHEMA IF EXISTS idpsyncd CASCADE; DROP SCHEMA IF EXISTS copied CASCADE")
        lib.psql(a.port, "CHECKPOINT")
        for step in steps:
            for name, config in configs.items():
                before = lib.tree_cpu_seconds(a.server)
                runs[name, step].append(lib.run([a.binary, "sync", "--config", config], None, log))
                if name == "PostgreSQL":
                    worked[step].append(lib.tree_cpu_seconds(a.server) - before)
        copy = [a.binary, "store", "copy", "--config"]
        into = [configs["SQLite"], "--to", url, "--schema", "copied"]
        copies["store copy into PostgreSQL"].append(lib.run(copy + into, None, log))
        back = [configs["PostgreSQL"], "--to", file + ".copy"]
        copies["store copy into SQLite"].append(lib.run(copy + back, None, log))
    found = int(lib.psql(a.port, "SELECT count(*) FROM idpsyncd.gateway_user"))
    if found != a.users:
        sys.exit(f"the database has {found} users, not {a.users}: this measured nothing")

    size = "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    size += " WHERE n.nspname = 'idpsyncd' AND c.relkind = 'r'"
    lib.figure("size of the store: SQLite", os.path.getsize(file) / 2**20, " MiB")
    lib.figure("size of the store: PostgreSQL", int(lib.psql(a.port, size)) / 2**20, " MiB")
    for (name, step), done in runs.items():
        lib.figure(f"{step}: {name}", lib.best(done), " s")
        lib.figure(f"{step}: {name}: CPU of the program", lib.least_cpu(done), " s")
        lib.figure(f"{step}: {name}: peak memory", max(it.mebibytes for it in done), " MiB")
    for step, seconds in worked.items():
        lib.figure(f"{step}: PostgreSQL: CPU of the database", min(seconds), " s")
    for name, done in copies.items():
        lib.figure(name, lib.best(done), " s")
        lib.figure(f"{name}: peak memory", max(it.mebibytes for it in done), " MiB")
    for step in steps:
        both = [one.cpu + other for one, other in zip(runs["PostgreSQL", step], worked[step])]
        ratio = min(both) / lib.least_cpu(runs["SQLite", step])
        lib.figure(f"{step}: CPU of both, of SQLite's", ratio, " x")
    judge = lib.Verdicts()
    for step, limit in zip(steps, (FIRST, UNCHANGED)):
        # Of runs that followed each other: what else went on there went on for both.
        pairs = zip(runs["SQLite", step], runs["PostgreSQL", step])
        ratio = lib.percentile([other.seconds / one.seconds for one, other in pairs], 0.5)
        judge.at_most(f"{step}, of SQLite's", ratio, limit, " x")
    return judge.exit_status()


if __name__ == "__main__":
    sys.exit(main())
