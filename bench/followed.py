"""Real servers that the program follows: how each is configured as its source, and what can be changed there so
that somebody is denied.

Each person who is changed has the role `bench` in one way alone, so that one change takes it."""

import argparse
import itertools
import sys

import gen_ldif
import gen_realm
import ldap_client
from keycloak_admin import Admin

SOURCE = "bench"


class Change:
    """Something to be done at the server; `user` is denied from then on. Called once."""

    def __init__(self, user, apply):
        self.user = user
        self.apply = apply


def positive(text):
    """A number of changes, from an argument."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one change is wanted")
    return number


def so_many(people, count, what):
    """The next `count` of these people; ends this program where there are fewer."""
    found = list(itertools.islice(people, count))
    if len(found) < count:
        sys.exit(
            f"too many changes for a company of this size: {count} people are wanted who are {what}, "
            f"{len(found)} are left"
        )
    return found


class Ldap:
    """An LDAP server that holds what gen_ldif.py writes. Who is changed is in the group of that number."""

    shape = gen_ldif.Plain()
    bind_dn, password = gen_ldif.SERVICE, gen_ldif.PASSWORD
    admin_dn, admin_password = f"cn=admin,{gen_ldif.SUFFIX}", "bench-root"
    url, port, more = "ldap", 389, ""
    users = '"(objectClass=inetOrgPerson)", username = "uid"'
    groups = "(objectClass=groupOfNames)"
    # The longest time between a change and the server's being asked, in seconds, where it is polled.
    polled = 0.0
    # So long after its beginning a feed has nothing left to do, in seconds.
    quiet = 10

    def __init__(self, a, group):
        self.host, self.port = a.host, a.port or self.port
        self.ca_file = a.ca_file
        self.group = gen_ldif.group_name(group)
        size = gen_ldif.sizes(a.users, a.groups, a.memberships)[group]
        self.members = list(gen_ldif.members(group, size, a.users))
        self.huge = a.huge
        self.env = {"BENCH_PASSWORD": self.password}

    def source(self, host, port):
        """The source's configuration, asked at that address, and the rules."""
        ca_file = f'ca_file = "{self.ca_file}"\n' if self.ca_file else ""
        names = [self.group] + [gen_ldif.HUGE] * bool(self.huge)
        return f"""
[[source]]
name = "{SOURCE}"
kind = "ldap"
url = "{self.url}://{host}:{port}"
{ca_file}bind_dn = "{self.bind_dn}"
bind_password = {{ env = "BENCH_PASSWORD" }}
flavor = "{self.flavor}"
users = {{ base = "{self.shape.people}", filter = {self.users}, email = "mail" }}
groups = {{ base = "{self.shape.groups}", filter = "{self.groups}", name = "cn" }}

[roles.bench]
external_roles = {names!r}
[[roles.bench.policies]]
actions = ["profile:Read"]
resources = ["*"]

# Sixty groups of 2,000 give a role.
[[role_template]]
name = 'bench-(?<team>[0-9]+)'
[[role_template.policies]]
actions = ["workflow:*", "pool:List"]
resources = ["pool/bench-${{team}}-*"]

[[mapping]]
source = "{SOURCE}"
group_regex = '(?i)cn=team-(?<team>[0-9]{{2}})(00|50|99),{self.shape.groups}'
roles = ["bench-${{team}}"]
"""

    def connect(self):
        return ldap_client.Connection(
            self.host, self.port, self.admin_dn, self.admin_password, self.ca_file
        )

    def removal(self, connection, group, person):
        group, person_dn = self.shape.group_dn(group), self.shape.person_dn(person)
        return lambda: connection.modify(group, ldap_client.DELETE, "member", person_dn)

    def disabling(self, connection, person):
        """Sets the attribute `disabled`, as this kind of server disables an account."""
        (attribute, value), dn = self.disabled, self.shape.person_dn(person)
        return lambda: connection.modify(dn, ldap_client.REPLACE, attribute, value)

    def deletion(self, connection, person):
        return lambda: connection.delete(self.shape.person_dn(person))

    def prepare(self, count):
        """So many changes of each kind, each of somebody else."""
        connection = self.connect()
        people = (person for person in self.members if person >= self.huge)
        where = f"in the group `{self.group}`" + " and not in the huge one" * bool(self.huge)
        kinds = {
            "member removed": lambda who: self.removal(connection, self.group, who),
            "account disabled": lambda who: self.disabling(connection, who),
            "user deleted": lambda who: self.deletion(connection, who),
        }
        return {
            kind: [Change(gen_ldif.uid(who), make(who)) for who in so_many(people, count, where)]
            for kind, make in kinds.items()
        }

    def prepare_huge(self, count):
        """So many removals from the huge group, of people who are not in the other one."""
        connection = self.connect()
        others = set(self.members)
        people = (person for person in range(self.huge) if person not in others)
        return [
            Change(gen_ldif.uid(who), self.removal(connection, gen_ldif.HUGE, who))
            for who in so_many(people, count, f"in the huge group and not in `{self.group}`")
        ]


