"""Two questions about rollouts: how close to their floor they are, and what the judge can see.

    python -m benchmarks.rollouts [--runs 3] [--trials 400]

**Time.** Each strategy deploys a version of the small service, three replicas under light traffic,
behind the real balancer. The floor is what no orchestrator could have saved (see
`orchestrator.verb_runner.VerbRunner`); the target is 1.15 times that. The rest is shown by verb.

**Power.** The judge is drawn samples, as a canary of four steps (5, 25, 50 and 100 % of the
traffic, a second each and up to five more until there are 50 requests) would bring them. The table
says how often a canary with that fault is refused at some step, and how often a good one is: with
the default tolerance for latency, and with a fifth of it.
Latencies are log-normal (median 40 ms, sigma 0.5) in the balancer's buckets; 0.1 % of all requests
fail anyway.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path

from balancer.statistics import BOUNDS
from orchestrator.analysis import Finding, judge
from orchestrator.model import ReleaseResult, Version
from orchestrator.policy import Criteria, Policy
from orchestrator.request_statistics import Latency, RequestCounts
from orchestrator.routers.hitless import HealthCheck
from tests.support.orchestrator import RunningFleet, running_fleet

COMMAND = (
    "{python}",
    "-m",
    "scenarios.subjects.service",
    "--version",
    "{version}",
    "--port",
    "{port}",
)
STRATEGIES = ("naive", "rolling", "blue-green", "canary")
TARGET = 1.15
STEPS = (5, 25, 50, 100)
SOAK, PATIENCE, MEDIAN, SIGMA, USUAL = 1.0, 5.0, 0.040, 0.5, 0.001
FAULTS = {
    "good": (USUAL, 1.0),
    "1 % fail": (0.01, 1.0),
    "2 % fail": (0.02, 1.0),
    "5 % fail": (0.05, 1.0),
    "20 % fail": (0.20, 1.0),
    "+20 % latency": (USUAL, 1.2),
    "+50 % latency": (USUAL, 1.5),
    "+100 % latency": (USUAL, 2.0),
    "+400 % latency": (USUAL, 5.0),
}
TOLERANCES = (Criteria().latency_tolerance_seconds, Criteria().latency_tolerance_seconds / 5)
RATES = (20, 100, 500)


async def one_release(strategy: str) -> tuple[ReleaseResult, RunningFleet]:
    """One release, and the fleet that it was made on."""
    a, b = (Version(name=name, command=COMMAND) for name in "ab")
    with tempfile.TemporaryDirectory() as name:
        health = HealthCheck(path="/health")
        async with running_fleet(Path(name), Policy(), a, health=health) as scene:
            clients = scene.clients()
            async with clients.sending(2):
                return await scene.release(strategy, a, b), scene


def times(runs: int) -> bool:
    """Print how long each strategy takes; whether all are within the target."""
    print(f"{'strategy':<12}{'seconds':>9}{'floor':>8}{'ratio':>7}   where the rest goes (ms)")
    good = True
    for strategy in STRATEGIES:
        results, rest = [], defaultdict(list)
        for _ in range(runs):
            result, scene = asyncio.run(one_release(strategy))
            results.append(result)
            spent: dict[str, float] = defaultdict(float)
            for event in scene.events:
                if event.verb not in ("release", "deploy") and event.seconds is not None:
                    spent[event.verb] += event.seconds - (event.floor_seconds or 0.0)
            spent["between verbs"] = result.seconds - result.floor_seconds - sum(spent.values())
            for verb, seconds in spent.items():
                rest[verb].append(seconds)
        seconds = statistics.median(one.seconds for one in results)
        floor = statistics.median(one.floor_seconds for one in results)
        where = sorted(((statistics.median(v), verb) for verb, v in rest.items()), reverse=True)
        said = ", ".join(f"{verb} {value * 1e3:.0f}" for value, verb in where if value > 0.0005)
        good = good and seconds <= TARGET * floor
        print(f"{strategy:<12}{seconds:>9.2f}{floor:>8.2f}{seconds / floor:>7.2f}   {said}")
    return good


def drawn(chance: random.Random, requests: int, fails: float, slower: float) -> RequestCounts:
    """So many requests with that fault."""
    buckets = [0] * (len(BOUNDS) + 1)
    failed, total = 0, 0.0
    for _ in range(requests):
        failed += chance.random() < fails
        took = MEDIAN * slower * chance.lognormvariate(0, SIGMA)
        total += took
        buckets[bisect_left(BOUNDS, took)] += 1
    return RequestCounts(requests, failed, Latency(BOUNDS, tuple(buckets), total))


def refused(
    chance: random.Random, rate: float, fails: float, slower: float, criteria: Criteria
) -> bool:
    """Whether a canary with that fault is refused at some step."""
    stable = RequestCounts()
    for percent in STEPS:
        share, canary = percent / 100, RequestCounts()
        sample = criteria.minimum_requests / (rate * share)  # in seconds
        together = share < 1  # at the last step the others have no traffic any more
        spent, seconds = 0.0, max(SOAK, min(SOAK + PATIENCE, sample))
        while True:
            spent += seconds
            mine = drawn(chance, round(rate * share * seconds), fails, slower)
            theirs = drawn(chance, round(rate * (1 - share) * seconds), USUAL, 1.0)
            canary += mine
            stable += theirs if together else RequestCounts()
            # Latencies of the same time only, and anew for each look at a slow one.
            judgement = judge(
                canary._replace(latency=mine.latency),
                stable._replace(latency=theirs.latency),
                criteria,
                together=together,
            )
            if judgement.finding is not Finding.FAIL:
                break
            seconds = sample
            if not judgement.fleeting or spent + seconds > SOAK + PATIENCE:
                return True
    return False


def power(trials: int) -> None:
    """Print how often the judge refuses what."""
    for tolerance in TOLERANCES:
        criteria = Criteria(latency_tolerance_seconds=tolerance)
        head = "".join(f"{f'{rate}/s':>9}" for rate in RATES)
        print(f"\n{'the canary':<16}{head}   refused, %; {tolerance:g} s slower is tolerated")
        for name, (fails, slower) in FAULTS.items():
            cells = []
            for rate in RATES:
                chance = random.Random(f"{name} {rate}")  # noqa: S311 - reproduction, no secret
                hits = sum(refused(chance, rate, fails, slower, criteria) for _ in range(trials))
                cells.append(f"{100 * hits / trials:>9.1f}")
            print(f"{name:<16}" + "".join(cells))


def main() -> int:
    """ProbeResult both questions; exit status 1 if a strategy is over its target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=3, help="releases of each strategy")
    parser.add_argument("--trials", type=int, default=400, help="canaries of each kind")
    given = parser.parse_args()
    good = times(given.runs)
    power(given.trials)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
