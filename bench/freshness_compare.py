#!/usr/bin/env python3
"""The measuring half of bench/freshness.sh: changes at a server, and how long the gateway still
allows."""

import argparse
import random
import sys
import time

import followed
import lib
import program

# How often the gateway is asked, in seconds.
EVERY = 0.005
# The longest that a denial is waited for, in seconds.
PATIENCE = 60
# Of gen_ldif's groups: a fifth of everybody is in it.
GROUP = 0


def until_denied(gateway, change):
    """Applies a change; milliseconds from its acknowledgement to the first denial."""
    change.apply()
    acknowledged = time.perf_counter()
    while gateway.allows(change.user):
        if time.perf_counter() > acknowledged + PATIENCE:
            sys.exit(f"{change.user} is still allowed")
        time.sleep(EVERY)
    return (time.perf_counter() - acknowledged) * 1000


def main():
    parser = argparse.ArgumentParser(description="How soon a change at a server counts.")
    followed.arguments(parser)
    parser.add_argument("--changes", type=followed.positive, required=True)
    a = parser.parse_args()

    server = followed.server(a, GROUP)
    changes = server.prepare(a.changes)
    # At any moment of the server's being polled, and the same ones each time.
    pauses = random.Random(4711)
    took = {kind: [] for kind in changes}
    source = server.source(server.host, server.port)
    running = program.Program(a.binary, a.scratch, source, server.env)
    try:
        gateway = running.start()
        for number in range(a.changes):
            for kind, all_of_kind in changes.items():
                change = all_of_kind[number]
                if not gateway.allows(change.user):
                    sys.exit(f"{change.user} is denied before anything changed: {kind}")
                time.sleep(pauses.uniform(0, server.polled))
                took[kind].append(until_denied(gateway, change))
    finally:
        running.stop()
    verdicts = lib.Verdicts()
    for kind, times in took.items():
        lib.figure(f"{a.server}, {kind}: p50", lib.percentile(times, 0.5), " ms")
        verdicts.at_most(
            f"{a.server}, {kind}: p99", lib.percentile(times, 0.99), server.p99_limit, " ms"
        )
        lib.figure(f"{a.server}, {kind}: worst of {len(times)}", max(times), " ms")
    return verdicts.exit_status()


if __name__ == "__main__":
    sys.exit(main())
