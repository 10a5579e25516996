"""Processes on chosen cores, what they cost, and how busy the machine was meanwhile.

`/proc/[pid]/stat` and `/proc/stat` are described in proc(5); pressure in the kernel's
Documentation/accounting/psi.rst.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.tcp_ports import PortAllocator

TICK = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
# The proxy that is measured has one core; the origins and the load generator have the others.
PROXY_CORE, OTHER_CORES = {CORES[0]}, set(CORES[1:]) or {CORES[0]}


PORTS = PortAllocator()
"""The claims on its ports end with this process."""


@contextmanager
def process(
    command: list[str],
    cores: set[int],
    folder: Path | None = None,
    output: Path | None = None,
    path: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process on these cores; nothing of it is left when the block ends.

    Args:
        command: what to run.
        cores: where.
        folder: its working directory.
        output: the file that gets what it prints; None throws that away.
        path: where its Python looks for modules first.
    """
    environment = os.environ | ({"PYTHONPATH": str(path)} if path is not None else {})
    with contextlib.ExitStack() as stack:
        out = subprocess.DEVNULL if output is None else stack.enter_context(output.open("wb"))
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - no threads here
            start_new_session=True,
        )
        try:
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def free_port() -> int:
    """A port that nobody listens on, and that no outgoing connection can get before it is used."""
    return PORTS.take()


def wait_port(
    port: int, path: str = "/", of: subprocess.Popen[bytes] | None = None, seconds: float = 120
) -> None:
    """Wait until whoever listens there answers with 200.

    Args:
        port: on the loopback address.
        path: what is asked for.
        of: the process that should answer, if the caller has it; its end ends the wait.
        seconds: how long. A server of Python needs some 0.5 s of processor time until it answers;
            beside much else that is a long time.

    Raises:
        SystemExit: nobody does in that time, or the process has ended.
    """
    before = moment()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as at:
            at.sendall(f"GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".encode())
            if at.recv(100).startswith(b"HTTP/1.1 200"):
                return
        if of is not None and of.poll() is not None:
            raise SystemExit(
                f"{of.args!r} ended with status {of.returncode} before it answered on port {port}"
            )
        time.sleep(0.05)
    raise SystemExit(
        f"nothing answers on port {port} after {seconds:.0f} s: {how_busy(before, 0.0)}"
    )


def pids(root: int) -> list[int]:
    """A process and its children (nginx has a worker)."""
    found = [root]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def tasks(root: int) -> Iterator[int]:
    """Every thread of a process and its children."""
    for pid in pids(root):
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield int(task.name)


def pin(root: int, cores: set[int]) -> None:
    """Move a process that runs, its threads and children, to these cores."""
    for task in tasks(root):
        with contextlib.suppress(ProcessLookupError):  # a thread of its start that has ended
            os.sched_setaffinity(task, cores)


def cpu_seconds(root: int) -> float:
    """Processor time, user and system, of a process and its children."""
    total = 0
    for pid in pids(root):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory(root: int, key: str = "VmRSS") -> int:
    """In bytes, summed over the process and its children."""
    total = 0
    for pid in pids(root):
        match = re.search(
            rf"^{key}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
        )
        total += int(match[1]) * 1024 if match else 0
    return total


@dataclass(frozen=True, slots=True)
class Moment:
    """What the kernel had counted at one moment, in seconds since the machine started.

    Attributes:
        used: processor time of all processes.
        total: the same, with the time in which the processors had nothing to do.
        ours: processor time of this process and the children that it waited for.
        waited: the time in which some process waited for a processor; NaN where the kernel does
            not say.
        clock: the monotonic clock.
    """

    used: float
    total: float
    ours: float
    waited: float
    clock: float


def moment() -> Moment:
    """Look at the counters now."""
    fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    file = Path("/proc/pressure/cpu")
    found = re.search(r"some .*total=(\d+)", file.read_text()) if file.exists() else None
    times = os.times()
    return Moment(
        (sum(fields) - fields[3] - fields[4]) / TICK,
        sum(fields) / TICK,
        times.user + times.system + times.children_user + times.children_system,
        int(found[1]) / 1e6 if found else float("nan"),
        time.monotonic(),
    )


def how_busy(before: Moment, proxies_and_origins: float) -> str:
    """Say how busy the machine was since `before`, and how much of that was somebody else's.

    Args:
        before: the beginning.
        proxies_and_origins: processor time of our processes that still run, in seconds.
    """
    now = moment()
    total = now.total - before.total
    used = now.used - before.used
    foreign = max(0.0, used - (now.ours - before.ours) - proxies_and_origins)
    waited = (now.waited - before.waited) / (now.clock - before.clock)
    return (
        f"{len(CORES)} cores, {used / total:.0%} busy meanwhile, {foreign / total:.0%} of them "
        f"with work of others; somebody waited for a processor in {waited:.0%} of the time; "
        f"load average {os.getloadavg()[0]:.1f}"
    )
