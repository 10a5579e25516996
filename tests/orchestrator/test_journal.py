"""The journal is complete, ordered, and on the disk before what it announces begins."""

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest

from orchestrator.journal import Journal
from orchestrator.model import Event
from scenarios.evidence.event import read_events


def ticking() -> Iterator[int]:
    return count(1_000_000_000, 1_000_000_000)


async def test_a_verb_that_succeeds(tmp_path: Path) -> None:
    """A verb is written at its start and at its end, with its time and what it found out."""
    clock = ticking()
    with Journal(tmp_path / "events.ndjson", clock=lambda: next(clock)) as journal:
        async with journal.verb("drain", version="a", replicas=["a-1"]) as entry:
            entry.detail["cut"] = 0
            entry.floor_seconds = 0.25
        journal.note("replica", replicas=["a-1"], error="exited with status 1")
    start, end, note = read_events(tmp_path / "events.ndjson")
    assert (start.state, start.number, start.at_ns, start.seconds) == ("started", 1, 10**9, None)
    assert (end.state, end.number, end.seconds, end.floor_seconds) == ("completed", 1, 1.0, 0.25)
    assert (end.verb, end.version, end.replicas, end.detail) == ("drain", "a", ("a-1",), {"cut": 0})
    assert (note.state, note.number, note.error) == ("noted", 2, "exited with status 1")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "no"),
        (KeyError(), "KeyError"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
async def test_a_verb_that_fails(error: BaseException, text: str) -> None:
    """A verb that fails, or is cancelled, ends as failed with the reason, and the error goes on."""
    events: list[Event] = []
    journal = Journal(listeners=[events.append])
    with pytest.raises(type(error)):
        async with journal.verb("start"):
            raise error
    assert [(event.state, event.error) for event in events] == [("started", None), ("failed", text)]


async def test_the_disk_knows_first(tmp_path: Path) -> None:
    """Whoever hears of an event can read it in the file already."""
    path = tmp_path / "events.ndjson"
    heard = []

    def listen(event: Event) -> None:
        last = path.read_bytes().splitlines()[-1]
        assert msgspec.json.decode(last, type=Event) == event
        heard.append(event.state)

    with Journal(path, listeners=[listen]) as journal:
        async with journal.verb("stop"):
            assert heard == ["started"]
    assert heard == ["started", "completed"]


async def test_the_floor_is_a_sum_and_never_above_the_time() -> None:
    """A verb around others has the sum of their floors, and none is above the time it took."""
    events: list[Event] = []
    clock = ticking()
    journal = Journal(listeners=[events.append], clock=lambda: next(clock))
    async with journal.verb("release", encloses=True):
        async with journal.verb("soak") as entry:
            entry.floor_seconds = 0.5
        async with journal.verb("wait_ready") as entry:
            entry.floor_seconds = 99.0
        async with journal.verb("stop"):
            pass
    floors = {e.verb: e.floor_seconds for e in events if e.state == "completed"}
    assert floors == {"soak": 0.5, "wait_ready": 1.0, "stop": 0.0, "release": 1.5}
    assert journal.floor_seconds == 1.5
