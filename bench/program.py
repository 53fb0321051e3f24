"""The real program as a daemon, and a gateway's questions to it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

# The longest that anything is waited for, in seconds; a first run of a big company is.
PATIENCE = 600

# Of the program's metrics: how often a source was read in full.
READ = 'idpsyncd_source_reads_total{source="bench",result="complete"}'

CONFIG = """\
[store]
path = "{store}"

[schedule]
cron = "0 0 0 1 1 *"

[sync]
on_missing = {{ after = "0s" }}

[guard]
max_lost_percent = 100
max_disabled_percent = 100

[gateway]
identity = "header"
preset = "osmo"
http = "127.0.0.1:{http}"
{more}
{source}"""


# What the groups of a company of gen_ldif.py give, by the source that has it.
TEAMS = """\
[[role_template]]
name = 'bench-(?<team>[0-9]+)'
sync_mode = "force"
[[role_template.policies]]
actions = ["workflow:*", "pool:List"]
resources = ["pool/bench-${{team}}-*"]

[[mapping]]
source = "{source}"
group_regex = 'cn=team-(?<team>[0-9]{{2}}){rules},{groups}'
roles = ["bench-${{team}}"]

"""

# Such a company in a file.
COMPANY = """\
[[source]]
name = "bench-file"
kind = "file"
ldif = "{ldif}"
users = {{ base = "{people}", filter = "{person_filter}", username = "uid", email = "mail" }}
groups = {{ base = "{groups}", filter = "{group_filter}", name = "cn" }}

"""
COMPANY += TEAMS.replace("{source}", "bench-file")

# What is asked of them.
CATALOG = """\
[[catalog]]
actions = ["workflow:Create", "workflow:Read", "workflow:Cancel"]
resources = ["pool/bench-00-a", "pool/bench-07-a", "pool/bench-13-a", "pool/bench-19-a"]

[[catalog]]
actions = ["pool:List"]
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for(what, condition, log=None):
    """Until the condition holds; ends this program after PATIENCE, with the end of the log."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            tail = ""
            if log:
                with open(log, encoding="utf-8", errors="replace") as file:
                    tail = "".join(file.readlines()[-20:])
            sys.exit(f"waited in vain: {what}\n{tail}")
        time.sleep(0.05)


class Gateway:
    """Asks as a gateway does, on one connection. `header` says who."""

    def __init__(self, port, header="x-osmo-user"):
        self.header = header
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def status(self, path, user=None):
        who = f"{self.header}: {user}\r\n" if user else ""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nhost: bench\r\n{who}\r\n".encode())
        status = int(self.file.readline().split()[1])
        size = 0
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        self.file.read(size)
        return status

    def allows(self, user):
        """Whether `user` may do what the role `bench` allows."""
        return self.status("/authz/api/profile/settings", user) == 200


class Program:
    """The program with a source and a store of its own."""

    def __init__(self, binary, scratch, source, env, more=""):
        self.binary, self.env, self.http = binary, env, free_port()
        self.config = os.path.join(scratch, "bench.toml")
        self.log = os.path.join(scratch, "bench.log")
        self.daemon = None
        text = CONFIG.format(
            store=os.path.join(scratch, "bench.db"), http=self.http, more=more, source=source
        )
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)

    def sync(self):
        """The command of a full run."""
        return [self.binary, "sync", "--config", self.config]

    def start(self):
        """Starts `run`, and waits until its first full run is over and the source is followed; the
        gateway."""
        with open(self.log, "wb") as log:
            self.daemon = subprocess.Popen(
                [self.binary, "run", "--config", self.config],
                env={**os.environ, **self.env},
                stderr=log,
            )
        wait_for("the gateway's port", self._listens, self.log)
        wait_for("the first full run", self._has_read, self.log)
        wait_for("the feed", self._follows, self.log)
        return Gateway(self.http)

    def stop(self):
        if self.daemon:
            self.daemon.terminate()
            self.daemon.wait()

    def _runs(self):
        if self.daemon.poll() is not None:
            sys.exit(f"the program ended with {self.daemon.returncode}: see {self.log}")

    def _listens(self):
        self._runs()
        try:
            socket.create_connection(("127.0.0.1", self.http)).close()
            return True
        except OSError:
            return False

    def _has_read(self):
        self._runs()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics") as metrics:
            lines = metrics.read().decode().splitlines()
        return any(line.startswith(READ) and not line.endswith(" 0") for line in lines)

    def _follows(self):
        self._runs()
        done = subprocess.run(
            [self.binary, "status", "--output", "json", "--config", self.config],
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            return False
        return json.loads(done.stdout)["sources"][0]["following"] in ("persist", "poll")
