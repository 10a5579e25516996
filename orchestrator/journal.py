"""The journal: what was done to the fleet, in order, written before anything else knows of it."""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from orchestrator.model import Event

Listener = Callable[[Event], None]


class Entry:
    """What a verb may add to the entry that ends it.

    Attributes:
        number: the verb's number.
        detail: what else is known.
        floor_seconds: how much of its time no orchestrator could have saved.
    """

    __slots__ = ("detail", "floor_seconds", "number")

    def __init__(self, number: int, detail: Mapping[str, object]) -> None:
        self.number = number
        self.detail = dict(detail)
        self.floor_seconds = 0.0


class Journal:
    """Numbered events, in order; a context manager that closes its file.

    Each event is on the disk (`fsync`) before a listener hears of it and before the verb that it
    announces begins, so that after a crash the journal knows of everything that may have happened.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        listeners: Iterable[Listener] = (),
        clock: Callable[[], int] = time.monotonic_ns,
        last_number: int = 0,
    ) -> None:
        """Open the journal.

        Args:
            path: the NDJSON file that events are appended to; absent: they are only told.
            listeners: called with each event, at once, in order; what they raise reaches the verb.
            last_number: the number of the last event that is in the file already.
            clock: the time in integer nanoseconds, as the events have it.
        """
        self._file: BinaryIO | None = path.open("ab") if path else None
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
        verb: str,
        *,
        version: str | None = None,
        replicas: Iterable[str] = (),
        error: str | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Write down something that was seen rather than done."""
        self._number += 1
        self._write(
            Event(
                at_ns=self._clock(),
                verb=verb,
                state="noted",
                number=self._number,
                version=version,
                replicas=tuple(replicas),
                error=error,
                detail=detail or {},
            )
        )

    @asynccontextmanager
    async def verb(
        self,
        verb: str,
        *,
        version: str | None = None,
        replicas: Iterable[str] = (),
        detail: Mapping[str, object] | None = None,
        encloses: bool = False,
        aside: bool = False,
    ) -> AsyncIterator[Entry]:
        """Write `started` now, and `completed` or `failed` when the block is left.

        Args:
            verb: what is done.
            version: the version that it is about.
            replicas: the ids of the replicas that it is about.
            detail: what else is known; the block may add to its entry's.
            encloses: whether other verbs happen inside; its floor is then the sum of theirs.
            aside: whether it happens beside the release, which does not wait for it.
        """
        self._number += 1
        entry = Entry(self._number, detail or {})
        start = Event(
            at_ns=self._clock(),
            verb=verb,
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
                # Whoever measured the floor may have begun a moment before our own clock.
                entry.floor_seconds = min(entry.floor_seconds, seconds)
                if not aside:
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

    def _write(self, event: Event) -> None:
        if self._file is not None:
            self._file.write(msgspec.json.encode(event) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        for listener in self._listeners:
            listener(event)


def _cause(reason: BaseException) -> str:
    # CancelledError, GeneratorExit and KeyboardInterrupt have no text, and none is a mistake.
    return "cancelled" if not isinstance(reason, Exception) else type(reason).__name__
