"""Follows the logs of a run's replicas, and records the errors in them with their times."""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from scenarios.evidence.logged_error import LoggedError
from scenarios.evidence.recorder import Recorder
from scenarios.recording.error_block import ErrorBlock
from scenarios.recording.error_blocks import ErrorBlocks

LOOK_SECONDS = 0.2
"""How often the logs are looked at; an error without a time of its own is stamped as exactly."""

MOST_ERRORS = 20_000
"""So many errors are recorded; `LogFollower.left_out` counts the rest."""

_SLACK_NS = 2_000_000_000
_AT_ONCE = 1 << 20
_STAMP = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(?:[.,](?P<part>\d{1,9}))?"
    r"(?P<zone>Z|[+-]\d\d:?\d\d)?"
)


def stamp_of(text: str, read_ns: int, wall_to_monotonic_ns: int) -> int:
    """When a line was written: its own stamp if it can be right, else when it was read.

    A stamp without a zone may be local time or UTC; a stamp can be right if it lies before the
    instant of reading, by no more than two seconds.

    Args:
        text: the line.
        read_ns: when it was read, on the monotonic clock.
        wall_to_monotonic_ns: what to add to nanoseconds since 1970 to get the monotonic clock.
    """
    match = _STAMP.search(text)
    if match is None:
        return read_ns
    part = (match["part"] or "").ljust(9, "0")
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{match['time']}")
        zone = match["zone"]
        zoned = datetime.fromisoformat(f"{moment.isoformat()}{zone}") if zone else None
        candidates = [zoned] if zoned else [moment.replace(tzinfo=UTC), moment.astimezone()]
    except (ValueError, OverflowError):  # such as the zero time of Go, in the year 1
        return read_ns
    for candidate in candidates:
        at_ns = round(candidate.timestamp()) * 1_000_000_000 + int(part) + wall_to_monotonic_ns
        if read_ns - _SLACK_NS <= at_ns <= read_ns:
            return at_ns
    return read_ns


class LogFollower:
    """The errors of one log, as the log grows.

    Attributes:
        source: whose log it is.
    """

    def __init__(self, source: str, path: Path, wall_to_monotonic_ns: int) -> None:
        self.source = source
        self._path = path
        self._offset = 0
        self._rest = b""
        self._blocks = ErrorBlocks()
        self._wall_to_monotonic_ns = wall_to_monotonic_ns

    def read(self, now_ns: int) -> list[LoggedError]:
        """The errors in what was written since the last time; a log that is gone has none.

        Args:
            now_ns: the instant, on the monotonic clock.
        """
        found, grown = self._grown(now_ns)
        if not grown and not self._rest and self._blocks.has_said_all:
            found += (
                told(block, self.source, now_ns, self._wall_to_monotonic_ns)
                for block in self._blocks.flush()
            )
        return found

    def close(self, now_ns: int) -> list[LoggedError]:
        """The errors in what is left, the last line without an end included."""
        found, _ = self._grown(now_ns)
        text = self._rest.decode("utf-8", "replace")
        self._rest = b""
        blocks = [*self._blocks.feed(text), *self._blocks.flush()]
        return found + [
            told(block, self.source, now_ns, self._wall_to_monotonic_ns) for block in blocks
        ]

    def _grown(self, now_ns: int) -> tuple[list[LoggedError], bool]:
        """The errors that ended in what was written since, and whether anything was."""
        found: list[LoggedError] = []
        grown = False
        while data := self._next():
            grown = True
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                text = line.decode("utf-8", "replace")
                found += (
                    told(block, self.source, now_ns, self._wall_to_monotonic_ns)
                    for block in self._blocks.feed(text)
                )
        return found, grown

    def _next(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(_AT_ONCE)
        except OSError:
            return b""
        self._offset += len(data)
        return data


def told(block: ErrorBlock, source: str, now_ns: int, wall_to_monotonic_ns: int) -> LoggedError:
    """The record of one error in a log.

    Args:
        block: the error.
        source: the log that has it.
        now_ns: when it was read, on the monotonic clock.
        wall_to_monotonic_ns: what to add to nanoseconds since 1970 to get the monotonic clock.
    """
    return LoggedError(
        at_ns=stamp_of(block.context, now_ns, wall_to_monotonic_ns),
        source=source,
        language=block.language,
        type=block.type,
        message=block.message,
        root=block.root,
        sqlstate=block.sqlstate,
        request_id=block.request_id,
        place=block.place,
    )


class Follower(Protocol):
    """A log that is read while it grows."""

    def read(self, now_ns: int, /) -> list[LoggedError]:
        """The errors in what was written since the last time."""

    def close(self, now_ns: int, /) -> list[LoggedError]:
        """The errors in what is left."""


class ReplicaLogs:
    """All logs of a run that are followed.

    Attributes:
        left_out: how many errors were not recorded since there were too many.
    """

    def __init__(
        self,
        path: Path,
        logs: Callable[[], Mapping[str, Path]],
        others: Sequence[Follower] = (),
    ) -> None:
        """Say where the evidence goes, and what to ask for the logs by the names of their sources.

        Args:
            path: the evidence file.
            logs: gives the logs that there are now.
            others: logs of other kinds, which are followed as well.
        """
        self._others = others
        self.left_out = 0
        self._path = path
        self._logs = logs
        self._followers: dict[str, LogFollower] = {}
        self._wall_to_monotonic_ns = time.monotonic_ns() - time.time_ns()

    async def follow(self) -> None:
        """Read the logs five times a second until cancelled; what is left is read then."""
        with Recorder[LoggedError](self._path) as recorder:
            try:
                while True:
                    self._look(recorder, lambda log, now_ns: log.read(now_ns))
                    await asyncio.sleep(LOOK_SECONDS)
            finally:
                self._look(recorder, lambda log, now_ns: log.close(now_ns))

    def _look(
        self,
        recorder: Recorder[LoggedError],
        read: Callable[[Follower, int], Iterable[LoggedError]],
    ) -> None:
        followers: list[Follower] = list(self._others)
        for source, path in self._logs().items():
            follower = self._followers.get(source)
            if follower is None:
                follower = LogFollower(source, path, self._wall_to_monotonic_ns)
                self._followers[source] = follower
            followers.append(follower)
        for one in followers:
            for error in read(one, time.monotonic_ns()):
                if recorder.count < MOST_ERRORS:
                    recorder.write(error)
                else:
                    self.left_out += 1