class OpenLdap(Ldap):
    flavor = "openldap"
    p99_limit = 300
    # By an administrator, for good.
    disabled = ("pwdAccountLockedTime", "000001010000Z")


class Ds389(Ldap):
    flavor = "389ds"
    p99_limit = 1000
    admin_dn = "cn=Directory Manager"
    disabled = ("nsAccountLock", "TRUE")


class ActiveDirectory(Ldap):
    flavor = "active-directory"
    p99_limit = 2000
    shape = gen_ldif.ActiveDirectory()
    bind_dn = admin_dn = f"CN=Administrator,CN=Users,{gen_ldif.AD_SUFFIX}"
    password = admin_password = "Admin-4711-secret"
    url, port = "ldaps", 636
    users = '"(&(objectCategory=person)(objectClass=user))", username = "sAMAccountName"'
    groups = "(objectClass=group)"
    disabled = ("userAccountControl", "514")
    polled = 0.5


class Keycloak:
    """A realm that gen_realm.py writes, made by now. Who is changed holds the realm role `fresh`, or is in the
    group `fresh-team`."""

    p99_limit = 2000
    polled = 1.0
    # Events of a minute ago may still come late, and are asked for as long.
    quiet = 90
    ROLE, TEAM = "fresh", "fresh-team"

    def __init__(self, a, _group):
        self.host, self.port, self.people, self.huge = a.host, a.port, a.users, 0
        self.env = {"BENCH_SECRET": gen_realm.SECRET}
        self.admin = Admin(a.port, gen_realm.REALM)

    def source(self, host, port):
        """The source's configuration, asked at that address, and the rules."""
        return f"""
[[source]]
name = "{SOURCE}"
kind = "keycloak"
url = "http://{host}:{port}"
realm = "{gen_realm.REALM}"
client_id = "{gen_realm.CLIENT}"
client_secret = {{ env = "BENCH_SECRET" }}
clients = []
timeout = "5m"
read_timeout = "30m"

[roles.bench]
external_roles = ["{self.ROLE}"]
[[roles.bench.policies]]
actions = ["profile:Read"]
resources = ["*"]

[[mapping]]
source = "{SOURCE}"
group_regex = '/{self.TEAM}'
roles = ["bench"]

# A tenth of the groups give a role.
[roles.others]
external_roles = []
[[roles.others.policies]]
actions = ["workflow:*"]
resources = ["pool/bench-*"]

[[mapping]]
source = "{SOURCE}"
group_regex = '/unit-[0-9]*0(/.*)?'
roles = ["others"]
"""

    def prepare(self, count):
        """So many changes of each kind, each of somebody else, who gets what is to be taken."""
        call = self.admin.call
        call("POST", "/roles", {"name": self.ROLE})
        call("POST", "/groups", {"name": self.TEAM})
        role = call("GET", f"/roles/{self.ROLE}")
        (team,) = call("GET", f"/groups?search={self.TEAM}")
        listed = call("GET", "/users?briefRepresentation=true&max=-1")
        ids = {user["username"]: user["id"] for user in listed}
        people = (gen_realm.username(n) for n in range(self.people) if gen_realm.enabled(n))

        def change(kind, username):
            path = f"/users/{ids[username]}"
            roles, member = f"{path}/role-mappings/realm", f"{path}/groups/{team['id']}"
            if kind == "group left":
                call("PUT", member)
            else:
                call("POST", roles, [role])
            request = {
                "role unassigned": ("DELETE", roles, [role]),
                "group left": ("DELETE", member),
                "user disabled": ("PUT", path, {"enabled": False}),
                "user deleted": ("DELETE", path),
            }[kind]
            return Change(username, lambda: call(*request))

        kinds = ["role unassigned", "group left", "user disabled", "user deleted"]
        return {
            kind: [change(kind, who) for who in so_many(people, count, "enabled")]
            for kind in kinds
        }


SERVERS = {"openldap": OpenLdap, "389ds": Ds389, "ad": ActiveDirectory, "keycloak": Keycloak}


def arguments(parser):
    """Adds what each server is told by (bench/servers.sh started it, and gen_ldif.py or gen_realm.py filled it
    with so much), and what follows it: the program, in a folder."""
    parser.add_argument("--server", choices=sorted(SERVERS), required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--ca-file")
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--groups", type=int, required=True)
    parser.add_argument("--memberships", type=int, required=True)
    parser.add_argument("--huge", type=int, default=0)
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--binary", required=True)


def server(a, group):
    """The server of these arguments."""
    return SERVERS[a.server](a, group)
