#!/usr/bin/env python3
"""The measuring half of bench/keycloak.sh: makes the realm, then reads it in several ways."""

import argparse
import json
import os
import queue
import re
import sys
import threading
import time

import gen_realm
import lib
from keycloak_admin import Server, make_realm, token

REPLAY_LIMIT = 1.3
ORGANIZATION_LIMIT = 1.5
BY_USER_LIMIT = 4
SAMPLE = 200
CONCURRENCY = 2  # the configuration below says the same to idpsyncd

REALM = gen_realm.REALM
BASE = f"/admin/realms/{REALM}"

CONFIG = """\
[store]
path = "{store}"

[[source]]
name = "bench-keycloak"
kind = "keycloak"
url = "http://127.0.0.1:{port}"
realm = "{realm}"
client_id = "{client}"
client_secret = {{ env = "BENCH_KEYCLOAK_SECRET" }}
clients = []
concurrency = {concurrency}
timeout = "5m"
read_timeout = "30m"

[roles.bench]
sync_mode = "force"
external_roles = []
[[roles.bench.policies]]
actions = ["workflow:*"]
resources = ["pool/bench-*"]

[[mapping]]
source = "bench-keycloak"
group_regex = '{groups}'
roles = ["bench"]
{template}
[[catalog]]
actions = ["workflow:Create"]
resources = ["pool/bench-a"]
"""

# Every realm role of the bench matters too, so who holds it is asked.
TEMPLATE = """
[[role_template]]
name = 'bench-(?<number>[0-9]+)'
[[role_template.policies]]
actions = ["workflow:*"]
resources = ["pool/bench-${number}-*"]
"""


# The organization's members, and the people of all of its groups.
ORGANIZATION = """
[[mapping]]
source = "bench-keycloak"
organization = "one"
roles = ["bench"]
""" + "".join(
    f"""
[[mapping]]
source = "bench-keycloak"
organization_group = "one:/unit-{unit}"
roles = ["bench"]
"""
    for unit in range(gen_realm.ORGANIZATION_UNITS)
)
# Rows of a page that cost least in a realm with an organization.
PAGE = 100


def reader_token(port):
    form = {"grant_type": "client_credentials", "client_id": gen_realm.CLIENT}
    return token(port, REALM, form | {"client_secret": gen_realm.SECRET})


