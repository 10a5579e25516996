"""The balancer beside others, in one run on one machine: what a request costs, and more.

    python -m benchmarks.balancer [--parts cost,sizes,ramp,latency,memory,hostile] [--seconds 2]
        [--rounds 5] [--only NAME,...] [--previous COMMIT|FOLDER] [--json FILE]

Parts:
- cost: processor time of a GET and of a POST of 1 KiB with 32 connections, in rounds in which each
  proxy has its turn; the median counts.
- sizes: a GET with 1 and 512 connections, and downloads of 1 MiB.
- ramp: more and more connections with access logs on, up to the knee, from which on more of them
  bring no more requests.
- latency: median and 99th percentile at half of our own peak rate.
- memory: with 5,000 idle connections, and the peak while 1 GiB passes each way.
- hostile: for how long one hostile client holds up another one.

Every proxy is pinned to one core and has the same four origins; these and the load generator share
the others. What counts are the ratios within one run, and the processor time per request, which
does not depend on whether the load generator or the proxy was the bottleneck. After each part, a
line says how busy the machine was, and how much of that was other people's work.

`compiled` is this build after `make compiled`; `previous` is an earlier commit; `relay` is the
floor, the least that a proxy on uvloop can do; `router:NAME` is a router of a wheel, started as
`hitless run` starts it, with the log that it keeps there. What is not installed is left out by
name. Needs wrk and, for latency, hey (Debian packages wrk, hey); HAProxy and nginx are those of the
Debian packages haproxy and nginx-light.
"""

import argparse
import asyncio
import json
import platform
import shutil
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import endurance
from benchmarks.http_load import (
    GET,
    MEGABYTE,
    POST,
    Case,
    Proxy,
    Result,
    latency_at_rate,
    measure,
)
from benchmarks.machine import (
    OTHER_CORES,
    cpu_seconds,
    free_port,
    how_busy,
    moment,
    process,
    wait_port,
)
from benchmarks.proxies import NAMES, PREVIOUS, AbsentError, Scene, running

ORIGINS = 4
PARTS = ("cost", "sizes", "ramp", "latency", "memory", "hostile")
SIZES = (Case("GET", "/", 1), Case("GET", "/", 512), Case("GET 1 MiB", f"/{MEGABYTE}", 32))
STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# From here on more connections bring no more: the knee is the first step that gets this share of
# the highest rate.
KNEE = 0.95
LOGGING = ("hitless", "compiled", "previous", "haproxy", "nginx")


