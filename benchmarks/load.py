"""Load generators against one origin: what each can send, what it costs, and what it notices.

    python benchmarks/load.py [--seconds 10] [--rate 10000] [--locust PATH] [--json FILE]

Needs Linux and two idle cores: the origin has one of them, the generator the other. wrk, hey and
Locust (its FastHttpUser) are measured when they are there; `--locust` names one that is installed
elsewhere.

Two rounds. In the first one each sends as much as it can over 32 connections, except ours, which
is an open loop and sends what it is asked for: there, what counts is how late it sends. In the
second one the origin stops for one second. Every user who came in that second waited; a closed
loop waits with them and reports a handful of slow requests, which its 99th percentile forgets.
(wrk, a closed loop too, makes up the latencies of the requests that it did not send meanwhile.)
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import cast

import httptools
import uvloop

CONNECTIONS = 32
STALL_SECONDS = 1.0
ORIGIN_CORE, LOAD_CORE = 0, 1
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# A report whose 99th percentile is below this does not show that anybody had to wait.
NOTICED_SECONDS = STALL_SECONDS / 2
LOCUSTFILE = """
from locust import FastHttpUser, task

class User(FastHttpUser):
    @task
    def get(self):
        self.client.get("/")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One generator in one round.

    Attributes:
        tool: its name.
        stalled: whether the origin stopped for a second.
        requests: how many it made.
        seconds: how long it sent.
        cpu_seconds: the processor time that it used, its start included.
        p99_seconds, max_seconds: what it reports.
        lag_p99_seconds: how late it sent, where it knows when it should have.
    """

    tool: str
    requests: int
    seconds: float
    cpu_seconds: float
    p99_seconds: float
    max_seconds: float
    lag_p99_seconds: float | None = None
    stalled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a generator is asked to do."""

    command: str
    port: int
    seconds: float
    rate: float

    @property
    def url(self) -> str:
        """Where to."""
        return f"http://127.0.0.1:{self.port}/"


class Origin(asyncio.Protocol):
    """The smallest HTTP server: it answers every request at once with the same bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.WriteTransport, transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Answer."""
        self._transport.write(RESPONSE)
        if not self._parser.should_keep_alive():
            self._transport.close()


async def serve() -> None:
    """Be the origin: print the port, and stop for a second at each SIGUSR1."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, time.sleep, STALL_SECONDS)
    server = await loop.create_server(Origin, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def origin() -> Iterator[tuple[int, int]]:
    """The origin as a process on its own core; yields its process id and its port."""
    command = ["taskset", "-c", str(ORIGIN_CORE), sys.executable, __file__, "--origin"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.pid, int(process.stdout.readline() if process.stdout else "")
        finally:
            process.kill()


@contextmanager
def generator(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A generator on its core."""
    with subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def reap(process: subprocess.Popen[str]) -> float:
    """Wait for its end; returns the processor seconds that it and its children have used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def output_of(command: list[str]) -> tuple[str, float]:
    """Run a generator to its end; returns what it printed and the processor seconds it used."""
    with generator(command) as process:
        output = process.stdout.read() if process.stdout else ""
        return output, reap(process)


def found(pattern: str, text: str) -> str:
    """The first group of a pattern; a report without it is an error, not a zero."""
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"nothing like {pattern!r} in:\n{text}")
    return match[1]


def duration(text: str) -> float:
    """Durations as wrk prints them, such as `1.23ms`, in seconds."""
    number = float(found(r"^([\d.]+)", text))
    return number * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[found(r"([a-z]+)$", text)]


def run_hitless(task: Task) -> Measured:
    """Ours: an open loop at the rate that it is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        plan = {
            "host": "127.0.0.1",
            "port": task.port,
            "rate": task.rate,
            "seed": 7,
            "requests_path": f"{folder}/requests.ndjson",
            "mails_path": f"{folder}/mails.ndjson",
            "max_in_flight": 1_000_000,
            "journeys": [{"name": "get", "steps": [{"path": "/"}]}],
        }
        with generator([task.command, "-m", "scenarios.traffic"]) as process:
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("a generator without pipes")

            def say(line: object) -> None:
                print(json.dumps(line), file=process.stdin, flush=True)

            say(plan)
            process.stdout.readline()
            say({"do": "start"})
            threading.Timer(task.seconds, say, [{"do": "finish"}]).start()
            *_, last = process.stdout
            cpu_seconds = reap(process)
    finished = json.loads(last)
    return Measured(
        tool="hitless",
        requests=finished["requests"],
        seconds=task.seconds,
        cpu_seconds=cpu_seconds,
        p99_seconds=finished["latency"]["p99"],
        max_seconds=finished["latency"]["max"],
        lag_p99_seconds=finished["schedule_lag"]["p99"],
    )


