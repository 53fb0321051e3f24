#!/usr/bin/env python3
"""The measuring half of bench/followers.sh."""

import argparse
import os
import subprocess
import sys
import time

import lib
from ldap_compare import GROUP_FILTER, GROUPS, PEOPLE, PERSON_FILTER, RULES
from program import COMPANY, Gateway, free_port, wait_for

# From a commit until the slowest of all followers denies, in seconds.
DENIED = 1.0
# What one person's change brings to each follower.
BYTES = 2048

# How long followers are watched at rest, in seconds; the database tells of its work after ten seconds at most.
REST = 30
SETTLED = 12

# How long everybody is left alone between two rounds of questions, in seconds: by so much a figure may be too high.
ROUND = 0.02

CONFIG = """\
[store]
postgres = "postgresql://idpsyncd@127.0.0.1:{port}/idpsyncd"
schema = "{schema}"

[gateway]
identity = "header"
preset = "osmo"
http = "127.0.0.1:{http}"

"""
CONFIG += COMPANY
CONFIG += """\
[roles.by-hand]
external_roles = []
[[roles.by-hand.policies]]
actions = ["profile:*"]
"""


class Database:
    """What the server says of itself."""

    def __init__(self, port, pid):
        self.port, self.pid = port, pid

    def ask(self, sql):
        return lib.psql(self.port, sql)

    def committed_at(self, schema):
        """When the newest generation was committed, in seconds since 1970."""
        newest = f"SELECT xmin FROM {schema}.generation ORDER BY num DESC LIMIT 1"
        return float(self.ask(f"SELECT extract(epoch FROM pg_xact_commit_timestamp(({newest})))"))

    def work(self):
        """Transactions, milliseconds of statements, and seconds of CPU so far."""
        time.sleep(SETTLED)
        sql = "SELECT xact_commit + xact_rollback, active_time FROM pg_stat_database WHERE datname = 'idpsyncd'"
        transactions, active = self.ask(sql).split("|")
        return int(transactions), float(active), lib.tree_cpu_seconds(self.pid), time.monotonic()

    def connections(self):
        return int(self.ask("SELECT count(*) FROM pg_stat_activity WHERE usename = 'idpsyncd'"))


def configured(a, name, port, schema):
    """A configuration with a gateway's port of its own; its path and that port."""
    http = free_port()
    path = os.path.join(a.scratch, f"{name}.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            CONFIG.format(
                port=port,
                schema=schema,
                http=http,
                ldif=os.path.join(a.scratch, "company.ldif"),
                people=PEOPLE,
                groups=GROUPS,
                person_filter=PERSON_FILTER,
                group_filter=GROUP_FILTER,
                rules=RULES["all"],
            )
        )
    return path, http