@dataclass
class Report:
    """Everything that one run found; costs are lists of one figure for each round.

    Attributes:
        machine: its system.
        costs: microseconds of processor time per request, by case and proxy.
        results: of the parts `sizes` and `ramp`.
        latency: at half of our peak rate: rate, p50_ms, p99_ms.
        memory: in bytes, by proxy.
        waits: milliseconds that another client waits, by attack and proxy.
        absent: what is not installed.
        busy: how busy the machine was, by part.
    """

    machine: str
    costs: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    latency: dict[str, dict[str, float]] = field(default_factory=dict)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    waits: dict[str, dict[str, float]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    busy: dict[str, str] = field(default_factory=dict)


class Run:
    """One run: the proxies that are up, and the report that fills."""

    def __init__(self, scene: Scene, names: list[str], *, rounds: int, seconds: int) -> None:
        self.scene = scene
        self.names = names
        self.rounds = rounds
        self.seconds = seconds
        self.report = Report(platform.platform())
        self.spent = 0.0

    async def part(self, name: str) -> None:
        """Measure one of `PARTS`."""
        print(f"\n{name}", flush=True)
        before, origins = moment(), self._used_by_origins()
        self.spent = 0.0
        await {
            "cost": self.cost,
            "sizes": self.sizes,
            "ramp": self.ramp,
            "latency": self.latency,
            "memory": self.memory,
            "hostile": self.hostile,
        }[name]()
        busy = how_busy(before, self.spent + self._used_by_origins() - origins)
        self.report.busy[name] = busy
        print(busy, flush=True)

    def _used_by_origins(self) -> float:
        return sum(map(cpu_seconds, self.scene.origin_pids))

    async def start(
        self, stack: AsyncExitStack, names: list[str], *, log: bool = False
    ) -> list[Proxy]:
        """Start these proxies, and note those that are absent."""
        proxies = []
        for name in names:
            try:
                proxy = await stack.enter_async_context(running(name, self.scene, log=log))
            except AbsentError as error:
                if str(error) not in self.report.absent:
                    self.report.absent.append(str(error))
                continue
            stack.callback(self._count, proxy)
            proxies.append(proxy)
        return proxies

    def _count(self, proxy: Proxy) -> None:
        """Note what a proxy used before it ends, so that it is not taken for others' work."""
        self.spent += cpu_seconds(proxy.pid)

    async def measure(self, proxy: Proxy, case: Case, seconds: int) -> Result:
        """Load one proxy."""
        result = await asyncio.to_thread(measure, proxy, case, seconds, self.scene.directory)
        if result.errors:
            print(f"{proxy.name}: {result.errors} errors in {case.name}", flush=True)
        return result

    async def cost(self) -> None:
        """What a GET and a POST cost."""
        async with AsyncExitStack() as stack:
            proxies = await self.start(stack, self.names)
            for proxy in proxies:  # some traffic first, from which the balancer learns
                for case in (GET, POST):
                    await self.measure(proxy, case, 1)
            for number in range(self.rounds):
                for case in (GET, POST):
                    # Each begins in turn, so that none always follows the same other one.
                    for place in range(len(proxies)):
                        proxy = proxies[(place + number) % len(proxies)]
                        result = await self.measure(proxy, case, self.seconds)
                        costs = self.report.costs.setdefault(case.name, {})
                        costs.setdefault(proxy.name, []).append(result.cpu_us_per_request)
        show_costs(self.report.costs)

    async def sizes(self) -> None:
        """Few and many connections, and large bodies."""
        print(RESULT_HEAD)
        async with AsyncExitStack() as stack:
            for proxy in await self.start(stack, self.names):
                for case in SIZES:
                    if proxy.name == "relay" and case.path != "/":
                        continue  # it is only right for messages in one piece
                    result = await self.measure(proxy, case, self.seconds)
                    self.report.results.append(result)
                    print(result_line(result), flush=True)

    async def ramp(self) -> None:
        """More and more connections, with access logs on, up to the knee."""
        print(RESULT_HEAD)
        for name in [one for one in self.names if one in LOGGING or one.startswith("router:")]:
            async with AsyncExitStack() as stack:
                for proxy in await self.start(stack, [name], log=True):
                    steps = []
                    for count in STEPS:
                        result = await self.measure(proxy, Case("ramp", "/", count), self.seconds)
                        steps.append(result)
                        print(result_line(result), flush=True)
                    self.report.results += steps
                    best = max(one.requests_per_second for one in steps)
                    enough = KNEE * best
                    knee = next(one for one in steps if one.requests_per_second >= enough)
                    print(
                        f"{proxy.name}: knee at {knee.connections} connections, "
                        f"{knee.requests_per_second:,.0f}/s, p99 {knee.p99_ms:.2f} ms"
                    )

    async def latency(self) -> None:
        """Latency at half of our own peak rate."""
        if shutil.which("hey") is None:
            self.report.absent.append("hey: apt-get install hey")
            return
        async with AsyncExitStack() as stack:
            proxies = await self.start(stack, self.names)
            if not proxies:
                return
            peak = await self.measure(proxies[0], GET, self.seconds)
            rate = peak.requests_per_second / 2
            for proxy in proxies:
                p50, p99 = await asyncio.to_thread(latency_at_rate, proxy, rate, self.seconds)
                self.report.latency[proxy.name] = {"rate": rate, "p50_ms": p50, "p99_ms": p99}
                print(f"{proxy.name:<18} at {rate:,.0f}/s p50 {p50:.2f} ms, p99 {p99:.2f} ms")

    async def memory(self) -> None:
        """Memory with idle connections, and while much passes."""
        for name in self.names:
            if name == "relay":
                continue
            async with AsyncExitStack() as stack:
                for proxy in await self.start(stack, [name]):
                    found = await asyncio.to_thread(endurance.idle_memory, proxy, 5000)
                    if name in ("hitless", "compiled"):
                        found |= await asyncio.to_thread(endurance.flat_memory, proxy)
                    self.report.memory[proxy.name] = found
                    parts = (f"{key} {size / MEGABYTE:.0f}" for key, size in found.items())
                    print(f"{proxy.name:<18} MiB: {', '.join(parts)}", flush=True)

    async def hostile(self) -> None:
        """For how long one client holds up another."""
        async with AsyncExitStack() as stack:
            names = [one for one in self.names if one in ("hitless", "compiled", "previous")]
            proxies = await self.start(stack, names)
            for attack, data in endurance.ATTACKS.items():
                for proxy in proxies:
                    wait = await asyncio.to_thread(endurance.longest_wait, proxy, data)
                    self.report.waits.setdefault(attack, {})[proxy.name] = wait
                    print(f"{attack}: another client of {proxy.name} waits {wait:.1f} ms")


RESULT_HEAD = (
    f"{'proxy':<18}{'case':<11}{'conns':>5}{'req/s':>11}{'CPU us':>9}{'p50 ms':>9}"
    f"{'p99 ms':>9}{'MiB/s':>9}{'errors':>8}"
)


def result_line(one: Result) -> str:
    """One line of a table of results."""
    return (
        f"{one.proxy:<18}{one.case:<11}{one.connections:>5}{one.requests_per_second:>11,.0f}"
        f"{one.cpu_us_per_request:>9.1f}{one.p50_ms:>9.2f}{one.p99_ms:>9.2f}"
        f"{one.megabytes_per_second:>9,.0f}{one.errors:>8}"
    )


def show_costs(costs: dict[str, dict[str, list[float]]]) -> None:
    """Print the medians, with the least and the most, and what is so many times what."""
    print(f"{'case':<12}{'proxy':<18}{'CPU us':>8}{'least':>8}{'most':>8}{'x previous':>12}"
          f"{'x haproxy':>11}{'x own GET':>11}")  # fmt: skip
    medians = {
        case: {name: statistics.median(values) for name, values in found.items()}
        for case, found in costs.items()
    }
    nan = float("nan")
    for case, found in costs.items():
        for name, values in found.items():
            cost = medians[case][name]
            ratios = [
                cost / medians[case].get("previous", nan),
                cost / medians[case].get("haproxy", nan),
                cost / medians[GET.name][name],
            ]
            print(f"{case:<12}{name:<18}{cost:>8.1f}{min(values):>8.1f}{max(values):>8.1f}"
                  f"{ratios[0]:>12.2f}{ratios[1]:>11.2f}{ratios[2]:>11.2f}")  # fmt: skip


async def run(given: argparse.Namespace) -> Report:
    """Measure what the command line asks for."""
    with tempfile.TemporaryDirectory(prefix="hitless-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # nginx's worker is another user
        async with AsyncExitStack() as stack:
            ports, children = [], []
            for _ in range(ORIGINS):
                ports.append(free_port())
                command = [
                    sys.executable, "-m", "benchmarks.reference_servers", "origin", str(ports[-1]),
                ]  # fmt: skip
                children.append(stack.enter_context(process(command, OTHER_CORES)))
                wait_port(ports[-1])
            pids = tuple(child.pid for child in children)
            scene = Scene(directory, tuple(ports), pids, given.previous)
            running_now = Run(
                scene, given.only.split(","), rounds=given.rounds, seconds=given.seconds
            )
            for part in given.parts.split(","):
                await running_now.part(part)
    return running_now.report


def _some_of(known: tuple[str, ...], text: str, option: str) -> None:
    for one in text.split(","):
        if one not in known:
            raise SystemExit(f"{option} {one}: there are {', '.join(known)}")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure")
    parser.add_argument("--only", default=",".join(NAMES), help="some of the proxies")
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="of the part cost")
    parser.add_argument("--previous", default=PREVIOUS, help="an earlier commit, or a folder")
    parser.add_argument("--json", type=Path, help="where to save everything")
    given = parser.parse_args()
    _some_of(PARTS, given.parts, "--parts")
    _some_of(NAMES, given.only, "--only")
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    report = asyncio.run(run(given))
    print(f"\n{report.machine}")
    for one in report.absent:
        print(f"left out: {one}")
    if given.json is not None:
        text = json.dumps(report, default=lambda one: one.__dict__, indent=1)
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
