"""Load on one proxy, by wrk as fast as it goes, or by hey at a fixed rate, and what it cost.

wrk: https://github.com/wg/wrk (Debian package wrk); hey: https://github.com/rakyll/hey (Debian
package hey).
"""

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import OTHER_CORES, cpu_seconds

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs: its name in the tables, where it listens, and its first process."""

    name: str
    port: int
    pid: int


@dataclass(frozen=True)
class Case:
    """One kind of traffic."""

    name: str
    path: str
    connections: int
    post: bool = False


GET = Case("GET", "/", 32)
POST = Case("POST 1 KiB", "/", 32, post=True)


@dataclass
class Result:
    """What one proxy did in one case."""

    proxy: str
    case: str
    connections: int
    requests: int
    errors: int
    requests_per_second: float
    cpu_us_per_request: float
    p50_ms: float
    p99_ms: float
    megabytes_per_second: float


_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def _milliseconds(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s)", text)
    return float(match[1]) * _UNITS[match[2]] if match else float("nan")


def measure(proxy: Proxy, case: Case, seconds: int, directory: Path) -> Result:
    """Load one proxy with one kind of traffic, from a process on the other cores.

    Args:
        proxy: which.
        case: with what.
        seconds: for how long.
        directory: gets the script of wrk.
    """
    script = directory / "post.lua"
    script.write_text('wrk.method = "POST"\nwrk.body = string.rep("x", 1024)\n')
    command = [
        "wrk", "-t1", f"-c{case.connections}", f"-d{seconds}s", "--latency",
        *(["-s", str(script)] if case.post else []), f"http://127.0.0.1:{proxy.port}{case.path}",
    ]  # fmt: skip
    before, started = cpu_seconds(proxy.pid), time.monotonic()
    text = _run(command)
    spent, elapsed = cpu_seconds(proxy.pid) - before, time.monotonic() - started
    found = re.search(r"(\d+) requests in", text)
    requests = int(found[1]) if found else 0
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text)))
    errors += sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    percentile = dict(re.findall(r"^\s+(50|99)%\s+(\S+)\s*$", text, re.MULTILINE))
    size = int(case.path[1:]) if case.path[1:].isdigit() else 15
    return Result(
        proxy.name, case.name, case.connections, requests, errors,
        requests / elapsed, spent / max(1, requests) * 1e6,
        _milliseconds(percentile.get("50", "")), _milliseconds(percentile.get("99", "")),
        requests * size / elapsed / MEGABYTE,
    )  # fmt: skip


def latency_at_rate(proxy: Proxy, rate: float, seconds: int) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds at a fixed rate (hey, 32 connections)."""
    text = _run([
        "hey", "-c", "32", "-q", f"{rate / 32:.0f}", "-z", f"{seconds}s", "-cpus", "1",
        f"http://127.0.0.1:{proxy.port}/",
    ])  # fmt: skip
    found = dict(re.findall(r"^\s+(50|99)%+ in ([\d.]+) secs", text, re.MULTILINE))
    return float(found.get("50", "nan")) * 1e3, float(found.get("99", "nan")) * 1e3


def _run(command: list[str]) -> str:
    return subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, OTHER_CORES),
    ).stdout
