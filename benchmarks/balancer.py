"""The balancer beside HAProxy, nginx and an aiohttp-based proxy, in one run on one machine.

Each proxy is pinned to one core; the origin and the load generator share the others. What counts
are the ratios within one run, and the processor time per request, which does not depend on whether
the load generator or the proxy was the bottleneck.

    python benchmarks/balancer.py [--seconds 3] [--quick] [--json FILE]
    python benchmarks/balancer.py --previous PATH [--rounds 9]

The second form compares this balancer, another build of it and HAProxy: all three run at once, each
is loaded in turn, in as many rounds, and the median of the processor time per request counts. It
also says for how long one hostile client holds up all others, and how busy the machine was.

Needs wrk and, for latency at a fixed rate, hey (Debian packages wrk, hey). Peers come from the
Debian packages haproxy and nginx-light; what is absent is left out by name.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve()
MEGABYTE = 1 << 20
GIGABYTE = 1 << 30
PART = b"x" * MEGABYTE
TICK = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, OTHER_CORES = {CORES[0]}, set(CORES[1:]) or {CORES[0]}


# The origin and the slow peer, run as subcommands of this file.


class Origin(asyncio.Protocol):
    """Answers 15 bytes, or as many as the path says; reads bodies by their length."""

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0  # of the request's body
        self._owed = 0  # of the response's
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = transport

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._paused = True

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._paused = False
        self._send()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._left:
            taken = min(self._left, len(data))
            self._left -= taken
            data = data[taken:]
            if not self._left:
                self._answer()
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0 and not self._left:
            head, self._buffer = self._buffer[:end].lower(), self._buffer[end + 4 :]
            path = head.split(b" ", 2)[1]
            self._size = int(path[1:]) if path[1:].isdigit() else 15
            length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0] or 0)
            self._left = max(0, length - len(self._buffer))
            self._buffer = self._buffer[length:]
            if not self._left:
                self._answer()

    def _answer(self) -> None:
        fields = b"Content-Type: text/plain\r\nContent-Length: %d\r\n" % self._size
        small = self._size if self._size <= MEGABYTE else 0
        self._transport.write(b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (fields, PART[:small]))
        self._owed = self._size - small
        self._send()

    def _send(self) -> None:
        while self._owed and not self._paused:
            part = PART[: self._owed]
            self._owed -= len(part)
            self._transport.write(part)


async def origin(port: int) -> None:
    """Serve `Origin` until it is killed."""
    server = await asyncio.get_running_loop().create_server(Origin, "127.0.0.1", port)
    await server.serve_forever()


async def aiohttp_proxy(port: int, upstream: str) -> None:
    """A reverse proxy as one writes it with aiohttp in an afternoon."""
    from aiohttp import ClientSession, ClientTimeout, TCPConnector, web  # noqa: PLC0415

    async with ClientSession(
        connector=TCPConnector(limit=0),
        timeout=ClientTimeout(total=None),
        auto_decompress=False,
    ) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            drop = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te"}
            fields = {k: v for k, v in request.headers.items() if k.lower() not in drop}
            fields["X-Forwarded-For"] = request.remote or ""
            body = request.content if request.can_read_body else None
            url = f"http://{upstream}{request.rel_url}"
            async with session.request(request.method, url, headers=fields, data=body) as got:
                kept = {k: v for k, v in got.headers.items() if k.lower() not in drop}
                response = web.StreamResponse(status=got.status, headers=kept)
                await response.prepare(request)
                async for part in got.content.iter_any():
                    await response.write(part)
                return response

        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await asyncio.Event().wait()


# Processes


@contextmanager
def process(
    command: list[str], cores: set[int], folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process on these cores; nothing of it is left when the block ends."""
    child = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
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
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_port(port: int, path: str = "/") -> None:
    """Wait until the proxy answers with 200."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".encode())
            if sock.recv(100).startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing answers on port {port}")


def pids(root: int) -> list[int]:
    """A process and its children (nginx has a worker)."""
    found = [root]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


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


@dataclass
class Proxy:
    """A proxy that runs."""

    name: str
    port: int
    pid: int


HAPROXY = """
global
    nbthread 1
    maxconn 9000
