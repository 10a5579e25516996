"""The requests that succeeded, as compact columns: what failed requests are contrasted with.

A *step* is one step of one journey: its requests ask for the same, whatever words their users put
into their paths.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from scenarios.evidence.outcome import Outcome

Step = tuple[str, int]

_READS = ("GET ", "HEAD ", "OPTIONS ")
_TICK = 20
"""Times are kept in units of 2^20 ns, about a millisecond, so that four bytes hold 26 days."""

MOST_LOOKED_AT = 20_000
"""Of so many answers of one replica to one step the previous step is looked up, evenly spaced."""


def step_of(outcome: Outcome) -> Step:
    """The step that a request belongs to; see `request_id.id_of`; step 0 for other ids."""
    parts = outcome.request_id.split("-")
    number = parts[3 if parts[1].startswith("u") else 2 :][:1] if len(parts) > 2 else []  # noqa: PLR2004
    return outcome.journey, int(number[0]) if number and number[0].isdecimal() else 0


class Served(NamedTuple):
    """The answers of one replica to one step.

    Attributes:
        replica: who answered.
        times: when each outcome was known, in order, in nanoseconds rounded to about 1 ms.
    """

    replica: str
    times: "array[int]"


class _Column:
    __slots__ = ("led_by", "times")

    def __init__(self) -> None:
        self.times = array("i")
        self.led_by = array("q")


class Answers:
    """Takes every request that succeeded; they come in any order.

    Memory: twelve bytes for each, and eight more for each request of a user who stays.
    """

    def __init__(self) -> None:
        self._base: int | None = None
        self._columns: dict[tuple[Step, str], _Column] = {}
        self._users: dict[str, array[int]] = {}
        self._user_numbers: dict[str, int] = {}
        self._ordered: set[str] = set()
        self._versions: dict[str, int] = {}
        self.first_served_ns: dict[str, int] = {}
        """When the first request was sent that a version served, by version."""
        self.first_wrote_ns: dict[str, int] = {}
        """The same of requests that may change something: those that are not GET, HEAD, OPTIONS."""

    def hear(self, outcome: Outcome, version: str) -> None:
        """Take note of a request that succeeded, and of the version that answered it."""
        if outcome.served_by is None:
            return
        sent_ns = outcome.planned_ns if outcome.sent_ns is None else outcome.sent_ns
        if sent_ns < self.first_served_ns.get(version, sent_ns + 1):
            self.first_served_ns[version] = sent_ns
        writes = not outcome.endpoint.startswith(_READS)
        if writes and sent_ns < self.first_wrote_ns.get(version, sent_ns + 1):
            self.first_wrote_ns[version] = sent_ns
        key = step_of(outcome), outcome.served_by
        column = self._columns.get(key)
        if column is None:
            column = self._columns[key] = _Column()
        column.times.append(self._tick(outcome.done_ns))
        column.led_by.append(self._led_by(outcome))
        if outcome.user is not None:
            number = self._versions.setdefault(version, len(self._versions))
            mine = self._users.setdefault(outcome.user, array("q"))
            mine.append(outcome.done_ns << 8 | min(number, 255))
            self._ordered.discard(outcome.user)

    def of_step(self, step: Step) -> list[Served]:
        """The answers to a step, by replica."""
        return [
            Served(replica, array("q", sorted(map(self._nanoseconds, column.times))))
            for (asked, replica), column in self._columns.items()
            if asked == step
        ]

    def previous_of_step(
        self, step: Step, answered: Callable[[int], str | None]
    ) -> Iterator[tuple[str, int, str]]:
        """The answers to a step whose user's previous request has a known version.

        Args:
            step: the step.
            answered: the version that answered a request, by the hash of its id.

        Yields:
            replica, when the outcome was known, the version that answered the previous request.
        """
        names = list(self._user_numbers)
        for (asked, replica), column in self._columns.items():
            if asked != step:
                continue
            stride = -(-len(column.times) // MOST_LOOKED_AT) or 1
            for index in range(0, len(column.times), stride):
                led_by, at_ns = column.led_by[index], self._nanoseconds(column.times[index])
                if led_by < 0:
                    previous = self._last_of(names[-led_by - 1], at_ns - (2 << _TICK))
                else:
                    previous = answered(led_by) if led_by else None
                if previous is not None:
                    yield replica, at_ns, previous

    def previous(self, outcome: Outcome, answered: Callable[[int], str | None]) -> str | None:
        """The version that answered the previous request of a request's user; None if unknown."""
        if outcome.cause_id is not None:
            return answered(key_of(outcome.cause_id))
        if outcome.user is not None:
            return self._last_of(outcome.user, outcome.planned_ns)
        return None

    def _led_by(self, outcome: Outcome) -> int:
        """The hash of the id of the request before it; of a user's visit, minus its user; or 0."""
        if outcome.cause_id is not None:
            return key_of(outcome.cause_id)
        if outcome.user is None:
            return 0
        return -1 - self._user_numbers.setdefault(outcome.user, len(self._user_numbers))

    def _last_of(self, user: str, before_ns: int) -> str | None:
        """The version of a user's last answer before an instant."""
        mine = self._users.get(user)
        if mine is None:
            return None
        if user not in self._ordered:
            mine = self._users[user] = array("q", sorted(mine))
            self._ordered.add(user)
        index = bisect_left(mine, before_ns << 8) - 1
        return list(self._versions)[mine[index] & 255] if index >= 0 else None

    def _tick(self, at_ns: int) -> int:
        if self._base is None:
            self._base = at_ns >> _TICK
        return (at_ns >> _TICK) - self._base

    def _nanoseconds(self, tick: int) -> int:
        return tick + (self._base or 0) << _TICK


def key_of(request_id: str) -> int:
    """A request's id in 53 bits; the same in one process only, and never 0."""
    return (hash(request_id) & (1 << 53) - 1) or 1


def between(times: "array[int]", first_ns: int, last_ns: int) -> int:
    """How many of some times, in order, lie in a stretch; both of its ends are included."""
    return bisect_right(times, last_ns) - bisect_left(times, first_ns)


def merged(served: Iterable[Served]) -> "array[int]":
    """The times of several replicas together, in order."""
    times = array("q")
    for one in served:
        times.extend(one.times)
    return array("q", sorted(times))
