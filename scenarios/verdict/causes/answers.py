"""The requests that succeeded: what failed requests are contrasted with.

A *step* is one step of one journey: its requests ask for the same, whatever words their users put
into their paths.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import compress
from operator import add
from typing import NamedTuple

from scenarios.evidence.outcome import Outcome
from scenarios.evidence.scratch import Scratch
from scenarios.verdict.columns import order
from scenarios.verdict.columns.column import NONE, Gathered
from scenarios.verdict.columns.requests import Kind, RequestColumns, Step, key_of

_TICK = 20
"""Times are kept in units of 2^20 ns, about a millisecond, so that four bytes hold 26 days."""

MOST_LOOKED_AT = 20_000
"""Of so many answers of one replica to one step the previous step is looked up, evenly spaced."""


class Served(NamedTuple):
    """The answers of one replica to one step.

    Attributes:
        replica: who answered.
        times: when each outcome was known, in order, in nanoseconds rounded to about 1 ms.
    """

    replica: str
    times: "array[int]"


class _Answers:
    """The answers of one replica to one step, in the order of reading.

    Attributes:
        times: when each outcome was known, in ticks from the base.
        led_by: see `RequestColumns.led_by`.
    """

    __slots__ = ("led_by", "times")

    def __init__(self, scratch: Scratch) -> None:
        self.times = Gathered(scratch, "i")
        self.led_by = Gathered(scratch)


class Answers:
    """Every request that succeeded and whose version is known.

    Memory: once somebody asks, eight bytes for each request of a user who stays.
    """

    def __init__(self, columns: RequestColumns | None = None) -> None:
        self._columns = columns
        self._ordered: set[str] = set()

    @cached_property
    def first_served_ns(self) -> dict[str, int]:
        """When the first request was sent that a version served, by version."""
        return self._first(lambda _: True)

    @cached_property
    def first_wrote_ns(self) -> dict[str, int]:
        """The same of requests that may change something: those that are not GET, HEAD, OPTIONS."""
        return self._first(lambda kind: kind.writes)

    @cached_property
    def last_served_ns(self) -> dict[str, int]:
        """When the outcome of the last request was known that a replica answered, by replica."""
        found: dict[str, int] = {}
        for (_, replica), answers in self._by_step.items():
            if answers.times:
                last = self._nanoseconds(max(map(max, answers.times)))
                found[replica] = max(found.get(replica, last), last)
        return found

    def of_step(self, step: Step) -> list[Served]:
        """The answers to a step, by replica."""
        return [
            Served(replica, array("q", map(self._nanoseconds, order.ordered(answers.times))))
            for (asked, replica), answers in self._by_step.items()
            if asked == step
        ]

    def previous_of_step(
        self,
        step: Step,
        look_up: Callable[[Iterable[int]], None],
        answered: Callable[[int], str | None],
    ) -> Iterator[tuple[str, int, str]]:
        """The answers to a step whose user's previous request has a known version.

        Args:
            step: the step.
            look_up: finds the versions that answered several requests, by `key_of` their ids.
            answered: one of those versions.

        Yields:
            replica, when the outcome was known, the version that answered the previous request.
        """
        names = {} if self._columns is None else self._columns.users
        looked_at = [
            (replica, answers.times.whole()[::stride], answers.led_by.whole()[::stride])
            for (asked, replica), answers in self._by_step.items()
            if asked == step
            for stride in (-(-len(answers.times) // MOST_LOOKED_AT) or 1,)
        ]
        look_up(key for _, _, keys in looked_at for key in keys if key > 0)
        for replica, ticks, keys in looked_at:
            for tick, led_by in zip(ticks, keys, strict=True):
                at_ns = self._nanoseconds(tick)
                if led_by < 0:
                    previous = self._last_of(names[-led_by], at_ns - (2 << _TICK))
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

    def _first(self, wanted: Callable[[Kind], bool]) -> dict[str, int]:
        """When the first of some requests was sent, or due if it never was, by version."""
        found: dict[str, int] = {}
        if self._columns is None:
            return found
        columns, kinds = self._columns, self._columns.kinds
        first: dict[int, float] = {
            kind.number: math.inf for kind in kinds if _answered(kind) and wanted(kind)
        }
        batches = zip(columns.planned, columns.lag, columns.kind, columns.earliest, strict=True)
        for planned, lags, numbers, earliest in batches:
            # None of a batch was sent before this, so most batches have nothing to say.
            floor = earliest + min(columns.least_lag, 0)
            left = {number for number in set(numbers) if floor < first.get(number, -math.inf)}
            if not left:
                continue
            rows = zip(planned, lags, numbers, strict=True)
            for due, lag, number in compress(rows, map(left.__contains__, numbers)):
                first[number] = min(first[number], due if lag == NONE else due + lag)
        for number, at_ns in first.items():
            version = kinds[number].version
            if version is not None and at_ns != math.inf:
                found[version] = min(found.get(version, int(at_ns)), int(at_ns))
        return found

    @cached_property
    def _base(self) -> int:
        """The tick from which all others are counted."""
        if self._columns is None:
            return 0
        done = (
            due + taken
            for planned, times in zip(self._columns.planned, self._columns.taken, strict=True)
            for due, taken in zip(planned, times, strict=True)
        )
        return next(done, 0) >> _TICK

    @cached_property
    def _by_step(self) -> dict[tuple[Step, str], _Answers]:
        found: dict[tuple[Step, str], _Answers] = {}
        if self._columns is None:
            return found
        columns = self._columns
        mine: list[_Answers | None] = [
            found.setdefault((kind.step, kind.served_by), _Answers(columns.scratch))
            if _answered(kind) and kind.served_by is not None
            else None
            for kind in columns.kinds
        ]
        base = self._base
        for planned, taken, kinds, led_by in zip(
            columns.planned, columns.taken, columns.kind, columns.led_by, strict=True
        ):
            done = map(add, planned, taken)
            for at_ns, number, led in zip(done, kinds, led_by, strict=True):
                answers = mine[number]
                if answers is not None:
                    answers.times.latest.append((at_ns >> _TICK) - base)
                    answers.led_by.latest.append(led)
            for number in set(kinds):
                answers = mine[number]
                if answers is not None:
                    answers.times.flush()
                    answers.led_by.flush()
        return found

    @cached_property
    def _users(self) -> "dict[str, array[int]]":
        """Of each user who stays, when each answer was known and the number of its version."""
        found: dict[str, array[int]] = {}
        if self._columns is None or not self._columns.users:
            return found
        columns = self._columns
        names = columns.users
        versions = [self._version_number(kind) for kind in columns.kinds]
        for users, planned, taken, kinds in zip(
            columns.user, columns.planned, columns.taken, columns.kind, strict=True
        ):
            done = map(add, planned, taken)
            rows = zip(users, done, kinds, strict=True)
            for user, at_ns, number in compress(rows, users):
                version = versions[number]
                if version is not None:
                    found.setdefault(names[user], array("q")).append(at_ns << 8 | version)
        return found

    @cached_property
    def _versions(self) -> list[str]:
        kinds = () if self._columns is None else self._columns.kinds
        return list(dict.fromkeys(kind.version for kind in kinds if kind.version and kind.ok))

    def _version_number(self, kind: Kind) -> int | None:
        if not _answered(kind) or kind.version is None:
            return None
        return min(self._versions.index(kind.version), 255)

    def _last_of(self, user: str, before_ns: int) -> str | None:
        """The version of a user's last answer before an instant."""
        mine = self._users.get(user)
        if mine is None:
            return None
        if user not in self._ordered:
            mine = self._users[user] = array("q", sorted(mine))
            self._ordered.add(user)
        index = bisect_left(mine, before_ns << 8) - 1
        return self._versions[mine[index] & 255] if index >= 0 else None

    def _nanoseconds(self, tick: int) -> int:
        return tick + self._base << _TICK


def _answered(kind: Kind) -> bool:
    return kind.ok and kind.version is not None


def between(times: "array[int]", first_ns: int, last_ns: int) -> int:
    """How many of some times, in order, lie in a stretch; both of its ends are included."""
    return bisect_right(times, last_ns) - bisect_left(times, first_ns)


def merged(served: Iterable[Served]) -> "array[int]":
    """The times of several replicas together, in order."""
    return order.merged(one.times for one in served)
