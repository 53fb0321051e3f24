"""Asks a decision point with `decern`: `client.py URL TOKEN`."""

import sys

from decern import Client
from decern.client import DecernError

url, token = sys.argv[1:]
pdp = Client(url, token=token)
alice, bob = {"type": "user", "id": "alice"}, {"type": "user", "id": "bob"}
record = {"type": "record", "id": "record-1"}
archived = {"type": "record", "id": "record-2", "properties": {"status": "archived"}}


def soft(value):
    return {"name": "delete", "properties": {"soft": value}}


table = [
    (alice, "read", record, True),
    (alice, "write", record, True),
    (bob, "read", record, True),
    (bob, "write", record, False),
    (alice, "write", archived, False),
    (bob, "write", archived, True),
    (alice, soft(True), record, True),
    (alice, soft(False), record, False),
]
for subject, action, resource, expected in table:
    decision = pdp.evaluate(subject, action, resource, {"ip": "192.0.2.1"})
    assert decision.allowed is expected, (subject, action, resource, decision)
    assert (decision.context is None) is expected, decision
print(f"asked {len(table)} times")

assert pdp.healthy()
for broken, status in [
    (lambda: Client(url, token="wrong").evaluate(alice, "read", record), 401),
    (lambda: Client(url).evaluate(alice, "read", record), 401),
    (lambda: pdp.evaluate({"id": "alice"}, "read", record), 400),
]:
    try:
        broken()
    except DecernError as error:
        assert error.status_code == status, error
        assert error.body.startswith('"'), error.body
    else:
        raise AssertionError("no error")
