"""Error budgets, nines by their right names, and availability as users saw it."""

import math
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, compress, pairwise, repeat
from operator import and_, lshift, or_

from scenarios.evidence.scratch import Scratch
from scenarios.verdict.columns.parts import Parts
from scenarios.verdict.columns.requests import RequestColumns
from scenarios.verdict.measures.durations import Durations
from scenarios.verdict.measures.slo import Ordered
from scenarios.verdict.model import Budget, Users, WindowedUptime

DEFAULT_OBJECTIVE = 0.999
"""What a budget is told against where the scenario has no objective of its own."""

YEAR_SECONDS = 365.25 * 86400
MONTH_SECONDS = 30 * 86400
WINDOWS = (1.0, 5.0, 30.0, 300.0)

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def nines(objective: float) -> int:
    """How many nines an objective has: 0.999 has three, 0.9995 as well, 0.9999 four."""
    if not 0 <= objective < 1:
        return 0
    return math.floor(round(-math.log10(1 - objective), 9))


def name_of(objective: float) -> str:
    """An objective in words: 99.9 % is three nines, not four."""
    count = nines(objective)
    word = _WORDS[count] if count < len(_WORDS) else str(count)
    exact = math.isclose(objective, 1 - 10.0**-count, rel_tol=0, abs_tol=1e-12)
    plural = "nine" if count == 1 else "nines"
    return f"{'' if exact else 'above '}{word} {plural} ({objective * 100:.12g} %)"


def budget_of(objective: float | None, requests: int, failed: int, seconds: float) -> Budget:
    """How much of an error budget is spent.

    Args:
        objective: the share of requests that must succeed; None: three nines.
        requests: how many were sent.
        failed: how many of them failed.
        seconds: over which time; their rate is the traffic that 30 days are told at.
    """
    wanted = DEFAULT_OBJECTIVE if objective is None else objective
    may = 1 - wanted
    month = requests / seconds * MONTH_SECONDS * may if seconds > 0 else 0.0
    return Budget(
        objective=wanted,
        name=name_of(wanted),
        downtime_a_year_seconds=round(may * YEAR_SECONDS, 3),
        allowed=round(may * requests, 6),
        failed=failed,
        spent=failed / (may * requests) if may * requests else None,
        month=failed / month if month else None,
    )


def windowed(requests: Ordered, lengths: Sequence[float] = WINDOWS) -> tuple[WindowedUptime, ...]:
    """For each length, the worst availability of any stretch of it.

    Lengths beyond the run's are left out. Tells one hole of five seconds from fifty blips: the
    first is bad over five seconds, the second over none.
    """
    planned, failed, weights = requests
    # How many requests there are up to each item, where an item may stand for several.
    sums = None if weights is None else array("q", accumulate(weights, initial=0))
    bad = array("q", compress(range(len(planned)), failed))
    found = []
    for seconds in lengths:
        length = int(seconds * 1e9)
        if not planned or length > requests.span_ns:
            continue
        most, of, start = 0, 1, planned[0]
        for low, high in _near(planned, bad, length):
            end, inside = low, 0
            for index, begin in enumerate(planned[low:high], low):
                until = begin + length
                while planned[end] < until:
                    inside += failed[end]
                    end += 1
                size = end - index if sums is None else sums[end] - sums[index]
                if inside * of > most * size:
                    most, of, start = inside, size, begin
                inside -= failed[index]
        found.append(
            WindowedUptime(seconds=seconds, worst=1 - most / of, start=(start - planned[0]) / 1e9)
        )
    return tuple(found)


def _near(planned: Sequence[int], bad: Sequence[int], length: int) -> Iterator[tuple[int, int]]:
    """The indices at which a stretch begins that has a failure in it and ends within the run."""
    stop = bisect_right(planned, planned[-1] - length)
    for first, last in _runs(planned, bad, length):
        low = bisect_right(planned, planned[first] - length)
        if low < stop:
            yield low, min(last + 1, stop)


def _runs(planned: Sequence[int], bad: Sequence[int], length: int) -> Iterator[tuple[int, int]]:
    """The first and the last of failures that follow one another within that time."""
    first = last = None
    for index in bad:
        if first is None or last is None:
            first = index
        elif planned[index] - planned[last] >= length:
            yield first, last
            first = index
        last = index
    if first is not None and last is not None:
        yield first, last


def users_of(columns: RequestColumns, requests: Ordered, scratch: Scratch) -> Users:
    """User-uptime, and the worst windows of all requests.

    Between two of a user's requests the outcome of the first holds. A pause longer than the
    99th percentile of all pauses is no use of the service, and does not count.

    Args:
        columns: the requests; whoever they are about is their user.
        requests: the same by their planned times, for the windows.
        scratch: where pauses are kept meanwhile.
    """
    pauses, many = Durations(scratch), 0  # how long each was, doubled, plus 1 if the user was down
    for names, marks in _by_users(columns, scratch):
        counts = Counter(names)
        if len(counts) == len(names):
            continue
        again = {name for name, count in counts.items() if count > 1}
        many += len(again)
        rows = sorted(one for one in zip(names, marks, strict=True) if one[0] in again)
        pauses.add(
            [
                ((next_mark >> 1) - (mark >> 1)) << 1 | mark & 1
                for (name, mark), (next_name, next_mark) in pairwise(rows)
                if name == next_name
            ]
        )
    (cutoff,) = Durations.percentiles([pauses], (0.99,))
    longest = 0 if cutoff is None else cutoff >> 1
    up = down = 0
    for batch in pauses:
        for pause in batch:
            length = pause >> 1
            if length <= longest:
                if pause & 1:
                    down += length
                else:
                    up += length
    total = up + down
    return Users(users=many, uptime=up / total if total else None, windows=windowed(requests))


def _by_users(columns: RequestColumns, scratch: Scratch) -> Parts:
    """The users of requests that were sent, as numbers, with the marks of those requests."""
    parts = Parts(scratch, len(columns))
    sent = columns.marked(lambda kind: kind.dispatched)
    bad = columns.marked(lambda kind: not kind.ok)
    for planned, kinds, subjects in zip(
        columns.planned, columns.kind, columns.subject, strict=True
    ):
        wanted = map(and_, map(bool, subjects), map(sent.__getitem__, kinds))
        marks = map(or_, map(lshift, planned, repeat(1)), map(bad.__getitem__, kinds))
        parts.add(compress(zip(subjects, marks, strict=True), wanted))
    return parts
