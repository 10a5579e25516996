"""Error budgets, nines by their right names, and availability as users saw it."""

import math
from array import array
from collections.abc import Sequence
from itertools import pairwise

from scenarios.verdict.measures.slo import Ordered, percentile
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
    planned, failed = requests
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
