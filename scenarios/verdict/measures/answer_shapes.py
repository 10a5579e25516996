"""JSON answers of each endpoint, before and after each change of the schema and of the version.

A client knows which values an answer has, and of which types. A value that was there in each answer
of before, and is missing afterwards, breaks clients, although the status is 200. So does a number
that becomes a string. New values are fine (RFC 9413, section 4), and so is null.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from scenarios.evidence.answer_shape import NULL, could_be_there, either, types_of
from scenarios.evidence.event import Event
from scenarios.evidence.outcome import Outcome
from scenarios.verdict.columns.requests import Batch, RequestColumns
from scenarios.verdict.measures.exact_test import Counts, fisher_greater
from scenarios.verdict.model.answer_changes import AnswerChange, AnswerComparison
from scenarios.verdict.timeline import Timeline

_CHANCE = 1e-5
"""Values that come and go for other reasons must not count. This is the level of Fisher's test."""


class _Seen(NamedTuple):
    """So many answers of one shape, and the first of them."""

    answers: int
    first_ns: int
    first: str

    def plus(self, other: "_Seen") -> "_Seen":
        earlier = min(self, other, key=lambda one: one.first_ns)
        return _Seen(self.answers + other.answers, earlier.first_ns, earlier.first)


_Endpoint: TypeAlias = tuple[str, int]
_Period: TypeAlias = tuple[int, str | None]
"""After so many changes of the schema, and the version that answered."""
_Shapes: TypeAlias = dict[str, _Seen]


@dataclass(frozen=True, slots=True)
class SchemaChanges:
    """When the schema changed.

    Attributes:
        starts: when each change began.
        ends: when it ended.
        names: what it was.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, timeline: Timeline) -> "SchemaChanges":
        """The changes that a journal tells of."""
        began: dict[int, Event] = {}
        found: list[tuple[int, int, str]] = []
        for event in timeline.events:
            if event.verb != "migrate" or event.state == "noted":
                continue
            if event.state == "started":
                began[event.number] = event
            elif (start := began.get(event.number)) is not None:
                back = " rolled back" if event.detail.get("direction") == "rollback" else ""
                name = f"{event.detail.get('migration', 'a migration')}{back}"
                found.append((start.at_ns, event.at_ns, name))
        found.sort()
        starts, ends, names = zip(*found, strict=True) if found else ((), (), ())
        return cls(starts, ends, names)

    def period(self, outcome: Outcome) -> int | None:
        """How many changes were in force for a request; None if one was just being made."""
        sent = outcome.planned_ns if outcome.sent_ns is None else outcome.sent_ns
        done = bisect_right(self.ends, sent)
        if done < len(self.starts) and outcome.done_ns > self.starts[done]:
            return None
        return done


@dataclass(slots=True)
class AnswerTally:
    """Counts the shapes of answers while requests are read.

    Attributes:
        columns: the requests, which each batch is already in.
        changes: when the schema changed.
    """

    columns: RequestColumns
    changes: SchemaChanges
    _values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _seen: dict[_Endpoint, dict[_Period, _Shapes]] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Take note of some requests; the order does not matter."""
        kinds = self.columns.kinds
        for row, kind in zip(batch.rows, batch.kinds, strict=True):
            if row.shape is not None:
                self._take(row, kinds[kind].version)

    def take(self, outcome: Outcome, version: str | None) -> None:
        """Take note of one request."""
        if outcome.shape is not None:
            self._take(outcome, version)

    def _take(self, row: Outcome, version: str | None) -> None:
        if row.shape is None or row.status is None:
            return
        if row.shape_values is not None:
            self._values[row.shape] = row.shape_values
        period = self.changes.period(row)
        if not row.ok or period is None:
            return
        shapes = self._seen.setdefault((row.endpoint, row.status), {})
        self._note(shapes.setdefault((period, version), {}), row.shape, _first(row))

    @staticmethod
    def _note(shapes: _Shapes, shape: str, seen: _Seen) -> None:
        known = shapes.get(shape)
        shapes[shape] = seen if known is None else known.plus(seen)

    def merge(self, other: "AnswerTally") -> None:
        """Add the requests that follow; the other must not be used again."""
        self._values |= other._values  # noqa: SLF001 - of the same class
        for endpoint, periods in other._seen.items():  # noqa: SLF001 - of the same class
            mine = self._seen.setdefault(endpoint, {})
            for period, shapes in periods.items():
                for shape, seen in shapes.items():
                    self._note(mine.setdefault(period, {}), shape, seen)

    def answers(self, start: str | None) -> AnswerComparison:
        """What differs from how the application answered before.

        Args:
            start: the version that served before the release.
        """
        looked_at = compared = 0
        found: list[AnswerChange] = []
        for endpoint, periods in sorted(self._seen.items()):
            order = sorted(periods, key=lambda one: (one[0], one[1] != start, str(one[1])))
            looked_at += sum(one.answers for shapes in periods.values() for one in shapes.values())
            compared += len(order) > 1
            found += self._changes(endpoint, order)
        return AnswerComparison(looked_at=looked_at, compared=compared, changes=tuple(found))

    def _changes(self, endpoint: _Endpoint, order: list[_Period]) -> Iterator[AnswerChange]:
        periods = self._seen[endpoint]
        before = order[0]
        known = self._typed(periods[before])
        told: set[tuple[str, str | None]] = set()
        for period in order[1:]:
            number, version = period
            for what, count, answers, first in differences(known, self._typed(periods[period])):
                if (what, version) in told:
                    continue
                told.add((what, version))
                yield AnswerChange(
                    endpoint=endpoint[0],
                    status=endpoint[1],
                    version=version,
                    before=before[1],
                    since=self.changes.names[number - 1] if number else None,
                    what=what,
                    count=count,
                    answers=answers,
                    first=first,
                )

    def _typed(self, shapes: _Shapes) -> "list[_Typed]":
        return [
            _Typed(types_of(self._values[name]), seen)
            for name, seen in shapes.items()
            if name in self._values
        ]