def run_wrk(task: Task) -> Measured:
    """One thread, as much as it can."""
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{task.seconds:g}s", "--timeout", "10s", "--latency"]
    output, cpu_seconds = output_of([task.command, *options, task.url])
    return Measured(
        tool="wrk",
        requests=int(found(r"(\d+) requests in", output)),
        seconds=duration(found(r"requests in (\S+),", output)),
        cpu_seconds=cpu_seconds,
        p99_seconds=duration(found(r"99%\s+(\S+)", output)),
        max_seconds=duration(found(r"Latency\s+\S+\s+\S+\s+(\S+)", output)),
    )


def run_hey(task: Task) -> Measured:
    """One processor, as much as it can."""
    options = ["-cpus", "1", "-c", str(CONNECTIONS), "-z", f"{task.seconds:g}s"]
    output, cpu_seconds = output_of([task.command, *options, task.url])
    return Measured(
        tool="hey",
        requests=int(found(r"\[200\]\s+(\d+) responses", output)),
        seconds=float(found(r"Total:\s+([\d.]+) secs", output)),
        cpu_seconds=cpu_seconds,
        p99_seconds=float(found(r"99% in ([\d.]+) secs", output)),
        max_seconds=float(found(r"Slowest:\s+([\d.]+) secs", output)),
    )


def run_locust(task: Task) -> Measured:
    """32 users without a pause, as much as they can."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "locustfile.py").write_text(LOCUSTFILE)
        options = ["--headless", "--json", "-u", str(CONNECTIONS), "-r", str(CONNECTIONS)]
        options += ["-f", f"{folder}/locustfile.py", "-H", task.url.rstrip("/")]
        options += ["-t", f"{task.seconds:g}s"]
        output, cpu_seconds = output_of([task.command, *options])
    (entry,) = json.loads(output)
    requests = entry["num_requests"]
    times = sorted((float(key), count) for key, count in entry["response_times"].items())
    totals = accumulate(count for _, count in times)
    p99 = next(
        time for (time, _), seen in zip(times, totals, strict=True) if seen >= 0.99 * requests
    )
    return Measured(
        tool="locust",
        requests=requests,
        seconds=entry["last_request_timestamp"] - entry["start_time"],
        cpu_seconds=cpu_seconds,
        p99_seconds=p99 / 1e3,
        max_seconds=entry["max_response_time"] / 1e3,
    )


def measure(run: Callable[[Task], Measured], task: Task, *, stall: bool) -> Measured:
    """One generator in one round, each against an origin of its own."""
    with origin() as (pid, port):
        timer = threading.Timer(task.seconds * 0.4, os.kill, [pid, signal.SIGUSR1])
        if stall:
            timer.start()
        try:
            return replace(run(replace(task, port=port)), stalled=stall)
        finally:
            timer.cancel()


def row_of(one: Measured) -> str:
    """A line of the table."""
    lag = "" if one.lag_p99_seconds is None else f"{one.lag_p99_seconds * 1e3:.2f}"
    noticed = ""
    if one.stalled:
        noticed = "yes" if one.p99_seconds >= NOTICED_SECONDS else "no"
    return (
        f"| {one.tool:7} | {'1 s stall' if one.stalled else 'steady':9} "
        f"| {one.requests / one.seconds:10,.0f} | {one.cpu_seconds / one.requests * 1e6:11.1f} "
        f"| {one.p99_seconds * 1e3:8.2f} | {one.max_seconds * 1e3:8.1f} | {lag:>10} | {noticed:8} |"
    )


def main() -> None:
    """Measure what is there, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rate", type=float, default=10_000.0, help="of ours, per second")
    parser.add_argument("--locust", default="locust", help="where Locust is")
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    parser.add_argument("--origin", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.origin:
        uvloop.run(serve())
        return
    tools: list[tuple[str, Callable[[Task], Measured]]] = [
        (sys.executable, run_hitless),
        ("wrk", run_wrk),
        ("hey", run_hey),
        (options.locust, run_locust),
    ]
    print(
        "| tool    | origin    | requests/s | CPU us each | p99 ms   | max ms   | p99 lag ms ",
        end="",
    )
    print("| noticed? |\n|---|---|--:|--:|--:|--:|--:|---|")
    results = []
    for stall in (False, True):
        for command, run in tools:
            if shutil.which(command) is None:
                print(f"| {command} is not here |", file=sys.stderr)
                continue
            task = Task(command=command, port=0, seconds=options.seconds, rate=options.rate)
            results.append(measure(run, task, stall=stall))
            print(row_of(results[-1]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")


if __name__ == "__main__":
    main()
