#!/usr/bin/env python3
"""The measuring half of bench/report.sh: two syncs, then `who` and `report access` beside dumps of the
same rows by `sqlite3`."""

import argparse
import os
import shutil
import subprocess
import sys

import lib
from ldap_compare import GROUP_FILTER, GROUPS, PEOPLE, PERSON_FILTER, RULES, count
from size_compare import CONFIG

# Of the dump of the same pairs. The report also says since when and why: ten times as many bytes.
WHO_LIMIT = 3.0
REPORT_LIMIT = 8.0
# Beside the output that waits (8 MiB): role sets and reasons; with --as-of what changed since.
MEMORY_LIMIT = 300

REQUEST = ("workflow:Create", "pool/bench-00-a")
PAIRS = "SELECT username, role FROM gateway_user_role ORDER BY 1, 2"
MAY = (
    "SELECT username, role FROM gateway_decision WHERE action = '%s' AND resource = '%s'"
    " AND effect = 'Allow' ORDER BY 1" % REQUEST
)


def lines(command):
    """How many lines a command writes. None is kept: what this process holds would count as the peak
    memory of those that it starts."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        number = sum(1 for _ in child.stdout)
    if child.returncode != 0:
        sys.exit(f"`{' '.join(command)}` failed")
    return number


def synced(a):
    """A store of two generations: its file, its configuration."""
    store, config, ldif = (
        os.path.join(a.scratch, name) for name in ("store.db", "idpsyncd.toml", "company.ldif")
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
    for source in ("before", "after"):
        shutil.copyfile(os.path.join(a.scratch, f"{source}.ldif"), ldif)
        lib.run([a.binary, "sync", "--config", config], None, os.path.join(a.scratch, "log"))
    return store, config


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--rules", choices=sorted(RULES), required=True)
    a = parser.parse_args()

    store, config = synced(a)
    dump = ["sqlite3", "-readonly", "-csv", store]
    tell = [a.binary, "--config", config, "--output", "csv"]
    report = [*tell, "report", "access"]
    commands = {
        "dump of the pairs": [*dump, PAIRS],
        "dump of one decision": [*dump, MAY],
        "who": [*tell, "who", *REQUEST],
        "report access": report,
        "report access --as-of 1": [*report, "--as-of", "1"],
    }
    who = lines(commands["who"]) - 1
    if who != lines(commands["dump of one decision"]):
        sys.exit(f"`who` lists {who} people, the view others: this measured nothing")
    pairs = count(store, "gateway_user_role")
    listed = lines(report) - 1
    if listed != pairs:
        sys.exit(f"the report has {listed} rows, the view {pairs}: this measured nothing")
    lib.figure("users, thousands", count(store, "gateway_user") / 1000, "")
    lib.figure("pairs, thousands", pairs / 1000, "")
    lib.figure("who may, thousands", who / 1000, "")

    runs = {name: [] for name in commands}
    for _ in range(a.rounds):
        for name, command in commands.items():
            runs[name].append(lib.run(command))
    for name in commands:
        lib.figure(f"{name}: seconds", lib.best(runs[name]), " s")
    judge = lib.Verdicts()
    for name, beside, limit in (
        ("who", "dump of one decision", WHO_LIMIT),
        ("report access", "dump of the pairs", REPORT_LIMIT),
        ("report access --as-of 1", "dump of the pairs", REPORT_LIMIT),
    ):
        ratio = lib.best(runs[name]) / lib.best(runs[beside])
        judge.at_most(f"{name}: of the {beside}", ratio, limit, " x")
    for name in ("who", "report access", "report access --as-of 1"):
        peak = max(item.mebibytes for item in runs[name])
        judge.at_most(f"{name}: peak memory", peak, MEMORY_LIMIT, " MiB")
    return judge.exit_status()


if __name__ == "__main__":
    sys.exit(main())
