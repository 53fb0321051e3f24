#!/usr/bin/env python3
"""The measuring half of bench/change_cost.sh: full runs, then changes one by one, all through a proxy that
counts."""

import argparse
import sys
import time

import followed
import lib
import program

# Of a full run's, in percent.
LIMIT = 1
# Of gen_ldif's groups: an ordinary one.
GROUP = 20
# How long it is looked at while nothing changes, in seconds.
PEACE = 20
# How often the gateway is asked whether a change counts, in seconds.
EVERY = 0.05
# The longest that a denial is waited for, in seconds.
PATIENCE = 120
# So long a feed may have something left to do after a change, in seconds.
SETTLES = 1


class Cost:
    """What something costs: processor seconds of the program and of the server, bytes that the server sent,
    HTTP requests that it was sent."""

    def __init__(self, cpu, server_cpu, received, requests):
        self.cpu, self.server_cpu = cpu, server_cpu
        self.received, self.requests = received, requests

    def __sub__(self, other):
        return Cost(
            self.cpu - other.cpu,
            self.server_cpu - other.server_cpu,
            self.received - other.received,
            self.requests - other.requests,
        )

    def __truediv__(self, number):
        return Cost(
            self.cpu / number,
            self.server_cpu / number,
            self.received / number,
            self.requests / number,
        )

    def __mul__(self, number):
        return self / (1 / number)

    def show(self, what):
        lib.figure(f"{what}: CPU", self.cpu * 1000, " ms")
        lib.figure(f"{what}: from the server", self.received / 1000, " kB")
        if self.requests:
            lib.figure(f"{what}: requests", self.requests, "")
        lib.figure(f"{what}: the server's CPU", self.server_cpu * 1000, " ms")


class Meter:
    """Reads off what the program and the server have cost so far."""

    def __init__(self, a, proxy):
        self.server_pid, self.proxy, self.program_pid = a.server_pid, proxy, None

    def read(self):
        program_cpu = lib.cpu_seconds(self.program_pid) if self.program_pid else 0
        server_cpu = lib.cpu_seconds(self.server_pid)
        return Cost(program_cpu, server_cpu, self.proxy.received, self.proxy.requests)

    def full_run(self, running, log):
        before = self.read()
        run = lib.run(running.sync(), running.env, log)
        cost = self.read() - before
        cost.cpu = run.cpu
        return cost


def until_denied(gateway, change):
    if not gateway.allows(change.user):
        sys.exit(f"{change.user} is denied before anything changed")
    change.apply()
    deadline = time.monotonic() + PATIENCE
    while gateway.allows(change.user):
        if time.monotonic() > deadline:
            sys.exit(f"{change.user} is still allowed")
        time.sleep(EVERY)


def ask_for(seconds, gateway, user):
    ended = time.monotonic() + seconds
    while time.monotonic() < ended:
        gateway.allows(user)
        time.sleep(EVERY)


def a_second_of_peace(meter, gateway, user):
    """What a second costs in which nothing changes, and the gateway is asked as it is when it does."""
    before, began = meter.read(), time.monotonic()
    ask_for(PEACE, gateway, user)
    return (meter.read() - before) / (time.monotonic() - began)


def one_of(meter, gateway, changes, peace):
    """What one of these changes costs, beside what the time costs anyhow."""
    before, began = meter.read(), time.monotonic()
    for change in changes:
        until_denied(gateway, change)
    ask_for(SETTLES, gateway, changes[0].user)
    cost = meter.read() - before
    return (cost - peace * (time.monotonic() - began)) / len(changes)


def main():
    parser = argparse.ArgumentParser(description="What one change costs beside a full run.")
    followed.arguments(parser)
    parser.add_argument("--server-pid", type=int, required=True)
    parser.add_argument("--changes", type=followed.positive, required=True)
    parser.add_argument("--huge-changes", type=followed.positive, required=True)
    a = parser.parse_args()

    server = followed.server(a, GROUP)
    kinds = server.prepare(a.changes)
    proxy = lib.Proxy(server.host, server.port)
    source = server.source("127.0.0.1", proxy.port)
    running = program.Program(a.binary, a.scratch, source, server.env)
    meter = Meter(a, proxy)
    first = meter.full_run(running, f"{a.scratch}/first.log")
    full = meter.full_run(running, f"{a.scratch}/full.log")
    costs = {}
    try:
        gateway = running.start()
        meter.program_pid = running.daemon.pid
        someone = next(iter(kinds.values()))[0].user
        # What was changed just before following began is read again.
        ask_for(server.quiet, gateway, someone)
        peace = a_second_of_peace(meter, gateway, someone)
        for kind, changes in kinds.items():
            costs[kind] = one_of(meter, gateway, changes, peace)
        huge = None
        if server.huge:
            huge = one_of(meter, gateway, server.prepare_huge(a.huge_changes), peace)
    finally:
        running.stop()

    first.show("a first full run")
    full.show("a full run, nothing changed")
    (peace * 60).show("a minute of following, asked 20 times a second")
    verdicts = lib.Verdicts()
    for kind, cost in costs.items():
        cost.show(kind)
        verdicts.at_most(f"{kind}: CPU, of a full run's", 100 * cost.cpu / full.cpu, LIMIT, " %")
        of_bytes = 100 * cost.received / full.received
        verdicts.at_most(f"{kind}: bytes, of a full run's", of_bytes, LIMIT, " %")
    if huge:
        # No limit: the server says the whole list, or is asked for it.
        huge.show(f"member removed from a group of {server.huge}")
    return verdicts.exit_status()


if __name__ == "__main__":
    sys.exit(main())
