#!/usr/bin/env python3
"""The measuring half of bench/store_tokens.sh."""

import argparse
import os
import shutil
import sqlite3
import sys

import gen_ldif
import lib
from ldap_compare import GROUP_FILTER, GROUPS, PEOPLE, PERSON_FILTER, RULES, count
from size_compare import CONFIG

# A token is made and revoked by what a grant is: a plan from the whole state.
LIKE_A_GRANT = 1.5
# Beside sqlite3's own dump: the roles of each are looked up, and JSON has more bytes.
LIKE_A_DUMP = 6.0

EVERY_USER_A_TOKEN = """\
INSERT INTO token (user, name, digest, expires_at, description, by, at, role_set)
SELECT id, 'bench', randomblob(32), unixepoch() + 25920000, '', 'bench', unixepoch(), role_set
  FROM user ORDER BY id;
INSERT INTO token_role SELECT t.num, g.role FROM token t JOIN idp_grant g ON g.user = t.user
 ORDER BY t.num, g.role;
UPDATE role_set SET users = users * 2;
"""

DUMP = """\
SELECT u.username, t.name, t.expires_at, t.description, t.by, t.at,
       (SELECT group_concat(role) FROM token_role WHERE token = t.num)
  FROM token t JOIN user u ON u.id = t.user ORDER BY u.username, t.name;
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--users", type=int, required=True)
    a = parser.parse_args()

    store, config, ldif = (
        os.path.join(a.scratch, name) for name in ("store.db", "idpsyncd.toml", "company.ldif")
    )
    shutil.copyfile(os.path.join(a.scratch, "before.ldif"), ldif)
    text = CONFIG.format(
        store=store,
        ldif=ldif,
        people=PEOPLE,
        groups=GROUPS,
        person_filter=PERSON_FILTER,
        group_filter=GROUP_FILTER,
        rules=RULES["few"],
    ).replace('sync_mode = "force"', 'sync_mode = "merge"')
    with open(config, "w", encoding="utf-8") as file:
        file.write(text + '\n[roles.by-hand]\nexternal_roles = []\n')
    log = os.path.join(a.scratch, "log")

    def program(*words):
        return lib.run([a.binary, *words, "--config", config], None, log)

    program("sync")
    person = gen_ldif.uid(a.users // 2)
    add = ("grant", "add", person, "by-hand", "--reason", "bench")
    create = ("token", "create", person, "one", "--role", "by-hand", "--expires", "30d")
    bare = []
    for _ in range(a.rounds):
        bare.append(program(*add))
        program("grant", "remove", person, "by-hand")
    without = program("sync")

    before = os.path.getsize(store)
    with sqlite3.connect(store) as connection:
        connection.executescript(f"BEGIN; {EVERY_USER_A_TOKEN} COMMIT;")
    connection.close()
    if count(store, "gateway_token") != a.users:
        sys.exit("not every user has a token: this measured nothing")

    grants, made, revoked, listed, dumped = [], [], [], [], []
    for _ in range(a.rounds):
        grants.append(program(*add))
        made.append(program(*create))
        listed.append(program("token", "list", "--output", "json"))
        revoked.append(program("token", "revoke", person, "one"))
        program("grant", "remove", person, "by-hand")
        dumped.append(lib.run(["sqlite3", "-readonly", "-json", store, DUMP]))
    unchanged = program("sync")
    shutil.copyfile(os.path.join(a.scratch, "after.ldif"), ldif)
    moved = program("sync")

    lib.figure("tokens in the store, thousands", count(store, "gateway_token") / 1000, "")
    lib.figure("bytes a token in the file", (os.path.getsize(store) - before) / a.users, "")
    lib.figure("grant add, no token in the store", lib.best(bare), " s")
    for name, runs in (
        ("grant add", grants),
        ("token create", made),
        ("token revoke", revoked),
        ("token list --output json", listed),
        ("the same rows by sqlite3", dumped),
    ):
        lib.figure(name, lib.best(runs), " s")
        lib.figure(f"{name}: peak memory", max(item.mebibytes for item in runs), " MiB")
    for name, item in (
        ("unchanged sync, no token", without),
        ("unchanged sync", unchanged),
        ("sync, one membership in a hundred changed", moved),
    ):
        lib.figure(name, item.seconds, " s")
        lib.figure(f"{name}: peak memory", item.mebibytes, " MiB")
    judge = lib.Verdicts()
    judge.at_most("token create, of grant add", lib.best(made) / lib.best(grants), LIKE_A_GRANT, " x")
    judge.at_most("token revoke, of grant add", lib.best(revoked) / lib.best(grants), LIKE_A_GRANT, " x")
    judge.at_most("token list, of sqlite3", lib.best(listed) / lib.best(dumped), LIKE_A_DUMP, " x")
    return judge.exit_status()


if __name__ == "__main__":
    sys.exit(main())
