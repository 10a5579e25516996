"""Service levels as they are defined: one request after the other."""

from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise

from scenarios.verdict.measures.budget import WINDOWS
from scenarios.verdict.measures.slo import (
    PEAK_OVER,
    Ordered,
    SlotCount,
    Window,
    percentile,
    window_of,
)
from scenarios.verdict.model import Users, WindowedUptime


class Marks:
    """The planned times of requests, each with whether it failed, in eight bytes a request."""

    def __init__(self) -> None:
        self._marks = array("q")

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, planned_ns: int, *, failed: bool) -> None:
        """Add one request; the order of additions does not matter."""
        self._marks.append(planned_ns << 1 | failed)

    def extend(self, other: "Marks") -> None:
        """Add all requests of another collection."""
        self._marks.extend(other._marks)

    def ordered(self) -> "Ordered":
        """The requests in order of their planned times."""
        marks = sorted(self._marks)
        return Ordered(array("q", (mark >> 1 for mark in marks)), bytes(mark & 1 for mark in marks))


def count_slots(requests: Ordered, slot_ns: int) -> SlotCount:
    """Cut the time from the first to the last planned request into slots and judge each.

    A slot is good if every request planned in it succeeded, bad if one failed. A slot without a
    request is neither: nobody looked.
    """
    if not requests.planned:
        return SlotCount(0, 0, 0)
    origin = requests.planned[0]
    seen: dict[int, int] = {}
    for planned, failed in zip(requests.planned, requests.failed, strict=True):
        slot = (planned - origin) // slot_ns
        seen[slot] = seen.get(slot, 0) | failed
    bad = sum(seen.values())
    return SlotCount(len(seen) - bad, bad, requests.span_ns // slot_ns + 1 - len(seen))


def downtime_windows(requests: Ordered, gap_ns: int) -> list[Window]:
    """The stretches of failures, in order of time; each failure is in exactly one of them.

    Two failures belong together if they are less than `gap_ns` apart, or if no request succeeded
    between them: then nothing shows that the service was back.
    """
    return [
        window_of(requests, first, last, _peak(requests.failed, first, last))
        for first, last in _runs(requests, gap_ns)
    ]


def _runs(requests: Ordered, gap_ns: int) -> Iterator[tuple[int, int]]:
    """The first and last index of each run of failures that belong together."""
    first = last = -1
    for index, failed in enumerate(requests.failed):
        if not failed:
            continue
        if first < 0:
            first = index
        elif index - last > 1 and requests.planned[index] - requests.planned[last] >= gap_ns:
            yield first, last
            first = index
        last = index
    if first >= 0:
        yield first, last


def _peak(failed: Sequence[int], first: int, last: int) -> float:
    """The highest share of failures among `PEAK_OVER` requests in a row that touch the window."""
    low, high = max(0, first - PEAK_OVER + 1), min(len(failed), last + PEAK_OVER)
    width = min(PEAK_OVER, high - low)
    count = best = sum(failed[low : low + width])
    for index in range(low + width, high):
        count += failed[index] - failed[index - width]
        best = max(best, count)
    return best / width


def windowed(requests: Ordered, lengths: Sequence[float] = WINDOWS) -> tuple[WindowedUptime, ...]:
    """For each length, the worst availability of any stretch of it.

    Lengths beyond the run's are left out. Tells one hole of five seconds from fifty blips: the
    first is bad over five seconds, the second over none.
    """
    planned, failed, _ = requests
    found = []
    for seconds in lengths:
        length = int(seconds * 1e9)
        if not planned or length > requests.span_ns:
            continue
        worst, start, end, bad = 1.0, planned[0], 0, 0
        for index, begin in enumerate(planned):
            if begin + length > planned[-1]:
                break
            while end < len(planned) and planned[end] < begin + length:
                bad += failed[end]
                end += 1
            share = 1 - bad / (end - index)
            if share < worst:
                worst, start = share, begin
            bad -= failed[index]
        found.append(WindowedUptime(seconds=seconds, worst=worst, start=(start - planned[0]) / 1e9))
    return tuple(found)


class UserLedger:
    """Collects each user's requests; memory: 16 bytes for each."""

    def __init__(self) -> None:
        self._names = array("q")
        self._marks = array("q")

    def add(self, user: str, planned_ns: int, *, failed: bool) -> None:
        """Add one request of a user."""
        self._names.append(hash(user))
        self._marks.append(planned_ns << 1 | failed)

    def users(self, requests: Ordered) -> Users:
        """User-uptime, and the worst windows of all requests.

        Between two of a user's requests the outcome of the first holds. A pause longer than the
        99th percentile of all pauses is no use of the service, and does not count.
        """
        stretches: list[tuple[int, int]] = []  # seconds of it in ns, and whether it was down
        seen = sorted(zip(self._names, self._marks, strict=True))
        many: set[int] = set()
        for (name, mark), (next_name, next_mark) in pairwise(seen):
            if name == next_name:
                stretches.append(((next_mark >> 1) - (mark >> 1), mark & 1))
                many.add(name)
        cutoff = percentile(sorted(length for length, _ in stretches), 0.99)
        kept = [(length, down) for length, down in stretches if length <= (cutoff or 0)]
        total = sum(length for length, _ in kept)
        up = sum(length for length, down in kept if not down)
        return Users(
            users=len(many), uptime=up / total if total else None, windows=windowed(requests)
        )
