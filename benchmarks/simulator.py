"""The simulator: requests a second beside SimPy, and how time and memory grow with the fleet.

    pip install simpy
    python -m benchmarks.simulator [--replicas 10 100 1000 10000 100000] [--quick]

First the same queueing model, request by request, in ours and in SimPy, one after the other in the
same run: 2,000 replicas with eight workers each, chosen in turn, users who come at random (a
Poisson process), a fixed service time. Ours has health checks, kept connections, retries and
statistics as well. Then rolling updates under ten requests a second for each replica, ten virtual
minutes long, each in a process of its own, so that its memory is its own.

All times are processor time. Exit status 1: ours has less than 1.5 times SimPy's requests a second,
or the update of 10,000 replicas takes more than 60 s or 1 GiB.
"""

import argparse
import gc
import importlib.util
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from balancer.proxy.error_responses import ErrorResponse
from orchestrator.model import Deploy, Release, Version
from orchestrator.policy import Policy
from orchestrator.rollout import Rollout
from orchestrator.simulated.request import AnsweredMany, Request
from orchestrator.simulated.world import SimulatedRun, SimulatedWorld, simulate
from orchestrator.simulated.world_settings import ReplicaModel, Spread, World

LEAST_RATIO, MOST_SECONDS, MOST_MIB = 1.5, 60.0, 1024
WORKERS, SERVICE_SECONDS = 8, 0.005
VERSIONS = [Version(name=name, command=(name,)) for name in ("a", "b")]


class Account:
    """Counts what became of the requests."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()

    def answered(self, request: Request, status: int, sqlstate: str | None) -> None:
        """Count an answer."""
        del request, sqlstate
        self.ends[str(status)] += 1

    def refused(self, request: Request, response: ErrorResponse) -> None:
        """Count a refusal."""
        del request
        self.ends[response.details] += 1

    def gave_up(self, request: Request) -> None:
        """Count a user who gave up."""
        del request
        self.ends["gave up"] += 1

    def answered_many(self, many: AnsweredMany) -> None:
        """Count many answers."""
        self.ends["200"] += len(many.places)


class Measured(msgspec.Struct):
    """What one rolling update took.

    Attributes:
        replicas: how many of them.
        requests: how many requests came.
        failed: how many of them were not answered with success.
        virtual_seconds: how long the update took in virtual time.
        cpu_seconds: how much processor time it took.
        mib: the most memory that it had.
    """

    replicas: int
    requests: int
    failed: int
    virtual_seconds: float
    cpu_seconds: float
    mib: int


def ours(replicas: int, rate: float, requests: int) -> float:
    """Requests a second of processor time, each an event of its own."""
    instants: dict[str, float] = {}
    world = World(replica=ReplicaModel(service_seconds=SERVICE_SECONDS, workers=WORKERS))
    run = SimulatedRun(
        world=world,
        release=Release(name="none", start=VERSIONS[0], steps=()),
        policy=Policy(replicas=replicas),
        strategy="rolling",
        rate=rate,
        baseline_seconds=requests / rate,
        settle_seconds=0.0,
    )

    def on_phase(name: str, _world: SimulatedWorld, _rollout: Rollout) -> None:
        instants[name] = time.process_time()

    account = Account()
    simulate(run, account, on_phase=on_phase)
    return account.ends.total() / (instants["rollout"] - instants["baseline"])


def simpys(replicas: int, rate: float, requests: int) -> float:
    """The same of SimPy, in the way that its documentation shows: a process for each request."""
    import simpy  # noqa: PLC0415 - left out where it is not installed

    environment = simpy.Environment()
    chance = random.Random(1)  # noqa: S311 - reproducible
    fleet = [simpy.Resource(environment, capacity=WORKERS) for _ in range(replicas)]
    ends: Counter[str] = Counter()

    def request(replica: "simpy.Resource") -> "Iterator[simpy.Event]":
        with replica.request() as turn:
            yield turn
            yield environment.timeout(SERVICE_SECONDS)
        ends["200"] += 1

    def users() -> "Iterator[simpy.Event]":
        for number in range(requests):
            yield environment.timeout(chance.expovariate(rate))
            environment.process(request(fleet[number % replicas]))

    environment.process(users())
    began = time.process_time()
    environment.run()
    return ends.total() / (time.process_time() - began)


def update(replicas: int) -> Measured:
    """A rolling update, ten virtual minutes long."""
    world = World(
        replica=ReplicaModel(
            start_seconds=Spread(median=2.0, spread=1.2),
            service_seconds=Spread(median=SERVICE_SECONDS, spread=1.6),
        )
    )
    run = SimulatedRun(
        world=world,
        release=Release(name="update", start=VERSIONS[0], steps=(Deploy(version=VERSIONS[1]),)),
        policy=Policy(replicas=replicas, max_surge="5%", min_ready_seconds=25.0),
        strategy="rolling",
        rate=10.0 * replicas,
        baseline_seconds=15.0,
        settle_seconds=15.0,
        batches=True,
    )
    began, account = time.process_time(), Account()
    result = simulate(run, account)
    if result.outcome != "completed":
        raise SystemExit(f"the update of {replicas} replicas has {result.outcome}: {result.reason}")
    return Measured(
        replicas=replicas,
        requests=account.ends.total(),
        failed=account.ends.total() - account.ends["200"],
        virtual_seconds=result.seconds,
        cpu_seconds=time.process_time() - began,
        mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )


def used() -> tuple[int, int]:
    """Processor time of the whole machine so far: of all, and of what was not idle."""
    fields = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields), sum(fields) - fields[3] - fields[4]


def beside_simpy(requests: int) -> float:
    """Print both engines' requests a second, round by round; returns the median ratio."""
    print(f"2,000 replicas, {requests:,} requests, each an event of its own; requests a second:")
    ratios = []
    for number in range(3):
        gc.collect()
        here = ours(2000, 100_000.0, requests)
        gc.collect()
        there = simpys(2000, 100_000.0, requests)
        ratios.append(here / there)
        print(f"  round {number + 1}: ours {here:,.0f}, SimPy {there:,.0f}: {here / there:.2f} x")
    return sorted(ratios)[1]


