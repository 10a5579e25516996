"""Batches: the same as request by request."""

import secrets
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from orchestrator.errors import OrchestratorError
from orchestrator.simulated import batches
from orchestrator.simulated.request import Handling
from orchestrator.simulated.world_settings import (
    Breaks,
    Endpoint,
    MigrationModel,
    Network,
    ReplicaModel,
    Spread,
    World,
)
from orchestrator.termination import TerminationPolicy
from tests.support.any_run import any_run
from tests.support.simulated import Simulated, carried_out, release

TERMINATIONS = (
    TerminationPolicy(),
    TerminationPolicy(order="together", deregistration_lag_seconds=(0.1, 0.4)),
    TerminationPolicy(order="checks-only", pre_stop_seconds=0.2),
    TerminationPolicy(order="stop-first"),
)


USUAL: dict[str, Any] = {
    "replicas": 12,
    "rate": 2000.0,
    "even": False,
    "strategy": "naive",
    "termination": TERMINATIONS[0],
    "retry": False,
    "service": 0.002,
    "spread": 1.0,
    "workers": 4,
    "endpoints": 1,
    "delay": 0.0002,
    "keep_alive": 75.0,
    "timeout": 10.0,
    "crash_rate": 0.0,
    "seed": 1,
}


def both_ways(monkeypatch: pytest.MonkeyPatch, **drawn: Any) -> tuple[Simulated, Simulated]:
    """The same release request by request, and in batches however short the steady stretches are.

    Raises:
        OrchestratorError: a replica of the first version ended before it served.
    """
    monkeypatch.setattr(batches, "_LEAST", 4)
    monkeypatch.setattr(batches, "_FEWEST", 1)
    endpoints = tuple(
        Endpoint(name=f"GET /{n}", weight=n + 1.0, service_factor=1 + n)
        for n in range(drawn["endpoints"])
    )
    replica = ReplicaModel(
        service_seconds=Spread(median=drawn["service"], spread=drawn["spread"]),
        workers=drawn["workers"],
        keep_alive_seconds=drawn["keep_alive"],
        crash_rate=drawn["crash_rate"],
    )
    how: dict[str, Any] = {
        "strategy": drawn["strategy"],
        "world": World(
            replica=replica, endpoints=endpoints, network=Network(delay_seconds=drawn["delay"])
        ),
        "rate": drawn["rate"],
        "even": drawn["even"],
        "seed": drawn["seed"],
        "timeout_seconds": drawn["timeout"],
        "policy": {
            "replicas": drawn["replicas"],
            "max_surge": "30%",
            "termination": drawn["termination"],
        },
        "handling": Handling(retry=drawn["retry"]),
        "passive_checks": drawn["retry"],
        "baseline_seconds": 1.0,
        "settle_seconds": 0.5,
    }
    return release(batches=False, **how), release(batches=True, **how)


def agree(alone: Simulated, many: Simulated) -> None:
    """Both ways lead to the same, to the nanosecond."""
    assert many.account.ends == alone.account.ends
    assert many.account.by_backend == alone.account.by_backend
    assert many.account.failed == alone.account.failed
    assert many.counters == alone.counters
    assert many.result == alone.result
    assert [one.at_ns for one in many.events] == [one.at_ns for one in alone.events]


