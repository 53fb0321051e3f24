"""Talking to a Keycloak: one connection, tokens, making realms, and changing them."""

import http.client
import json
import sys
import time
import urllib.parse

ADMIN = {
    "grant_type": "password",
    "client_id": "admin-cli",
    "username": "admin",
    "password": "admin",
}

# So many people in the request that makes a realm, which may have 10 MB.
WITH_REALM = 20_000
# And so many in one that adds some: its time grows with their square.
AT_ONCE = 500


class Server:
    """One kept-alive connection with a bearer token."""

    def __init__(self, port, token=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1800)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body, {**self.headers, **(headers or {})})
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            sys.exit(f"{method} {path.split('?')[0]}: {answer.status} {content[:200]!r}")
        return content

    def drain(self, path):
        """Reads a whole answer without looking at it; returns its size."""
        self.connection.request("GET", path, headers=self.headers)
        answer = self.connection.getresponse()
        size = 0
        while piece := answer.read(1 << 16):
            size += len(piece)
        if answer.status != 200:
            raise RuntimeError(f"GET {path.split('?')[0]}: {answer.status}")
        return size


def token(port, realm, form):
    body = urllib.parse.urlencode(form)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    path = f"/realms/{realm}/protocol/openid-connect/token"
    return json.loads(Server(port).call("POST", path, body, headers))["access_token"]


def make_realm(port, file):
    """Makes the realm of a file. Of many people some come with it, the others later, and leave no events."""
    with open(file, encoding="utf-8") as text:
        realm = json.load(text)
    people, kept = realm["users"], realm.pop("adminEventsEnabled", False)
    # The reader goes with the realm's client.
    people, reader = people[:-1], people[-1]
    first, later = [*people[:WITH_REALM], reader], people[WITH_REALM:]
    call_as_admin(port, "POST", "/admin/realms", {**realm, "users": first})
    path = f"/admin/realms/{realm['realm']}"
    for start in range(0, len(later), AT_ONCE):
        some = {"ifResourceExists": "FAIL", "users": later[start : start + AT_ONCE]}
        call_as_admin(port, "POST", f"{path}/partialImport", some)
    if kept:
        call_as_admin(port, "PUT", path, {"adminEventsEnabled": True})


def call_as_admin(port, method, path, body):
    """With a token of its own: one lives for a minute."""
    server = Server(port, token(port, "master", ADMIN))
    server.call(method, path, json.dumps(body), {"Content-Type": "application/json"})


class Admin:
    """The administrator of a server, who signs in again before a token's minute is over."""

    LIFE = 40

    def __init__(self, port, realm):
        self.port = port
        self.base = f"/admin/realms/{realm}"
        self.server, self.until = None, 0

    def call(self, method, path, body=None):
        """Calls a path of the realm; its answer from JSON."""
        if time.monotonic() > self.until:
            self.server = Server(self.port, token(self.port, "master", ADMIN))
            self.until = time.monotonic() + self.LIFE
        content = self.server.call(
            method,
            self.base + path,
            None if body is None else json.dumps(body),
            {"Content-Type": "application/json"},
        )
        return json.loads(content) if content else None
