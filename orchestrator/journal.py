"""The journal: everything that was done to the fleet, in order, on disk before it is announced."""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from orchestrator.clock import monotonic_ns
from orchestrator.errors import EnvironmentFailure
from orchestrator.model import JournalEvent, State
from orchestrator.verbs import Verb, verb_named

Listener = Callable[[JournalEvent], None]


class JournalEntry:
    """What the body of a verb can add to the verb's last event.

    Attributes:
        number: the verb's number.
        detail: further facts, as JSON values by name.
        floor_seconds: the part of its time that no orchestrator could have saved.
    """

    __slots__ = ("detail", "floor_seconds", "number")

    def __init__(self, number: int, detail: Mapping[str, object]) -> None:
        self.number = number
        self.detail = dict(detail)
        self.floor_seconds = 0.0


class Journal:
    """Numbered events, in order; a context manager that closes its file.

    Each event is on disk (`fsync`) before a listener gets it and before the verb that it announces
    begins. So after a crash the journal names everything that may have happened.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        listeners: Iterable[Listener] = (),
        clock: Callable[[], int] = monotonic_ns,
        last_number: int = 0,
    ) -> None:
        """Open the journal.

        Args:
            path: the NDJSON file that events are appended to; absent: only the listeners get them.
            listeners: called with each event, in order; an error that they raise ends the verb.
            last_number: the number of the last event that the file already has.
            clock: the time in integer nanoseconds, for `at_ns`.
        """
        self._file: FileIO | None = path.open("ab", buffering=0) if path else None
        self._listeners = tuple(listeners)
        self._clock = clock
        self._number = last_number
        self.floor_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def note(
        self,
        verb: Verb,
        *,
        version: str | None = None,
        replicas: Iterable[str] = (),
        error: str | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Record something that was observed, not done.

        Raises:
            ValueError: the verb is not in `orchestrator.verbs`.
        """
        self._number += 1
        self._write(
            JournalEvent(
                at_ns=self._clock(),
                verb=verb_named(verb),
                state="noted",
                number=self._number,
                version=version,
                replicas=tuple(replicas),
                error=error,
                detail=detail or {},
            )
        )

    def observed(
        self,
        verb: Verb,
        state: State,
        *,
        at_ns: int,
        number: int | None = None,
        version: str | None = None,
        replicas: Iterable[str] = (),
        error: str | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> int:
        """Record what somebody else did, with the time at which it happened; returns its number.

        Args:
            verb: what was done.
            state: whether it has begun, ended, or only happened.
            at_ns: when.
            number: that of the verb's first event, in its last one; None: a new one.
            version: the version that it is about.
            replicas: the ids of the replicas that it is about.
            error: why it failed.
            detail: further facts.

        Raises:
            ValueError: the verb is not in `orchestrator.verbs`.
        """
        if number is None:
            self._number += 1
            number = self._number
        self._write(
            JournalEvent(
                at_ns=at_ns,
                verb=verb_named(verb),
                state=state,
                number=number,
                version=version,
                replicas=tuple(replicas),
                error=error,
                detail=detail or {},
            )
        )
        return number

    @asynccontextmanager
    async def verb(
        self,
        verb: Verb,
        *,
        version: str | None = None,
        replicas: Iterable[str] = (),
        detail: Mapping[str, object] | None = None,
        encloses: bool = False,
        background: bool = False,
    ) -> AsyncIterator[JournalEntry]:
        """Record `started` now, and `completed` or `failed` at the end of the block.

        Args:
            verb: what is done.
            version: the version that it is about.
            replicas: the ids of the replicas that it is about.
            detail: further facts; the block can add to them in the entry.
            encloses: whether other verbs run inside; its floor is then the sum of theirs.
            background: whether it runs beside the release, which does not wait for it.

        Raises:
            ValueError: the verb is not in `orchestrator.verbs`.
        """
        self._number += 1
        entry = JournalEntry(self._number, detail or {})
        start = JournalEvent(
            at_ns=self._clock(),
            verb=verb_named(verb),
            state="started",
            number=entry.number,
            version=version,
            replicas=tuple(replicas),
            detail=dict(entry.detail),
        )
        floor_before = self.floor_seconds
        error: str | None = None
        self._write(start)
        try:
            yield entry
        except BaseException as reason:
            error = str(reason) or _cause(reason)
            raise
        finally:
            now = self._clock()
            seconds = (now - start.at_ns) / 1e9
            if encloses:
                entry.floor_seconds = self.floor_seconds - floor_before
            else:
                # The floor may have been measured from a moment before `started`.
                entry.floor_seconds = min(entry.floor_seconds, seconds)
                if not background:
                    self.floor_seconds += entry.floor_seconds
            self._write(
                msgspec.structs.replace(
                    start,
                    at_ns=now,
                    state="completed" if error is None else "failed",
                    seconds=seconds,
                    floor_seconds=entry.floor_seconds,
                    error=error,
                    detail=entry.detail,
                )
            )

    def _write(self, event: JournalEvent) -> None:
        if self._file is not None:
            try:
                # Unbuffered, so that a full disk is noticed here and not when the file is closed.
                line = msgspec.json.encode(event) + b"\n"
                while line:
                    line = line[self._file.write(line) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                raise EnvironmentFailure(
                    f"the journal {self._file.name} cannot be written: {error.strerror}"
                ) from error
        for listener in self._listeners:
            listener(event)


class SetJournal(Journal):
    """The journal of a set of processes beside the web: its events go to the run's journal.

    Each event has the name of the set in `detail`, as `processes`.
    """

    def __init__(self, journal: Journal, name: str, *, in_turn: bool) -> None:
        """Write to another journal.

        Args:
            journal: the run's journal.
            name: the name of the set.
            in_turn: whether the release waits for the set, so that its floors count.
        """
        super().__init__()
        self._journal = journal
        self._name = name
        self._in_turn = in_turn

    def note(
        self,
        verb: Verb,
        *,
        version: str | None = None,
        replicas: Iterable[str] = (),
        error: str | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Record something that was observed, not done."""
        detail = {**(detail or {}), "processes": self._name}
        self._journal.note(verb, version=version, replicas=replicas, error=error, detail=detail)

    @asynccontextmanager
    async def verb(
        self,
        verb: Verb,
        *,
        version: str | None = None,
        replicas: Iterable[str] = (),
        detail: Mapping[str, object] | None = None,
        encloses: bool = False,
        background: bool = False,
    ) -> AsyncIterator[JournalEntry]:
        """Record `started` now, and `completed` or `failed` at the end of the block."""
        async with self._journal.verb(
            verb,
            version=version,
            replicas=replicas,
            detail={**(detail or {}), "processes": self._name},
            encloses=encloses,
            background=background or not self._in_turn,
        ) as entry:
            yield entry


def _cause(reason: BaseException) -> str:
    # CancelledError, GeneratorExit and KeyboardInterrupt have no text and are no errors.
    return "cancelled" if not isinstance(reason, Exception) else type(reason).__name__
