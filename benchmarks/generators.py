"""What one load generator sends as a pod sends it, beside one that runs next to the harness.

    python -m benchmarks.generators [--rates 1000,2000,4000,...] [--seconds 5]

Both are the same process, pinned to one core; the origin has another one. As in a pod, a server
beside the generator is asked for its evidence over HTTP twice a second, compresses it, and has the
same core: so the difference is what being a pod costs, without the network of a cluster. A rate is
kept if every request was sent, p99 of them at most 20 ms late. The last line divides 100,000
requests a second by what one pod kept.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import LOAD_CORE, origin
from orchestrator.processes import Processes
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.tick import Tick
from scenarios.runner.generators.group import generator_group
from scenarios.runner.generators.remote_generator import RemoteGenerator
from scenarios.traffic.plan import Plan
from scenarios.traffic.process.driver import load_generator
from scenarios.traffic.settings import Journey, Step
from tests.support.remote_generators import remotes

KEPT_LAG_SECONDS = 0.02
WANTED = 100_000


@dataclass(frozen=True, slots=True)
class Sent:
    """What one generator sent in one round.

    Attributes:
        rate: how many requests a second it was asked for.
        requests: how many it recorded.
        seconds: from the first of them to the last.
        unsent: how many of them it could not send.
        lag_p99_seconds: how late they were.
        busy: how much of the machine was in use meanwhile, other people's processes included.
    """

    rate: float
    requests: int
    seconds: float
    unsent: int
    lag_p99_seconds: float
    busy: float

    @property
    def kept(self) -> bool:
        """Whether it kept its schedule."""
        return not self.unsent and self.lag_p99_seconds <= KEPT_LAG_SECONDS


Sender = Callable[[Plan, Path, float, Callable[[Tick], None]], Awaitable[None]]


async def beside(plan: Plan, folder: Path, seconds: float, on_tick: Callable[[Tick], None]) -> None:
    """Send as a run on one machine does."""
    python = sys.executable
    async with (
        Processes() as processes,
        load_generator(processes, plan, python=python, folder=folder, on_tick=on_tick) as load,
        asyncio.TaskGroup() as tasks,
    ):
        os.sched_setaffinity(load.pid, {LOAD_CORE})
        tasks.create_task(load.listen())
        await load.start()
        await asyncio.sleep(seconds)
        await load.stop()
        await load.finish()


async def as_pod(plan: Plan, folder: Path, seconds: float, on_tick: Callable[[Tick], None]) -> None:
    """Send as a pod does."""
    async with pinned(folder) as there:
        with generator_group(plan, there, folder, on_tick) as group:
            await group.prepare()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(group.listen())
                await group.start()
                await asyncio.sleep(seconds)
                await group.stop()
                await group.finish()
        lost = [one.lost for one in group.facts if one.lost]
        if lost:
            raise SystemExit(f"the generator {lost[0]}")


@asynccontextmanager
async def pinned(folder: Path) -> AsyncIterator[list[RemoteGenerator]]:
    """One remote generator; what it starts inherits its core."""
    async with remotes(folder / "parts", 1) as (processes, there):
        for one in processes:
            for thread in Path(f"/proc/{one.process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {LOAD_CORE})
        yield there


async def measured(send: Sender, rate: float, seconds: float) -> Sent:
    """One round."""
    with origin() as (_, port), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = Plan(
            host="127.0.0.1",
            port=port,
            rate=rate,
            arrivals="constant",
            journeys=(Journey(name="look", steps=(Step(path="/"),)),),
            requests_path=str(RunFolder(folder).requests.path),
            mails_path=str(RunFolder(folder).mails.path),
            tick_seconds=0.25,
        )
        before, begun = idle_seconds(), time.monotonic()
        await send(plan, folder, seconds, lambda _: None)
        busy = 1 - (idle_seconds() - before) / (time.monotonic() - begun) / (os.cpu_count() or 1)
        requests = list(RunFolder(folder).requests.read())
    lags = sorted(
        (one.sent_ns - one.planned_ns) / 1e9 for one in requests if one.sent_ns is not None
    )
    unsent = len(requests) - len(lags)
    planned = [one.planned_ns for one in requests]
    length = (max(planned) - min(planned)) / 1e9
    return Sent(rate, len(requests), length, unsent, lags[int(0.99 * len(lags))], busy)


def idle_seconds() -> float:
    """For how long the machine's cores had nothing to do, all together."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Raise the rate until neither keeps it, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rates", default="1000,2000,3000,4000,5000,6000,8000")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    options = parser.parse_args()
    senders: dict[str, Sender] = {"beside the harness": beside, "as a pod": as_pod}
    best = dict.fromkeys(senders, 0.0)
    failed: set[str] = set()
    print("| generator | asked/s | sent/s | p99 lag ms | kept | machine in use |")
    print("|---|--:|--:|--:|---|--:|")
    for rate in map(float, options.rates.split(",")):
        for name, send in senders.items():
            if name in failed:
                continue
            one = asyncio.run(measured(send, rate, options.seconds))
            if one.kept:
                best[name] = rate
            else:
                failed.add(name)
            print(
                f"| {name} | {rate:,.0f} | {(one.requests - one.unsent) / one.seconds:,.0f} | "
                f"{one.lag_p99_seconds * 1e3:.1f} | {'yes' if one.kept else 'no'} | "
                f"{one.busy * 100:.0f} % |",
                flush=True,
            )
    pod, plain = best["as a pod"], best["beside the harness"]
    if not pod or not plain:
        raise SystemExit("no rate was kept: the machine is too busy")
    print(
        f"one generator as a pod kept {pod:,.0f}/s, {pod / plain:.2f} times what one beside the "
        f"harness kept; {WANTED:,}/s are {-(-WANTED // int(pod))} pods"
    )


if __name__ == "__main__":
    main()
