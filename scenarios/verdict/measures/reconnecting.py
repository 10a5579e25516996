"""How clients that reconnect fared: their gaps, what they missed, and their storm. Pure."""

from collections import Counter, deque
from collections.abc import Iterable
from statistics import median

from scenarios.evidence.outcome import Outcome
from scenarios.verdict.columns.requests import Batch, RequestColumns
from scenarios.verdict.model.reconnects import Streams

_SECOND = 1_000_000_000
_OPENED = (101, 200)
"""The statuses that open a websocket, and a stream of events."""


class StreamTally:
    """What is known of connections that servers ended, and of those that were opened again."""

    def __init__(self, columns: RequestColumns) -> None:
        self._columns = columns
        self._closed: list[tuple[str, int, int]] = []  # the request, when it was closed, the code
        self._reopened: list[tuple[str, int, int | None]] = []  # what it continues, sent, opened
        self._missed = 0

    def add(self, batch: Batch) -> None:
        """Take note of a batch of requests; only those whose user stays connected matter."""
        if any(self._columns.kinds[number].paced for number in batch.counts):
            self.take(batch.rows)

    def take(self, rows: Iterable[Outcome]) -> None:
        """Take note of requests."""
        for one in rows:
            if one.closed is not None:
                self._closed.append((one.request_id, one.done_ns, one.closed))
            if one.reopens and one.cause_id is not None:
                opened = one.first_byte_ns if one.status in _OPENED else None
                self._reopened.append((one.cause_id, one.sent_ns or one.planned_ns, opened))
            self._missed += one.missed

    def merge(self, other: "StreamTally") -> None:
        """Add what the other one knows; it must not be used again."""
        self._closed += other._closed  # noqa: SLF001 - of the same class
        self._reopened += other._reopened  # noqa: SLF001 - the same
        self._missed += other._missed  # noqa: SLF001 - the same

    def streams(self, origin_ns: int) -> Streams:
        """All of it together.

        Args:
            origin_ns: the instant 0.0.
        """
        ended = {name: at for name, at, _ in self._closed}
        gaps = [
            (opened - ended[name]) / 1e9
            for name, _, opened in self._reopened
            if opened is not None and name in ended
        ]
        tried = {name for name, _, _ in self._reopened}
        came_back = {name for name, _, opened in self._reopened if opened is not None}
        peak, peak_ns = _peak(sent for _, sent, _ in self._reopened)
        codes = Counter(str(code) for _, _, code in self._closed)
        return Streams(
            closed=len(self._closed),
            codes=dict(sorted(codes.items())),
            reopened=len(gaps),
            gone=len(tried - came_back),
            longest_gap=max(gaps, default=None),
            median_gap=median(gaps) if gaps else None,
            peak=peak,
            peak_at=None if peak_ns is None else (peak_ns - origin_ns) / 1e9,
            missed=self._missed,
        )


def _peak(stamps: Iterable[int]) -> tuple[int, int | None]:
    """The most of these instants within one second, and when that second began."""
    window: deque[int] = deque()
    best: tuple[int, int | None] = (0, None)
    for stamp in sorted(stamps):
        window.append(stamp)
        while window[0] <= stamp - _SECOND:
            window.popleft()
        if len(window) > best[0]:
            best = len(window), window[0]
    return best