def main() -> None:
    """Measure, print, and say with the exit status whether the promises hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--replicas", type=int, nargs="*", default=[10, 100, 1000, 10_000])
    parser.add_argument("--quick", action="store_true", help="fewer requests, smaller fleets")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only is not None:
        print(msgspec.json.encode(update(asked.only)).decode())
        return
    before, broken = used(), []
    if importlib.util.find_spec("simpy") is None:
        print("SimPy is not installed (pip install simpy): left out")
    elif (ratio := beside_simpy(50_000 if asked.quick else 300_000)) < LEAST_RATIO:
        broken.append(f"{ratio:.2f} times SimPy's requests a second, not {LEAST_RATIO}")
    print("| Replicas | Requests | Failed | Virtual time | Processor time | Requests/s | Memory |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for replicas in (10, 100) if asked.quick else asked.replicas:
        command = [sys.executable, "-m", "benchmarks.simulator", "--only", str(replicas)]
        said = subprocess.run(command, check=True, capture_output=True)
        one = msgspec.json.decode(said.stdout, type=Measured)
        print(
            f"| {one.replicas:,} | {one.requests:,} | {one.failed} | {one.virtual_seconds:.0f} s "
            f"| {one.cpu_seconds:.1f} s | {one.requests / one.cpu_seconds:,.0f} | {one.mib} MiB |"
        )
        if replicas == 10_000 and (one.cpu_seconds > MOST_SECONDS or one.mib > MOST_MIB):
            broken.append(f"10,000 replicas took {one.cpu_seconds:.0f} s and {one.mib} MiB")
    (all_before, busy_before), (all_after, busy_after) = before, used()
    share = (busy_after - busy_before) / (all_after - all_before)
    print(f"the machine was {share:.0%} busy meanwhile, this benchmark included")
    if broken:
        raise SystemExit("not kept: " + "; ".join(broken))


if __name__ == "__main__":
    main()
