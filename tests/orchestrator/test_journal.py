"""The journal is complete, ordered, and on the disk before what it announces begins."""

import asyncio
import os
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path

import msgspec
import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.journal import Journal
from orchestrator.model import JournalEvent
from orchestrator.policy import HOOKED
from orchestrator.verbs import VERBS
from scenarios.evidence.run_folder import RunFolder


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
    start, end, note = RunFolder(tmp_path).events.read()
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
    events: list[JournalEvent] = []
    journal = Journal(listeners=[events.append])
    with pytest.raises(type(error)):
        async with journal.verb("start"):
            raise error
    assert [(event.state, event.error) for event in events] == [("started", None), ("failed", text)]


async def test_the_disk_knows_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is synced to the disk before a listener gets it and before its verb begins."""
    path = tmp_path / "events.ndjson"
    order: list[tuple[str, bytes]] = []
    fsync = os.fsync

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        order.append(("synced", path.read_bytes()))

    def listen(event: JournalEvent) -> None:
        assert msgspec.json.decode(path.read_bytes().splitlines()[-1], type=JournalEvent) == event
        order.append(("heard", path.read_bytes()))

    monkeypatch.setattr(os, "fsync", synced)
    with Journal(path, listeners=[listen]) as journal:
        async with journal.verb("stop"):
            order.append(("begun", path.read_bytes()))
        journal.note("replica")
    steps = [step for step, _ in order]
    assert steps == ["synced", "heard", "begun", "synced", "heard", "synced", "heard"]
    # What was synced is what the listener then reads: nothing was still on its way.
    assert all(before[1] == after[1] for before, after in pairwise(order) if after[0] == "heard")


async def test_a_full_disk_stops_a_verb() -> None:
    """When an event cannot be written, its verb does not begin, and one line says why."""
    heard: list[JournalEvent] = []
    begun = False
    with (
        Journal(Path("/dev/full"), listeners=[heard.append]) as journal,
        pytest.raises(EnvironmentFailure, match="/dev/full cannot be written: No space left"),
    ):
        async with journal.verb("stop"):
            begun = True
    assert (begun, heard) == (False, [])


async def test_the_vocabulary_is_complete() -> None:
    """A verb that the vocabulary lacks is refused before anything is written."""
    heard: list[JournalEvent] = []
    journal = Journal(listeners=[heard.append])
    with pytest.raises(ValueError, match="'frobnicate' is no verb of the journal"):
        journal.note("frobnicate")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'frobnicate' is no verb of the journal"):
        async with journal.verb("frobnicate"):  # type: ignore[arg-type]
            pass
    assert heard == []


def test_hooks_are_for_verbs_of_the_vocabulary() -> None:
    """A policy can only name hooks before and after verbs that the journal has."""
    assert set(HOOKED) <= VERBS


async def test_the_floor_is_a_sum_and_never_above_the_time() -> None:
    """A verb around others has the sum of their floors, and none is above the time it took."""
    events: list[JournalEvent] = []
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
