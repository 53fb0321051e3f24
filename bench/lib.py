"""What the comparing halves of the benches share: running, timing, judging."""

import os
import socket
import subprocess
import sys
import threading
import time


class Run:
    """One run of a command: wall-clock seconds, peak resident MiB, what it wrote to stderr, its
    processor seconds."""

    def __init__(self, seconds, mebibytes, stderr, cpu=0.0):
        self.seconds = seconds
        self.mebibytes = mebibytes
        self.stderr = stderr
        self.cpu = cpu


def run(command, env=None, stderr_to=None):
    """Runs a command to its end, its output thrown away. Ends this program if it fails."""
    log = open(stderr_to, "wb") if stderr_to else subprocess.DEVNULL
    began = time.perf_counter()
    child = subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
    )
    # wait4 tells the peak of this one child, where getrusage would tell that of all.
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    text = ""
    if stderr_to:
        log.close()
        with open(stderr_to, encoding="utf-8", errors="replace") as file:
            text = file.read()
    if child.returncode != 0:
        tail = "\n".join(text.splitlines()[-20:])
        sys.exit(f"`{' '.join(command)}` ended with {child.returncode}\n{tail}")
    return Run(seconds, usage.ru_maxrss / 1024, text, usage.ru_utime + usage.ru_stime)


def psql(port, sql):
    """What the server at this port of the loopback finds in the database `idpsyncd`."""
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]
    command += ["-p", str(port), "-U", "postgres", "-d", "idpsyncd", "-c", sql]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def end_all(processes):
    """Ends processes, all at once, and waits for them."""
    processes = list(processes)
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def best(runs):
    """The fastest of several runs: what else goes on on a machine only ever adds."""
    return min(item.seconds for item in runs)


def least_cpu(runs):
    """The least processor time of several runs: it says more than the clock on a busy machine."""
    return min(item.cpu for item in runs)


def percentile(values, part):
    """The value that `part` of them (0.99) do not exceed, or the next larger one."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def cpu_seconds(pid):
    """The processor time so far of a process and of those that it started and that run still, of all
    of their threads, those that have ended among them. Not from `/proc/PID/stat`, whose hundredths are
    more than a small change costs."""
    # The clock of another process, as clock_getcpuclockid(3) names it.
    own = time.clock_gettime(~pid << 3 | 2)
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
        return own + sum(cpu_seconds(int(child)) for child in file.read().split())


def tree_cpu_seconds(pid):
    """As cpu_seconds, and of those that it started and that have ended: of a server that has a process for
    each connection, all that it has worked so far."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    own = sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
        children = file.read().split()
    for child in children:
        try:
            own += tree_cpu_seconds(child)
        except (FileNotFoundError, ProcessLookupError):
            # It has ended in between: the next look finds it among its parent's.
            pass
    return own


class Proxy:
    """Passes connections on to a server, and counts the bytes that come from it and the HTTP requests that
    go to it."""

    PIECE = 1 << 18

    def __init__(self, host, port):
        self.server = (host, port)
        self.received = self.requests = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(self.server)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for ends in ((client, server, self._asked), (server, client, self._answered)):
                threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _asked(self, piece):
        # A request's head is sent in one piece.
        self.requests += piece.count(b" HTTP/1.1\r\n")

    def _answered(self, piece):
        self.received += len(piece)

    def _pass(self, from_, to, count):
        try:
            while piece := from_.recv(self.PIECE):
                with self.lock:
                    count(piece)
                to.sendall(piece)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            # One end is gone: so is the other.
            for end in (from_, to):
                end.close()


class Verdicts:
    """Prints each figure beside its limit, and remembers whether all were met."""

    def __init__(self):
        self.failed = 0

    def at_most(self, what, value, limit, unit=""):
        self._judge(what, value, limit, value <= limit, "at most", unit)

    def at_least(self, what, value, limit, unit=""):
        self._judge(what, value, limit, value >= limit, "at least", unit)

    def _judge(self, what, value, limit, met, word, unit):
        self.failed += not met
        verdict = "PASS" if met else "FAIL"
        print(f"{verdict}  {what:<52} {value:8.2f}{unit}   ({word} {limit:g}{unit})", flush=True)

    def exit_status(self):
        return 1 if self.failed else 0


def figure(what, value, unit):
    print(f"      {what:<52} {value:8.2f}{unit}", flush=True)