class _Typed(NamedTuple):
    types: Mapping[str, set[str]]
    seen: _Seen


def differences(before: list[_Typed], now: list[_Typed]) -> Iterator[tuple[str, int, int, str]]:
    """In what answers differ: what, how often, of how many, and the first request."""
    paths = {path for one in before for path in one.types}
    for path in sorted(paths):
        with_parent = [one for one in before if could_be_there(path, one.types)]
        kinds = {kind for one in before for kind in one.types.get(path, ())}
        if all(path in one.types for one in with_parent):
            lacking = [
                one for one in now if path not in one.types and could_be_there(path, one.types)
            ]
            may = [one for one in now if could_be_there(path, one.types)]
            yield from _significant(f"{path} is missing", lacking, may, with_parent)
        others = [
            one
            for one in now
            if path in one.types and not one.types[path] & kinds and NULL not in one.types[path]
        ]
        if others and NULL not in kinds:
            types = {kind for one in others for kind in one.types[path]}
            what = f"{path} is now {either(types)}, and was {either(kinds)}"
            having = [one for one in now if path in one.types]
            yield from _significant(what, others, having, [o for o in before if path in o.types])


def _significant(
    what: str, bad: list[_Typed], now: list[_Typed], before: list[_Typed]
) -> Iterator[tuple[str, int, int, str]]:
    count, answers = _sum(bad), _sum(now)
    if not count:
        return
    chance = fisher_greater(Counts(count, answers - count), Counts(0, _sum(before)))
    if chance <= _CHANCE:
        first = min((one.seen for one in bad), key=lambda seen: seen.first_ns)
        yield what, count, answers, first.first


def _sum(shapes: list[_Typed]) -> int:
    return sum(one.seen.answers for one in shapes)


def _first(row: Outcome) -> _Seen:
    return _Seen(1, row.planned_ns, row.request_id)
