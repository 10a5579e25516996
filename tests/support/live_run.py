"""A run as its live views are told of it: a migration, a deployment under way, and failures."""

from collections.abc import Iterator
from typing import Any

from scenarios.evidence.event import Event
from scenarios.evidence.progress import PlannedStep, Progress, ReplicaView, RunHeader
from scenarios.evidence.tick import Tick

SECOND = 10**9
START = 10**12
HEADER = RunHeader(
    scenario="big-bang [red]",
    strategy="rolling",
    seed=7,
    replicas=3,
    rate=200.0,
    steps=tuple(
        PlannedStep(verb=text.split()[0], text=text)
        for text in ("migrate expand", "deploy bridge", "migrate contract", "deploy b")
    ),
)


LIMIT = {"at_most_seconds": 30.0}


def event(when: float, verb: str, state: str, number: int, **fields: Any) -> Event:
    return Event(
        at_ns=START + round(when * SECOND),
        verb=verb,
        state=state,  # type: ignore[arg-type]
        number=number,
        **fields,
    )


def tick(when: float, *, failed: int = 0, **fields: Any) -> Tick:
    return Tick(
        at_ns=START + round(when * SECOND),
        seconds=0.25,
        planned=50,
        ok=50 - failed,
        failed=failed,
        in_flight=2,
        p50_seconds=0.004,
        p99_seconds=0.012,
        failures={"sqlstate:23502": failed} if failed else {},
        served_by={"a-1": 30, "bridge-4": 20 - failed},
        **fields,
    )


def story() -> Iterator[Tick | Event | list[ReplicaView]]:
    """A migration, a deployment under way, and some failures."""
    yield event(0.0, "phase", "started", 1, detail={"name": "setup"})
    yield event(0.0, "phase", "started", 1, detail={"name": "baseline"})
    for number in range(1, 9):
        yield tick(number / 4)
    yield event(2.0, "phase", "started", 2, detail={"name": "rollout"})
    yield event(2.0, "migrate", "started", 3, detail={"migration": "0002.expand \x1b[31m"})
    yield event(2.4, "migrate", "completed", 3, seconds=0.4, detail={"migration": "0002.expand"})
    yield event(2.5, "deploy", "started", 4, version="bridge")
    yield event(2.6, "start", "started", 5, version="bridge", replicas=("bridge-4",))
    yield event(2.9, "start", "failed", 5, replicas=("bridge-4",), error="exit status 1 [b]")
    yield event(3.0, "drain", "started", 6, version="a", replicas=("a-1",), detail=LIMIT)
    yield [
        ReplicaView(id="bridge-4", version="bridge", state="up", weight=1, in_flight=3),
        ReplicaView(id="a-1", version="a", state="draining", weight=0, in_flight=1),
    ]
    yield tick(3.25, failed=5)
    yield tick(3.5, failed=7)


def feed(view: Progress) -> None:
    for item in story():
        match item:
            case Tick():
                view.on_tick(item)
            case Event():
                view.on_event(item)
            case _:
                view.on_replicas(item)
