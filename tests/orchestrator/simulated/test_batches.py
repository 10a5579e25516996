"""Batches: the same counts as request by request."""

from typing import Any

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from orchestrator.errors import OrchestratorError
from orchestrator.simulated.request import Handling
from orchestrator.simulated.world_settings import (
    Breaks,
    Endpoint,
    MigrationModel,
    ReplicaModel,
    Spread,
    World,
)
from orchestrator.termination import TerminationPolicy
from tests.support.simulated import release

TERMINATIONS = (
    TerminationPolicy(),
    TerminationPolicy(order="together", deregistration_lag_seconds=(0.1, 0.4)),
    TerminationPolicy(order="checks-only", pre_stop_seconds=0.2),
    TerminationPolicy(order="stop-first"),
)


@example(
    replicas=39,
    rate=2999,
    strategy="rolling",
    termination=TERMINATIONS[1],
    retry=False,
    spread=1.0,
    workers=1,
    endpoints=1,
    crash_rate=0.0,
    seed=0,
)
@settings(max_examples=15, deadline=None)
@given(
    replicas=st.integers(2, 40),
    rate=st.integers(100, 3000),
    strategy=st.sampled_from(["naive", "rolling", "blue-green", "canary"]),
    termination=st.sampled_from(TERMINATIONS),
    retry=st.booleans(),
    spread=st.sampled_from([1.0, 1.8]),
    workers=st.integers(1, 8),
    endpoints=st.integers(1, 3),
    crash_rate=st.sampled_from([0.0, 15.0]),
    seed=st.integers(0, 99),
)
def test_both_ways_count_the_same(  # noqa: PLR0917 - hypothesis names them
    replicas: int,
    rate: int,
    strategy: str,
    termination: TerminationPolicy,
    retry: bool,  # noqa: FBT001
    spread: float,
    workers: int,
    endpoints: int,
    crash_rate: float,
    seed: int,
) -> None:
    """What became of the requests, and who answered them, is the same in batches and one by one."""
    kinds = [
        Endpoint(name=f"GET /{n}", weight=n + 1.0, service_factor=1 + n) for n in range(endpoints)
    ]
    world = World(
        replica=ReplicaModel(
            service_seconds=Spread(median=0.002, spread=spread),
            workers=workers,
            crash_rate=crash_rate,
        ),
        endpoints=tuple(kinds),
    )
    how: dict[str, Any] = {
        "strategy": strategy,
        "world": world,
        "rate": float(rate),
        "seed": seed,
        "policy": {"replicas": replicas, "max_surge": "30%", "termination": termination},
        "handling": Handling(retry=retry),
        "passive_checks": retry,
    }
    try:
        alone = release(batches=False, **how)
    except OrchestratorError:
        reject()  # a replica of the first version crashed before it served
    many = release(batches=True, **how)
    assert many.account.ends == alone.account.ends
    assert many.account.by_backend == alone.account.by_backend
    assert many.account.failed == alone.account.failed
    assert many.result == alone.result
    assert [one.at_ns for one in many.events] == [one.at_ns for one in alone.events]


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
    for batches in (False, True):
        seen = release(strategy="canary", rate=600.0, world=world, batches=batches)
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
