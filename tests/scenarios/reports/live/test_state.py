"""What the live views know of a run, from its events and ticks."""

from typing import Any

import pytest

from scenarios.evidence.progress import ReplicaView
from scenarios.evidence.tick import Tick
from scenarios.reports.live.state import LiveState
from tests.support.live_run import HEADER, LIMIT, SECOND, START, event, tick


def test_state_knows_the_step() -> None:
    """Migrations in a row are one step; a deployment is the next."""
    state = LiveState(HEADER)
    assert state.step is None
    seen = []
    for number, verb in enumerate(
        ["release", "migrate", "migrate", "deploy", "start", "migrate", "deploy"]
    ):
        state.event(event(float(number), verb, "started", number))
        seen.append(state.step)
    assert seen == [
        None,
        (1, "migrate expand"),
        (1, "migrate expand"),
        (2, "deploy bridge"),
        (2, "deploy bridge"),
        (3, "migrate contract"),
        (4, "deploy b"),
    ]


def test_workers_are_deployed_within_the_step_of_the_web() -> None:
    """The deployment of a set of processes, or of a service of a step, is no step of its own."""
    state = LiveState(HEADER)
    state.event(event(0.0, "deploy", "started", 1))
    step = state.step
    state.event(event(1.0, "deploy", "started", 2, detail={"processes": "worker"}))
    assert state.step == step


def test_shares_by_version() -> None:
    """The traffic's split is by version, of the last second."""
    state = LiveState(HEADER)
    state.tick(tick(1.0))
    assert state.shares == {"a": 0.6, "bridge": 0.4}
    for when in (2.0, 2.25, 2.5, 2.75):
        state.tick(Tick(at_ns=START + round(when * SECOND), seconds=0.25, served_by={"b-7": 1}))
    assert state.shares == {"b": 1.0}


@pytest.mark.parametrize("width", [1, 10, 60, 500])
def test_columns_hold_the_whole_run(width: int) -> None:
    """However narrow the screen, the columns hold every request of the run."""
    state = LiveState(HEADER)
    for number in range(1, 400):
        state.tick(tick(number / 4, failed=number % 3))
    columns = state.columns(width)
    assert len(columns) <= width
    assert sum(column.ok for column in columns) == state.ok
    assert sum(column.failed for column in columns) == state.failed


def test_replicas_are_known_before_the_router_knows_them() -> None:
    """The table has a replica from its start to its end, with how it came and how old it is."""
    state = LiveState(HEADER)
    about = {"version": "b", "replicas": ("b-7",)}
    state.event(event(1.0, "start", "started", 1, **about))
    healed = {"reason": "it died", "successor": "b-7"}
    state.event(event(1.1, "heal", "completed", 9, replicas=("b-3",), detail=healed))
    assert [line.id for line in state.lines] == ["b-7"]
    state.event(event(2.5, "drain", "started", 2, version="a", replicas=("a-1",)))
    (line,) = state.lines
    assert (line.id, line.version, line.state, line.ready_after) == ("b-7", "b", "starting", None)
    assert (line.age, line.restarts, line.weight) == (1.5, 1, None)
    state.event(event(3.0, "wait_ready", "completed", 3, **about))
    state.replicas = (ReplicaView(id="b-7", version="b", state="up", weight=1, in_flight=3),)
    (line,) = state.lines
    assert (line.state, line.ready_after, line.in_flight) == ("up", 2.0, 3)
    assert state.wanted == {"b": 1.0}
    state.event(event(4.0, "replica", "noted", 4, error="killed by SIGKILL", **about))
    assert [line.state for line in state.lines] == ["died"]
    state.event(event(5.0, "stop", "started", 5, **about))
    state.event(event(5.5, "stop", "completed", 5, **about))
    state.replicas = ()
    assert state.lines == []


def test_a_soak_counts_down() -> None:
    """What lasts a known time says how much of it is left; a migration says how long it takes."""
    state = LiveState(HEADER)
    state.event(event(1.0, "soak", "started", 1, detail={"lasts_seconds": 5.0}))
    state.event(event(3.0, "phase", "started", 2))
    doing = state.doing
    assert doing is not None
    assert (doing.text, doing.seconds, doing.lasts, doing.at_most) == ("soak", 2.0, 5.0, None)


def test_a_migration_taken_back_is_not_applied() -> None:
    """The schema is what was applied and not rolled back."""
    state = LiveState(HEADER)
    for number, (name, direction) in enumerate(
        [("0001", "apply"), ("0002", "apply"), ("0002", "rollback")]
    ):
        detail = {"migration": name, "direction": direction}
        state.event(event(number, "migrate", "started", number, detail=detail))
        state.event(event(number, "migrate", "completed", number, detail=detail))
    assert state.migrations == ["0001"]


@pytest.mark.parametrize(
    ("verb", "detail", "waits"),
    [
        ("start", {}, "its process"),
        ("wait_ready", LIMIT, "being ready, ≤ 29 s"),
        ("soak", {"lasts_seconds": 5.0}, "good answers, 4.0 s"),
        ("drain", LIMIT, "3 requests, ≤ 29 s"),
        ("stop", LIMIT, "its end, ≤ 29 s"),
        ("weigh", {}, "the router"),
    ],
)
def test_each_replica_says_what_it_waits_for(verb: str, detail: dict[str, Any], waits: str) -> None:
    """What the verb waits for that is about it, and for how long at most."""
    state = LiveState(HEADER)
    state.replicas = (ReplicaView(id="b-7", version="b", state="up", weight=1, in_flight=3),)
    state.event(event(1.0, "deploy", "started", 1, replicas=("b-7",)))
    assert [line.waits_for for line in state.lines] == [""]
    state.event(event(1.0, verb, "started", 2, replicas=("b-7",), detail=detail))
    state.event(event(2.0, "phase", "started", 3))
    assert [line.waits_for for line in state.lines] == [waits]
    state.event(event(2.5, verb, "completed", 2, replicas=("b-7",)))
    assert [line.waits_for for line in state.lines if line.id == "b-7" and line.waits_for] == []