class Follower:
    """A `serve`, and a connection to it."""

    def __init__(self, a, name, port, schema):
        config, self.http = configured(a, name, port, schema)
        self.log = os.path.join(a.scratch, f"{name}.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([a.binary, "serve", "--config", config], stderr=log)
        self.gateway = None

    def connect(self):
        def connected():
            if self.process.poll() is not None:
                sys.exit(f"`serve` ended with {self.process.returncode}: see {self.log}")
            try:
                self.gateway = Gateway(self.http)
                return True
            except OSError:
                return False

        wait_for("a follower's port", connected, self.log)

    def allows(self, user):
        return self.gateway.allows(user)


def until(followers, user, allowed):
    """Asks all until each of them has said so; when each did, by the clock."""
    waiting, when = list(followers), []
    deadline = time.monotonic() + 120
    while waiting:
        if time.monotonic() > deadline:
            sys.exit(f"{len(waiting)} followers never came to {allowed} for {user}")
        still = []
        for follower in waiting:
            if follower.allows(user) == allowed:
                when.append(time.time())
            else:
                still.append(follower)
        waiting = still
        # The followers and the database have the machine between two rounds.
        time.sleep(ROUND)
    return when


def writes(a, name, schema):
    """A program that writes a store of its own in `schema`: it has read the company, and someone is there."""
    config, _ = configured(a, name, a.port, schema)
    log = os.path.join(a.scratch, f"{name}.log")

    def program(*words):
        return lib.run([a.binary, *words, "--config", config], None, log)

    program("sync")
    program("user", "add", "someone", "--reason", "bench")
    program("grant", "add", "someone", "by-hand", "--reason", "bench")
    return program


def many(a, database):
    """All followers deny soon after a commit; what they ask for meanwhile."""
    program = writes(a, "writer", "many")
    followers = [Follower(a, f"follower-{n}", a.port, "many") for n in range(a.followers)]
    slowest, every = [], []
    try:
        for follower in followers:
            follower.connect()
        until(followers, "someone", True)
        lib.figure("followers", len(followers), "")
        lib.figure("connections to the database, each follower", database.connections() / a.followers, "")
        before = database.work()
        time.sleep(REST)
        rest = tell(database, "at rest, each follower and second", before, a.followers)
        before = database.work()
        for _ in range(a.changes):
            program("user", "disable", "someone", "--reason", "bench")
            when = until(followers, "someone", False)
            committed = database.committed_at("many")
            every += [moment - committed for moment in when]
            slowest.append(max(when) - committed)
            program("user", "enable", "someone", "--reason", "bench")
            until(followers, "someone", True)
        after = database.work()
        transactions, active, cpu, clock = (x - y for x, y in zip(after, before))
        changes = 2 * a.changes * a.followers
        for what, value, idle, unit in (
            ("transactions", transactions, rest[0], ""),
            ("time of the database", active, rest[1], " ms"),
            ("CPU of the database", cpu * 1e3, rest[2], " ms"),
        ):
            # The writer's own part is in it: 1 of so many followers.
            lib.figure(f"one change, each follower: {what}", (value - idle * clock * a.followers) / changes, unit)
    finally:
        lib.end_all(follower.process for follower in followers)
    lib.figure("from the commit to a follower's deny, p50", lib.percentile(every, 0.5) * 1e3, " ms")
    lib.figure("the same, p99", lib.percentile(every, 0.99) * 1e3, " ms")
    judge = lib.Verdicts()
    judge.at_most("from the commit until all deny, worst", max(slowest), DENIED, " s")
    return judge.exit_status()


def tell(database, what, before, followers):
    """Prints what the database did since `before` for each follower and second; the three figures."""
    after = database.work()
    transactions, active, cpu, clock = (x - y for x, y in zip(after, before))
    each = clock * followers
    rates = (transactions / each, active / each, cpu * 1e3 / each)
    for name, rate, unit in zip(("transactions", "statements", "CPU"), rates, ("", " ms", " ms")):
        lib.figure(f"{what}: {name}", rate, unit)
    return rates


def one(a, database):
    """What a change brings to one follower of a big company."""
    program = writes(a, "writer", "big")
    proxy = lib.Proxy("127.0.0.1", a.port)
    follower = Follower(a, "counted", proxy.port, "big")
    try:
        follower.connect()
        until([follower], "someone", True)
        lib.figure("loading all of it", proxy.received / 2**20, " MiB")
        time.sleep(SETTLED)
        before, began = proxy.received, time.monotonic()
        time.sleep(REST)
        idle = (proxy.received - before) / (time.monotonic() - began)
        brought = []
        for change in range(2 * a.changes):
            allowed = change % 2 == 1
            before, began = proxy.received, time.monotonic()
            program("user", "enable" if allowed else "disable", "someone", "--reason", "bench")
            until([follower], "someone", allowed)
            # What comes behind the answer to a poll that was on its way.
            time.sleep(1)
            brought.append(proxy.received - before - idle * (time.monotonic() - began))
    finally:
        lib.end_all([follower.process])
    lib.figure("bytes to a follower at rest, a second", idle, "")
    lib.figure("bytes that the first change brings to a follower", brought[0], "")
    lib.figure("bytes that one change brings to a follower, median", lib.percentile(brought, 0.5), "")
    people = int(database.ask("SELECT count(*) FROM big.gateway_user"))
    judge = lib.Verdicts()
    judge.at_most(f"the same, worst, among {people} people", max(brought), BYTES, "")
    return judge.exit_status()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("many", "bytes"))
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", type=int, required=True)
    parser.add_argument("--followers", type=int, required=True)
    parser.add_argument("--changes", type=int, required=True)
    a = parser.parse_args()
    database = Database(a.port, a.server)
    return many(a, database) if a.part == "many" else one(a, database)


if __name__ == "__main__":
    sys.exit(main())
