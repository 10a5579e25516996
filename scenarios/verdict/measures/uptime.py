"""Availability as users saw it who stayed for the whole run, and came again whatever happened.

Between two requests of a user the first one's outcome holds (user-uptime: Hauer and others,
Meaningful Availability, NSDI 2020): the user was up or down, or nobody knows, where the load
generator did not send the request. All sums are of whole nanoseconds, so they are exact.
"""

from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from scenarios.evidence.outcome import Outcome
from scenarios.verdict.measures.budget import WINDOWS, windowed
from scenarios.verdict.measures.slo import Ordered
from scenarios.verdict.model import Users, WindowedUptime, WorstUser

# A state in the low bits of a mark.
_UP: Final = 0
_DOWN: Final = 1
_UNKNOWN: Final = 2
_BITS: Final = 2
_STATE: Final = (1 << _BITS) - 1

# A change in the low bits of a mark: the state that begins, or the one that ends.
_ENDS: Final = 2


class _Time(NamedTuple):
    """How long users were up and down, in ns."""

    up: int
    down: int

    def worse_than(self, other: "_Time") -> bool:
        """Whether it has the smaller share of time up; each of them has some time."""
        return self.up * (other.up + other.down) < other.up * (self.up + self.down)

    @property
    def ratio(self) -> float | None:
        """The share of time up; None where no time is known."""
        return self.up / (self.up + self.down) if self.up + self.down else None


class StayingLedger:
    """Collects the requests of users who stay; memory: eight bytes for each."""

    def __init__(self) -> None:
        self._marks: dict[str, array[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._marks)

    def add(self, user: str, outcome: Outcome) -> None:
        """Add one request of a user, also one that was not sent."""
        state = _UP if outcome.ok else _DOWN
        marks = self._marks.setdefault(user, array("q"))
        marks.append(outcome.planned_ns << _BITS | (state if outcome.dispatched else _UNKNOWN))

    def merge(self, other: "StayingLedger") -> None:
        """Add the requests of another."""
        for user, marks in other._marks.items():  # noqa: SLF001 - of the same class
            self._marks.setdefault(user, array("q")).extend(marks)

    def users(self, requests: Ordered, origin_ns: int) -> Users:
        """User-uptime: of all users, of the worst of them, and in the worst windows.

        Args:
            requests: all requests of the run, for the windows that count those.
            origin_ns: the instant 0.0 of the run.
        """
        changes = array("q")
        times = {}
        for user in sorted(self._marks):
            time = _account(sorted(self._marks[user]), changes)
            if time.ratio is not None:
                times[user] = time
        worst = None
        for user, time in times.items():
            if worst is None or time.worse_than(times[worst]):
                worst = user
        total = _Time(sum(time.up for time in times.values()), sum(t.down for t in times.values()))
        return Users(
            staying=True,
            users=len(times),
            uptime=total.ratio,
            windows=windowed(requests),
            uptime_windows=worst_windows(sorted(changes), origin_ns),
            worst=None
            if worst is None
            else WorstUser(
                user=worst,
                uptime=times[worst].ratio or 0.0,
                down_seconds=times[worst].down / 1e9,
            ),
        )


def _account(marks: Sequence[int], changes: "array[int]") -> _Time:
    """One user's time, from its requests in order; its changes of state are added to all others."""
    spent = [0, 0, 0]
    before = _UNKNOWN
    for mark, after in pairwise(marks):
        state = mark & _STATE
        spent[state] += (after >> _BITS) - (mark >> _BITS)
        _change(before, state, mark >> _BITS, changes)
        before = state
    if marks:
        _change(before, _UNKNOWN, marks[-1] >> _BITS, changes)
    return _Time(spent[_UP], spent[_DOWN])


def _change(before: int, after: int, at_ns: int, changes: "array[int]") -> None:
    if before == after:
        return
    if before != _UNKNOWN:
        changes.append(at_ns << _BITS | before | _ENDS)
    if after != _UNKNOWN:
        changes.append(at_ns << _BITS | after)


def worst_windows(
    changes: Sequence[int], origin_ns: int, lengths: Sequence[float] = WINDOWS
) -> tuple[WindowedUptime, ...]:
    """For each length, the lowest share of users' time up in any stretch of it.

    While a stretch moves and neither of its ends passes a change, its time up and its time in all
    are linear in its position. Their ratio is then monotonic, so that the lowest is where an end
    meets a change: only those positions are looked at, and none is missed. Lengths beyond the time
    that is known are left out.

    Args:
        changes: when users' states changed, in order.
        origin_ns: the instant 0.0 of the run.
        lengths: in seconds.
    """
    found = []
    for seconds in lengths:
        length = round(seconds * 1e9)
        worst, start_ns = None, 0
        for at_ns, time in _positions(changes, length):
            if time.ratio is not None and (worst is None or time.worse_than(worst)):
                worst, start_ns = time, at_ns
        if worst is not None:
            found.append(
                WindowedUptime(
                    seconds=seconds, worst=worst.ratio or 0.0, start=(start_ns - origin_ns) / 1e9
                )
            )
    return tuple(found)


def _positions(changes: Sequence[int], length: int) -> Iterator[tuple[int, _Time]]:
    """Where a stretch of this length has an end at a change, and users' time within it."""
    if not changes or (changes[-1] >> _BITS) - (changes[0] >> _BITS) < length:
        return
    tail, head = _Cursor(changes), _Cursor(changes)
    head.move(head.at_ns + length)
    while True:
        yield tail.at_ns, _Time(head.up_ns - tail.up_ns, head.down_ns - tail.down_ns)
        if head.next_ns is None or tail.next_ns is None:
            return
        step = min(head.next_ns - head.at_ns, tail.next_ns - tail.at_ns)
        tail.move(tail.at_ns + step)
        head.move(head.at_ns + step)


class _Cursor:
    """Users' time from the first change until an instant that only moves on.

    Attributes:
        at_ns: the instant.
        up_ns: how long users were up until then, each user's time added to the others'.
        down_ns: the same of being down.
    """

    def __init__(self, changes: Sequence[int]) -> None:
        self.at_ns = changes[0] >> _BITS
        self.up_ns = self.down_ns = 0
        self._changes = changes
        self._index = 0
        self._users = [0, 0]  # how many are up, and how many are down
        self.move(self.at_ns)

    @property
    def next_ns(self) -> int | None:
        """The first change after the instant; None when there is none."""
        if self._index == len(self._changes):
            return None
        return self._changes[self._index] >> _BITS

    def move(self, to_ns: int) -> None:
        """Move on to an instant."""
        while self.next_ns is not None and self.next_ns <= to_ns:
            change = self._changes[self._index]
            self._pass(change >> _BITS)
            self._users[change & _DOWN] += -1 if change & _ENDS else 1
            self._index += 1
        self._pass(to_ns)

    def _pass(self, to_ns: int) -> None:
        up, down = self._users
        self.up_ns += up * (to_ns - self.at_ns)
        self.down_ns += down * (to_ns - self.at_ns)
        self.at_ns = to_ns
