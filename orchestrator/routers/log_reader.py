"""A router's own log, followed while it is written and translated when all is over."""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from balancer.statistics import BOUNDS
from orchestrator.request_statistics import Latency, RequestCounts
from orchestrator.routers.exchange import COMPLETE, LogEntry, Names, Translate, exchange_of

_CHUNK = 1 << 20


@dataclass(slots=True)
class _Counter:
    requests: int = 0
    failed: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, entry: LogEntry) -> None:
        self.requests += 1
        self.failed += entry.failed
        if entry.end == COMPLETE and entry.total_ns >= 0:
            seconds = entry.total_ns / 1e9
            self.seconds += seconds
            self.buckets[bisect_left(BOUNDS, seconds)] += 1


class LogReader:
    """Follows a router's log.

    Attributes:
        names: the replicas, by what the log calls them.
    """

    def __init__(self, path: Path, translation: Callable[[], Translate]) -> None:
        """Describe the log.

        Args:
            path: it; it need not be there yet.
            translation: makes what reads its lines, anew for each reading from the beginning.
        """
        self.names = Names()
        self._path = path
        self._translation = translation
        self._translate = translation()
        self._counters: dict[str, _Counter] = {}
        self._position = 0
        self._rest = b""
        self._offset_ns = _offset_ns()

    def counts(self, in_flight: Mapping[str, int]) -> dict[str, RequestCounts]:
        """The counts of each replica, up to the log's end."""
        for line in self._new_lines():
            entry = self._translate(line)
            if entry is None or entry.backend is None:
                continue
            found = self.names.find(entry.backend, entry.at_ns)
            if found is not None:
                self._counters.setdefault(found[0], _Counter()).add(entry)
        return {
            name: _count(self._counters.get(name, _NOTHING), in_flight.get(name, 0))
            for name in {*self._counters, *in_flight}
        }

    def write(self, target: Path) -> int:
        """Translate the whole log into exchanges, a JSON line each; returns how many.

        Raises:
            OSError: the log cannot be read, or the file cannot be written.
        """
        error_ns = abs(_offset_ns() - self._offset_ns)
        translate, encoder, written = self._translation(), msgspec.json.Encoder(), 0
        with self._path.open(encoding="utf-8", errors="replace") as log, target.open("ab") as out:
            for line in log:
                # A line without its end was cut short by the router's own end.
                entry = translate(line) if line.endswith("\n") else None
                if entry is not None:
                    record = exchange_of(
                        entry, self.names, offset_ns=self._offset_ns, error_ns=error_ns
                    )
                    out.write(encoder.encode(record) + b"\n")
                    written += 1
        return written

    def _new_lines(self) -> Iterator[str]:
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self._position)
            while chunk := file.read(_CHUNK):
                self._position += len(chunk)
                *whole, self._rest = (self._rest + chunk).split(b"\n")
                for line in whole:
                    yield line.decode("utf-8", errors="replace")


_NOTHING = _Counter()


def _count(counter: _Counter, in_flight: int) -> RequestCounts:
    latency = Latency(BOUNDS, tuple(counter.buckets), counter.seconds)
    return RequestCounts(counter.requests, counter.failed, latency, in_flight)


def _offset_ns() -> int:
    """Unix time minus the monotonic clock: of several looks, the one that was disturbed least."""
    looks = []
    for _ in range(5):
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        looks.append((after - before, wall - (before + after) // 2))
    return min(looks)[1]
