"""What the comparing halves of the benches share: running, timing, judging."""

import os
import subprocess
import sys
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


def best(runs):
    """The fastest of several runs: what else goes on on a machine only ever adds."""
    return min(item.seconds for item in runs)


def least_cpu(runs):
    """The least processor time of several runs: it says more than the clock on a busy machine."""
    return min(item.cpu for item in runs)


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