# The number of kept connections decides whether the last requests to a replica that stops are
# refused or lost.
@example(USUAL | {"replicas": 2, "rate": 2175.0})
@example(USUAL | {"replicas": 2, "rate": 2175.0, "retry": True})
@example(USUAL | {"replicas": 2, "rate": 2175.0, "workers": 3})
@example(USUAL | {"replicas": 2, "rate": 2175.0, "workers": 3, "retry": True})
@example(
    USUAL
    | {"replicas": 39, "rate": 2999.0, "strategy": "rolling", "termination": TERMINATIONS[1]}
    | {"workers": 1, "seed": 0}
)
# Arrivals, answers, stops and health checks at the same instants.
@example(USUAL | {"rate": 1000.0, "even": True, "service": 0.001, "delay": 0.0})
@example(USUAL | {"rate": 1000.0, "even": True, "service": 0.02, "delay": 0.001, "workers": 2})
# Replicas that close connections while requests are on their way, and users who give up.
@example(USUAL | {"rate": 1000.0, "even": True, "keep_alive": 0.012})
@example(USUAL | {"rate": 1000.0, "keep_alive": 0.014, "delay": 0.002})
@example(USUAL | {"spread": 1.8, "timeout": 0.004})
@example(USUAL | {"service": 0.0, "delay": 0.0})
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.fixed_dictionaries(
        {
            "replicas": st.integers(1, 40),
            "rate": st.one_of(
                st.sampled_from([250.0, 500.0, 1000.0, 2000.0]), st.integers(100, 2500).map(float)
            ),
            "even": st.booleans(),
            "strategy": st.sampled_from(["naive", "rolling", "blue-green", "canary"]),
            "termination": st.sampled_from(TERMINATIONS),
            "retry": st.booleans(),
            "service": st.sampled_from([0.0, 0.001, 0.002, 0.0073]),
            "spread": st.sampled_from([1.0, 1.8]),
            "workers": st.integers(1, 8),
            "endpoints": st.integers(1, 3),
            "delay": st.sampled_from([0.0, 0.0002, 0.001]),
            "keep_alive": st.sampled_from([75.0, 75.0, 0.5, 0.05]),
            "timeout": st.sampled_from([10.0, 10.0, 0.02]),
            "crash_rate": st.sampled_from([0.0, 15.0]),
            "seed": st.integers(0, 99),
        }
    )
)
def test_both_ways_are_the_same(monkeypatch: pytest.MonkeyPatch, drawn: dict[str, Any]) -> None:
    """What became of each request, and who answered it, is the same in batches and one by one."""
    try:
        alone, many = both_ways(monkeypatch, **drawn)
    except OrchestratorError:
        reject()
    agree(alone, many)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_any_run_is_the_same_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, for runs of any kind: faults, migrations, crashes, scaling, ties of all sorts.

    It tries other ones each time; one that fails is named by its seed.
    """
    monkeypatch.setattr(batches, "_LEAST", 4)
    monkeypatch.setattr(batches, "_FEWEST", 1)
    tried, batched = 0, 0
    first = secrets.randbelow(1 << 40)
    for seed in range(first, first + 600):
        run = any_run(seed)
        try:
            alone = carried_out(run)
        except OrchestratorError:
            continue
        many = carried_out(replace(run, batches=True))
        try:
            agree(alone, many)
        except AssertionError as error:
            raise AssertionError(f"any_run({seed})") from error
        tried, batched = tried + 1, batched + many.batched
    assert tried > 300
    assert batched > 100_000


def test_most_of_a_calm_run_is_batched() -> None:
    """A run in which little happens does go in batches, or it would not be quick."""
    seen = release(
        batches=True, rate=5000.0, baseline_seconds=20.0, world=World(), policy={"replicas": 50}
    )
    assert seen.batched > 0.9 * seen.planned
    assert seen.account.ends == {"200": seen.planned}


def test_latencies_are_counted_alike() -> None:
    """A canary is judged by the same numbers: slow replicas are found in both ways."""
    world = World(versions={"b": ReplicaModel(service_seconds=0.4)})
    for many in (False, True):
        seen = release(strategy="canary", rate=600.0, world=world, batches=many)
        assert seen.result.outcome == "rolled_back"
        assert "the slower one" in (seen.result.reason or "")


@pytest.mark.parametrize(
    "world",
    [
        World(breaks=(Breaks(version="a"),)),
        World(endpoints=(Endpoint(name="POST /"),)),
        World(
            endpoints=(Endpoint(name="GET /", lock="t"),),
            migrations=(MigrationModel(name="m", locks="t"),),
        ),
        World(replica=ReplicaModel(workers=1, service_seconds=0.028)),
    ],
    ids=["it answers with errors", "a POST", "a lock", "a busy replica"],
)
def test_what_is_individual_is_not_batched(world: World) -> None:
    """Where the fate of requests is individual, nothing goes in batches."""
    seen = release(batches=True, rate=100.0, world=world)
    assert seen.batched == 0