def replay(port, paths):
    """Seconds and bytes of reading all paths with the configured concurrency."""
    bearer = reader_token(port)
    todo = queue.SimpleQueue()
    for path in paths:
        todo.put(path)
    sizes, faults = [], []

    def work():
        server = Server(port, bearer)
        try:
            while True:
                sizes.append(server.drain(todo.get_nowait()))
        except queue.Empty:
            pass
        except Exception as fault:  # a thread's fault must reach the main one
            faults.append(fault)

    began = time.perf_counter()
    workers = [threading.Thread(target=work) for _ in range(CONCURRENCY)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if faults:
        sys.exit(f"replaying failed: {faults[0]}")
    return lib.Run(time.perf_counter() - began, 0, ""), sum(sizes)


def logged_paths(log):
    """The paths of the reader's requests, in order, from a debug log: the field `path` of each
    request's line, in JSON (`"path":"…"`) or text (`path=…`)."""
    found = []
    for line in log.splitlines():
        match = re.search(r'"path":\s*("(?:[^"\\]|\\.)*")', line)
        if match:
            path = json.loads(match[1])
        elif match := re.search(r'\bpath="?([^\s"]+)', line):
            path = match[1]
        else:
            continue
        if not path.startswith("/") or "/protocol/openid-connect/" in path:
            continue
        found.append(path if path.startswith("/admin/") else BASE + path)
    return found


def plain_paths(port):
    """A list of URLs much like the reader's, where there is no reader yet."""
    server = Server(port, reader_token(port))
    tree = f"{BASE}/groups?search=%2A&populateHierarchy=false&max=-1&briefRepresentation=true"
    groups = json.loads(server.call("GET", tree))
    paths = [tree, f"{BASE}/users?briefRepresentation=true&max=-1", f"{BASE}/users/count"]
    paths += [
        f"{BASE}/groups/{group['id']}/members?briefRepresentation=true&max=-1" for group in groups
    ]
    return paths


def sample_paths(port):
    """What asking user by user asks, for a sample spread over all of them; and how many there
    are."""
    server = Server(port, reader_token(port))
    users = json.loads(server.call("GET", f"{BASE}/users?briefRepresentation=true&max=-1"))
    chosen = users[:: max(1, len(users) // SAMPLE)][:SAMPLE]
    paths = []
    for user in chosen:
        paths.append(f"{BASE}/users/{user['id']}/groups?briefRepresentation=true&max=-1")
        paths.append(f"{BASE}/users/{user['id']}/role-mappings")
    return paths, len(chosen), len(users)


def configured(scratch, port, name, groups, template):
    folder = os.path.join(scratch, name)
    os.mkdir(folder)
    path = os.path.join(folder, "idpsyncd.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            CONFIG.format(
                store=os.path.join(folder, "store.db"),
                port=port,
                realm=REALM,
                client=gen_realm.CLIENT,
                concurrency=CONCURRENCY,
                groups=groups,
                template=template,
            )
        )
    return path


def dry_run(binary, config, debug=False):
    env = {"BENCH_KEYCLOAK_SECRET": gen_realm.SECRET}
    if debug:
        env |= {"RUST_LOG": "idpsyncd=debug", "IDPSYNCD_LOG_FORMAT": "json"}
    return lib.run([binary, "sync", "--dry-run", "--config", config], env, config + ".log")


def in_small_pages(port, paths):
    """The same calls with every paged list in pages of PAGE rows, each row once: what is cheapest
    where the server looks up each listed person's organizations."""
    server = Server(port, reader_token(port))
    plain, lists = [], {}
    for path in paths:
        if re.search(r"[?&]first=\d+", path) and re.search(r"[?&]max=\d+", path) and (
            "/members?" in path or "/users?" in path
        ):
            lists[re.sub(r"(first|max)=\d+&?", "", path).rstrip("&?")] = True
        else:
            plain.append(path)
    for bare in lists:
        first, joint = 0, "&" if "?" in bare else "?"
        while True:
            page = f"{bare}{joint}first={first}&max={PAGE}"
            plain.append(page)
            if len(json.loads(server.call("GET", page))) < PAGE:
                break
            first += PAGE
    return plain


def with_organization(a):
    """A realm with one organization: what a page costs grows faster than its rows."""
    global REALM, BASE
    REALM = gen_realm.WITH_ORGANIZATION
    BASE = f"/admin/realms/{REALM}"
    make_realm(a.port, a.realm_file)
    config = configured(a.scratch, a.port, "organization", "/unit-.*", TEMPLATE + ORGANIZATION)
    if a.reference_only:
        paths = plain_paths(a.port)
    else:
        first = dry_run(a.binary, config, debug=True)
        lib.figure("one organization, sync --dry-run, nothing read before", first.seconds, " s")
        paths = logged_paths(first.stderr)
        if not any(f"{BASE}/organizations/" in path for path in paths):
            sys.exit("the read asked for no organization's members")
    small = in_small_pages(a.port, paths)
    own, cheapest, reads = [], [], []
    for _ in range(a.rounds):
        own.append(replay(a.port, paths)[0])
        cheapest.append(replay(a.port, small)[0])
        if not a.reference_only:
            reads.append(dry_run(a.binary, config))
    lib.figure(f"one organization, replaying {len(paths)} URLs", lib.best(own), " s")
    pages = f"one organization, the same lists in pages of {PAGE}: {len(small)} URLs"
    lib.figure(pages, lib.best(cheapest), " s")
    if a.reference_only:
        return 0
    best = min(lib.best(own), lib.best(cheapest))
    read = lib.best(reads)
    lib.figure("one organization, sync --dry-run", read, " s")
    judge = lib.Verdicts()
    judge.at_most("one organization: read / cheaper replay", read / best, ORGANIZATION_LIMIT)
    return judge.exit_status()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--realm-file", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--reference-only", action="store_true")
    parser.add_argument("--organization", action="store_true")
    a = parser.parse_args()
    if a.organization:
        return with_organization(a)

    began = time.perf_counter()
    make_realm(a.port, a.realm_file)
    lib.figure("making the realm", time.perf_counter() - began, " s")

    # The groups `/unit-00` to `/unit-07` and what is below them: a tenth.
    every = configured(a.scratch, a.port, "every", "/unit-.*", TEMPLATE)
    tenth = configured(a.scratch, a.port, "tenth", "/unit-0[0-7](/.*)?", "")
    if a.reference_only:
        paths = plain_paths(a.port)
    else:
        # This run warms the server, and its debug log is the list of URLs.
        paths = logged_paths(dry_run(a.binary, every, debug=True).stderr)
        if len(paths) < 100:
            sys.exit(f"the debug log names {len(paths)} requests: has its field `path` gone?")
        dry_run(a.binary, tenth)
    replay(a.port, paths)

    replays, reads, tenths, size = [], [], [], 0
    for _ in range(a.rounds):
        run, size = replay(a.port, paths)
        replays.append(run)
        if not a.reference_only:
            reads.append(dry_run(a.binary, every))
            tenths.append(dry_run(a.binary, tenth))
    lib.figure(f"replaying {len(paths)} URLs, {size / 1e6:.1f} MB", lib.best(replays), " s")

    asked, sampled, users = sample_paths(a.port)
    samples = [replay(a.port, asked)[0] for _ in range(a.rounds)]
    by_user = lib.best(samples) * users / sampled
    lib.figure(f"user by user, extrapolated from {sampled}", by_user, " s")
    if a.reference_only:
        return 0

    read, few = lib.best(reads), lib.best(tenths)
    lib.figure("sync --dry-run, rules reach every group", read, " s")
    lib.figure("sync --dry-run, rules reach a tenth of the groups", few, " s")
    lib.figure("peak memory", max(item.mebibytes for item in reads), " MiB")
    judge = lib.Verdicts()
    judge.at_most("read / replay", read / lib.best(replays), REPLAY_LIMIT)
    judge.at_least("user by user / read", by_user / read, BY_USER_LIMIT)
    # Bounded by the list of users, which is read whole whatever the rules reach.
    lib.figure("a tenth of the groups / all of them", few / read, " ×")
    return judge.exit_status()


if __name__ == "__main__":
    sys.exit(main())