defaults
    mode http
    timeout connect 2s
    timeout client 75s
    timeout server 60s
    option forwardfor
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    server s 127.0.0.1:{origin} check inter 1s
"""
NGINX = """
daemon off; worker_processes 1; pid {directory}/pid; error_log /dev/null;
worker_rlimit_nofile 20000;
events {{ worker_connections 16000; }}
http {{
    access_log off; keepalive_requests 1000000000; client_max_body_size 0;
    client_body_temp_path {directory}/a; proxy_temp_path {directory}/b;
    fastcgi_temp_path {directory}/c; uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
    upstream o {{ server 127.0.0.1:{origin}; keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr; proxy_request_buffering off;
        }}
    }}
}}
"""


def peers(directory: Path, origin_port: int) -> dict[str, list[str] | None]:
    """The command of each proxy, by name; `{port}` is where it listens; None: it is absent."""
    ours = [
        sys.executable, "-m", "balancer", "--listen", "127.0.0.1:{port}",
        "--backend", f"127.0.0.1:{origin_port}", "--rise", "1",
    ]  # fmt: skip
    haproxy, nginx = shutil.which("haproxy"), shutil.which("nginx")
    return {
        "hitless": ours,
        "hitless + access log": [*ours, "--access-log", str(directory / "access.ndjson")],
        "haproxy": [haproxy, "-db", "-f", "{haproxy}"] if haproxy else None,
        "nginx": [nginx, "-e", "/dev/null", "-p", str(directory), "-c", "{nginx}"]
        if nginx
        else None,
        "aiohttp": [sys.executable, str(HERE), "aiohttp", "{port}", f"127.0.0.1:{origin_port}"],
    }


@contextmanager
def running(name: str, command: list[str], directory: Path, origin_port: int) -> Iterator[Proxy]:
    """Run a proxy in front of the origin."""
    port = free_port()
    facts = {"port": port, "origin": origin_port, "directory": directory}
    for kind, text in (("haproxy", HAPROXY), ("nginx", NGINX)):
        (directory / f"{kind}.conf").write_text(text.format(**facts))
    names = {
        "{port}": str(port),
        "{haproxy}": str(directory / "haproxy.conf"),
        "{nginx}": str(directory / "nginx.conf"),
    }
    filled = []
    for word in command:
        for mark, value in names.items():
            word = word.replace(mark, value)  # noqa: PLW2901 - filled in step by step
        filled.append(word)
    with process(filled, PROXY_CORE) as child:
        wait_port(port)
        yield Proxy(name, port, child.pid)


# Measuring


@dataclass(frozen=True)
class Case:
    """One kind of traffic."""

    name: str
    path: str
    connections: int
    post: bool = False


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
    """Load one proxy with one kind of traffic."""
    script = directory / "post.lua"
    script.write_text('wrk.method = "POST"\nwrk.body = string.rep("x", 1024)\n')
    command = [
        "wrk", "-t1", f"-c{case.connections}", f"-d{seconds}s", "--latency",
        *(["-s", str(script)] if case.post else []), f"http://127.0.0.1:{proxy.port}{case.path}",
    ]  # fmt: skip
    before, started = cpu_seconds(proxy.pid), time.monotonic()
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, OTHER_CORES),
    )
    spent, elapsed = cpu_seconds(proxy.pid) - before, time.monotonic() - started
    text = done.stdout
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
    command = [
        "hey", "-c", "32", "-q", f"{rate / 32:.0f}", "-z", f"{seconds}s", "-cpus", "1",
        f"http://127.0.0.1:{proxy.port}/",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, OTHER_CORES),
    )
    found = dict(re.findall(r"^\s+(50|99)%+ in ([\d.]+) secs", done.stdout, re.MULTILINE))
    return float(found.get("50", "nan")) * 1e3, float(found.get("99", "nan")) * 1e3


def idle_memory(proxy: Proxy, count: int) -> tuple[int, int]:
    """Resident bytes before and with so many idle connections, each of which was answered once."""
    before = memory(proxy.pid)
    with ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), 10))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
            sock.recv(1000)
        return before, memory(proxy.pid)


def flat_memory(proxy: Proxy, size: int = GIGABYTE) -> dict[str, int]:
    """The highest resident bytes while bodies of `size` pass, down and then up."""
    idle = memory(proxy.pid)
    with socket.create_connection(("127.0.0.1", proxy.port)) as sock:
        sock.sendall(f"GET /{size} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".encode())
        taken = bytearray(MEGABYTE)
        while sock.recv_into(taken):
            pass
    down = memory(proxy.pid, "VmHWM")
    with socket.create_connection(("127.0.0.1", proxy.port)) as sock:
        sock.sendall(
            f"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: {size}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        part = bytes(MEGABYTE)
        for _ in range(size // MEGABYTE):
            sock.sendall(part)
        if not sock.recv(100).startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{proxy.name}: the upload failed")
    return {"idle": idle, "peak_down": down, "peak_up": memory(proxy.pid, "VmHWM")}


@dataclass
class Report:
    """Everything that one run found."""

    machine: str
    cores: int
    results: list[Result] = field(default_factory=list)
    at_rate: dict[str, dict[str, float]] = field(default_factory=dict)
    idle: dict[str, dict[str, int]] = field(default_factory=dict)
    flat: dict[str, int] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)

    def find(self, proxy: str, case: str, connections: int) -> Result | None:
        """One of the results."""
        for one in self.results:
            if (one.proxy, one.case, one.connections) == (proxy, case, connections):
                return one
        return None


def cases(*, quick: bool) -> list[Case]:
    """The kinds of traffic."""
    counts = [32] if quick else [1, 32, 512]
    return [
        *(Case("GET", "/", count) for count in counts),
        *(Case("POST 1 KiB", "/", count, post=True) for count in counts),
        *(Case("GET 1 MiB", f"/{MEGABYTE}", count) for count in counts if count < 512),
    ]


def run(seconds: int, *, quick: bool) -> Report:
    """Measure all proxies that are there, one after the other."""
    report = Report(platform.platform(), len(CORES))
    with tempfile.TemporaryDirectory(prefix="hitless-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)
        port = free_port()
        stack.enter_context(process([sys.executable, str(HERE), "origin", str(port)], OTHER_CORES))
        wait_port(port)
        for peer, command in peers(directory, port).items():
            if command is None:
                report.absent.append(peer)
                continue
            with running(peer, command, directory, port) as proxy:
                _measure_all(report, proxy, seconds, directory, quick=quick)
            if not quick and peer in ("hitless", "haproxy", "nginx", "aiohttp"):
                with running(peer, command, directory, port) as proxy:
                    before, after = idle_memory(proxy, 5000)
                    report.idle[peer] = {"before": before, "with_5000": after}
            if not quick and peer == "hitless":
                with running(peer, command, directory, port) as proxy:
                    report.flat = flat_memory(proxy)
    return report


def _measure_all(
    report: Report, proxy: Proxy, seconds: int, directory: Path, *, quick: bool
) -> None:
    for case in cases(quick=quick):
        if proxy.name == "hitless + access log" and case.name != "GET":
            continue
        result = measure(proxy, case, seconds, directory)
        report.results.append(result)
        print(line(result), flush=True)
    ours = report.find("hitless", "GET", 32)
    if ours is not None and shutil.which("hey"):
        rate = ours.requests_per_second / 2
        p50, p99 = latency_at_rate(proxy, rate, seconds)
        report.at_rate[proxy.name] = {"rate": rate, "p50_ms": p50, "p99_ms": p99}


# Two builds side by side


def machine_seconds() -> tuple[float, float]:
    """Processor time of the whole machine since it started: used, and in all."""
    fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / TICK, sum(fields) / TICK


def pressure() -> str:
    """The share of the last minute in which somebody waited for a processor."""
    file = Path("/proc/pressure/cpu")
    found = re.search(r"avg60=([\d.]+)", file.read_text()) if file.exists() else None
    return f"{found[1]} %" if found else "unknown"


@contextmanager
def started(name: str, build: Path, origin_port: int, directory: Path) -> Iterator[Proxy]:
    """Run a build of the balancer, or HAProxy, in front of the origin, on any core."""
    port = free_port()
    if name == "haproxy":
        config = directory / "compare.cfg"
        config.write_text(HAPROXY.format(port=port, origin=origin_port))
        command = [shutil.which("haproxy") or "haproxy", "-db", "-f", str(config)]
    else:
        command = [
            sys.executable, "-m", "balancer", "--listen", f"127.0.0.1:{port}",
            "--backend", f"127.0.0.1:{origin_port}", "--rise", "1",
        ]  # fmt: skip
    with process(command, set(CORES), build) as child:
        wait_port(port)
        yield Proxy(name, port, child.pid)


def longest_wait(proxy: Proxy, attack: bytes, tries: int = 5) -> float:
    """Milliseconds that another client waits while `attack` is read; the least of some tries."""
    waits = []
    for _ in range(tries):
        place = ("127.0.0.1", proxy.port)
        with socket.create_connection(place) as bad, socket.create_connection(place) as good:
            bad.settimeout(1)
            good.sendall(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
            good.recv(1000)
            with contextlib.suppress(OSError):
                bad.sendall(attack)
            before = time.monotonic()
            good.sendall(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
            good.recv(1000)
            waits.append(time.monotonic() - before)
    return min(waits) * 1e3


_START = b"POST / HTTP/1.1\r\nHost: b\r\n"
ATTACKS = {
    "head of 100 KB": _START + b"A: b\r\n" * 17_000 + b"\r\n",
    "10,000 options in Connection": _START + b"Connection: " + b"a," * 10_000 + b"\r\n\r\n",
    "40,000 chunks of a byte": _START + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"1\r\nx\r\n" * 40_000,
    "4,000 requests at once": b"TRACE / HTTP/1.1\r\nHost: b\r\nMax-Forwards: 0\r\n\r\n" * 4000,
}  # fmt: skip


def compare(previous: Path, rounds: int, seconds: int) -> None:
    """Measure this build, a previous one and HAProxy in turns, and print medians and ratios."""
    kinds = (Case("GET", "/", 32), Case("POST 1 KiB", "/", 32, post=True))
    costs: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="hitless-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        port = free_port()
        stack.enter_context(process([sys.executable, str(HERE), "origin", str(port)], set(CORES)))
        wait_port(port)
        builds = {"hitless": HERE.parents[1], "previous": previous.resolve()}
        if shutil.which("haproxy"):
            builds["haproxy"] = directory
        proxies = [
            stack.enter_context(started(one, build, port, directory))
            for one, build in builds.items()
        ]
        for proxy in proxies:  # some traffic first, from which the balancer learns
            for case in kinds:
                measure(proxy, case, 2, directory)
        used, total = machine_seconds()
        for number in range(rounds):
            for case in kinds:
                # Each begins in turn, so that none always follows the same other one.
                for place in range(len(proxies)):
                    proxy = proxies[(place + number) % len(proxies)]
                    result = measure(proxy, case, seconds, directory)
                    if result.errors:
                        print(f"{proxy.name}: {result.errors} errors in {case.name}")
                    costs.setdefault((case.name, proxy.name), []).append(result.cpu_us_per_request)
        after_used, after_total = machine_seconds()
        show_comparison(costs)
        busy = (after_used - used) / (after_total - total)
        print(f"machine {busy:.0%} busy meanwhile, CPU pressure {pressure()} of the last minute")
        for attack, data in ATTACKS.items():
            for proxy in proxies[:2]:
                print(f"{attack}: another client of {proxy.name} waits "
                      f"{longest_wait(proxy, data):.1f} ms")  # fmt: skip


def show_comparison(costs: dict[tuple[str, str], list[float]]) -> None:
    """Print the medians, with the least and the most, and what is so many times what."""
    medians = {key: statistics.median(values) for key, values in costs.items()}
    for (case, name), values in costs.items():
        print(
            f"{case:<11}{name:<10} CPU {medians[case, name]:6.1f} us a request "
            f"({min(values):.1f} to {max(values):.1f}, {len(values)} rounds)"
        )
    for case in dict.fromkeys(case for case, _ in costs):
        for peer in ("previous", "haproxy"):
            if (case, peer) in medians:
                ratio = medians[case, "hitless"] / medians[case, peer]
                print(f"{case}: {ratio:.2f} x {peer}")
    print(f"POST: {medians['POST 1 KiB', 'hitless'] / medians['GET', 'hitless']:.2f} x our GET")


# Showing


def line(one: Result) -> str:
    """One line of the table."""
    return (
        f"{one.proxy:<21}{one.case:<11}{one.connections:>5}{one.requests_per_second:>11,.0f}"
        f"{one.cpu_us_per_request:>9.1f}{one.p50_ms:>9.2f}{one.p99_ms:>9.2f}"
        f"{one.megabytes_per_second:>9,.0f}{one.errors:>8}"
    )


def show(report: Report) -> None:
    """Print the ratios."""
    print(f"\n{report.machine}, {report.cores} cores; absent: {', '.join(report.absent) or 'none'}")
    for case, connections, key, text in (
        ("GET", 32, "cpu_us_per_request", "CPU per keep-alive GET at 32 connections"),
        ("POST 1 KiB", 32, "cpu_us_per_request", "CPU per POST of 1 KiB at 32 connections"),
        ("GET 1 MiB", 32, "requests_per_second", "1 MiB downloads at 32 connections"),
    ):
        ours = report.find("hitless", case, connections)
        for peer in ("haproxy", "nginx", "aiohttp"):
            theirs = report.find(peer, case, connections)
            if ours and theirs and getattr(theirs, key):
                ratio = getattr(ours, key) / getattr(theirs, key)
                print(f"{text}: {ratio:.2f} x {peer}")
    for name, one in report.at_rate.items():
        print(
            f"{name}: at {one['rate']:,.0f}/s p50 {one['p50_ms']:.2f} ms, "
            f"p99 {one['p99_ms']:.2f} ms"
        )
    for name, one in report.idle.items():
        print(
            f"{name}: {one['before'] / MEGABYTE:.0f} MiB, with 5,000 idle connections "
            f"{one['with_5000'] / MEGABYTE:.0f} MiB"
        )
    if report.flat:
        parts = {name: value / MEGABYTE for name, value in report.flat.items()}
        print(
            f"hitless: {parts['idle']:.0f} MiB idle, peak {parts['peak_down']:.0f} MiB after 1 GiB "
            f"down, {parts['peak_up']:.0f} MiB after 1 GiB up"
        )


def main() -> None:
    """Run what the command line asks for."""
    if sys.argv[1:2] == ["origin"]:
        import uvloop  # noqa: PLC0415 - only this process needs it

        uvloop.run(origin(int(sys.argv[2])))
        return
    if sys.argv[1:2] == ["aiohttp"]:
        import uvloop  # noqa: PLC0415 - only this process needs it

        uvloop.run(aiohttp_proxy(int(sys.argv[2]), sys.argv[3]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="32 connections, no memory")
    parser.add_argument("--previous", type=Path, help="the folder of another build, to compare")
    parser.add_argument("--rounds", type=int, default=9, help="of the comparison")
    parser.add_argument("--json", type=Path, help="where to save everything")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (Debian package wrk)")
    if given.previous is not None:
        compare(given.previous, given.rounds, given.seconds)
        return
    print(
        f"{'proxy':<21}{'case':<11}{'conns':>5}{'req/s':>11}{'CPU us':>9}{'p50 ms':>9}"
        f"{'p99 ms':>9}{'MiB/s':>9}{'errors':>8}"
    )
    report = run(given.seconds, quick=given.quick)
    show(report)
    if given.json is not None:
        text = json.dumps(report, default=lambda one: one.__dict__, indent=1)
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
