"""The lines that can be drawn among the requests of some steps, and the chance of each. Pure.

A line has two sides: the requests on which failures would lie, and the others. What the lines are,
and which of them count, is said in `scenarios.verdict.causes.contrasts`.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from scenarios.verdict.causes.answers import Served, between, merged
from scenarios.verdict.causes.contrast import Contrast, Line
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.columns import order
from scenarios.verdict.columns.requests import Step
from scenarios.verdict.measures.exact_test import Counts, fisher_greater

WARM_SECONDS = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30)
"""How long a replica may be called young; all of them are tested."""

STRAY = 0.05
"""So few of a step's failures may lie beyond the line: they have another cause, and keep it."""

_PIECES = 8
CONTROLS = 8
"""From so many requests on, the other side of a line was seen at the same time."""

_NEAR_NS = 1_000_000_000
"""Failures of others so close to these belong to the same disturbance."""


class FailurePoint(NamedTuple):
    """A failed request, as far as lines are about it."""

    position: int
    at_ns: int
    replica: str
    version: str
    previous: str | None


@dataclass(slots=True)
class ContrastSide:
    """The requests on one side of a line."""

    failed: list[FailurePoint] = field(default_factory=list)
    served: "array[int]" = field(default_factory=lambda: array("q"))

    @property
    def counts(self) -> Counts:
        """How many of its requests failed, and how many succeeded."""
        return Counts(len(self.failed), len(self.served))


class StepGroup:
    """Failures of some steps with one symptom, and the successes of the same steps."""

    def __init__(
        self, steps: Sequence[Step], points: Sequence[FailurePoint], around: Surroundings
    ) -> None:
        self._steps = steps
        self._points = points
        self._around = around
        self._known_others: dict[str, array[int]] = {}
        self._served = [one for step in steps for one in around.answers.of_step(step)]
        self._by_version: dict[str | None, list[Served]] = {}
        for one in self._served:
            self._by_version.setdefault(around.skew.version_of(one.replica), []).append(one)

    def candidates(self) -> Iterator[Contrast]:
        """Every line that can be drawn, with its chance; those that say nothing are left out."""
        counts = Counter(point.version for point in self._points)
        previous: dict[str, list[tuple[int, str]]] | None = None
        for version in sorted(counts):
            mine = [point for point in self._points if point.version == version]
            if previous is None and any(point.previous for point in mine):
                previous = self._previous()
            yield from self._previous_version(version, mine, previous or {})
            yield from self._around_its_life(version, mine)
            if counts[version] >= (1 - STRAY) * len(self._points):
                yield from self._alone(version, mine)

    def _alone(self, version: str, mine: Sequence[FailurePoint]) -> Iterator[Contrast]:
        """Only this version fails, always or from a moment on."""
        strays = [point for point in self._points if point.version != version]
        here = ContrastSide(list(mine), merged(self._by_version.get(version, ())))
        there = ContrastSide(strays, self._others(version))
        if not self._many_replicas(version, mine):
            return
        beside = there.counts
        chance = chance_of(here, there)
        yield _contrast("version", version, "", here, there, beside, chance)
        for line, other, at_ns in self._moments(version):
            gone_ns = self._gone(line, other, here)
            after, before = split(here, at_ns, gone_ns)
            if len(before.failed) > STRAY * len(mine) or not before.served or not after.failed:
                continue
            if gone_ns is not None and _spread(after, _PIECES // 2):
                before.served = here.served[: bisect_left(here.served, at_ns)]
                before.served += here.served[bisect_right(here.served, gone_ns) :]
                further = fisher_greater(after.counts, before.counts)
                contrast = _contrast(line, version, other, after, before, beside, further)
                yield contrast._replace(returned=True)
                continue
            # Both halves of the sentence must hold, so the weaker of them counts.
            further = max(chance_of(after, there), fisher_greater(after.counts, before.counts))
            yield _contrast(line, version, other, after, before, beside, further)

    def _gone(self, line: Line, other: str, here: ContrastSide) -> int | None:
        """When another version was gone again, and with it all failures; None if that was not so.

        This is what a canary leaves that was taken back. It answered too few requests to be
        compared with, but the failures began with it and ended with it.
        """
        if line not in ("after_write", "after_served"):
            return None
        answered = self._around.answers.last_served_ns.items()
        version_of = self._around.skew.version_of
        last_ns = max((at for name, at in answered if version_of(name) == other), default=None)
        failed_ns = max((point.at_ns for point in here.failed), default=None)
        if last_ns is None or failed_ns is None or failed_ns > last_ns + _NEAR_NS:
            return None
        gone_ns = max(last_ns, failed_ns)
        later = len(here.served) - bisect_right(here.served, gone_ns)
        return gone_ns if later >= CONTROLS else None

    def _others(self, version: str) -> "array[int]":
        """The times of the other versions' answers."""
        if version not in self._known_others:
            self._known_others[version] = merged(
                one
                for name, served in self._by_version.items()
                if name != version
                for one in served
            )
        return self._known_others[version]

    def _moments(self, version: str) -> Iterator[tuple[Line, str, int]]:
        answers = self._around.answers
        for other, at_ns in sorted(answers.first_wrote_ns.items()):
            if other != version:
                yield "after_write", other, at_ns
        for other, at_ns in sorted(answers.first_served_ns.items()):
            if other != version:
                yield "after_served", other, at_ns
        for name, start_ns, end_ns in self._around.migrations:
            yield "after_migration", name, start_ns
            if end_ns is not None:
                yield "after_migration", name, end_ns

    def _previous(self) -> dict[str, list[tuple[int, str]]]:
        """When each version's answers to the step were known, and who answered the one before."""
        found: dict[str, list[tuple[int, str]]] = {}
        skew = self._around.skew
        answers = (
            one
            for step in self._steps
            for one in self._around.answers.previous_of_step(step, skew.look_up, skew.answered)
        )
        for replica, at_ns, previous in answers:
            version = self._around.skew.version_of(replica)
            if version is not None:
                found.setdefault(version, []).append((at_ns, previous))
        return found

    def _previous_version(
        self,
        version: str,
        mine: Sequence[FailurePoint],
        previous: Mapping[str, Sequence[tuple[int, str]]],
    ) -> Iterator[Contrast]:
        """It fails only where another version answered the request before."""
        served = previous.get(version, ())
        known = [point for point in mine if point.previous is not None]
        across = ContrastSide(
            [point for point in known if point.previous != version],
            array("q", sorted(at_ns for at_ns, previous in served if previous != version)),
        )
        within = ContrastSide(
            [point for point in known if point.previous == version],
            array("q", sorted(at_ns for at_ns, previous in served if previous == version)),
        )
        if not across.failed or len(within.failed) > STRAY * len(known):
            return
        chance = chance_of(across, within)
        (other, _), *_ = Counter(str(point.previous) for point in across.failed).most_common(1)
        beside = Counts(
            sum(point.previous == point.version != version for point in self._points),
            sum(
                before == name
                for name, answers in previous.items()
                if name != version
                for _, before in answers
            ),
        )
        yield _contrast("previous_version", version, other, across, within, beside, chance)

    def _around_its_life(self, version: str, mine: Sequence[FailurePoint]) -> Iterator[Contrast]:
        """It fails only while its replicas are young, or only while they are being stopped."""
        served = self._by_version.get(version, [])
        lives = self._around.timeline.lives
        starts, ends = {}, {}
        for name, life in lives.items():
            begins = (life.attached_ns, life.ready_ns, life.started_ns)
            starts[name] = next((at_ns for at_ns in begins if at_ns is not None), None)
            told = [at for at in (life.drain_started_ns, life.stop_started_ns) if at is not None]
            ends[name] = min(told, default=None)
        for seconds in WARM_SECONDS:
            until = {
                name: None if at_ns is None else at_ns + seconds * 1_000_000_000
                for name, at_ns in starts.items()
            }
            old, young = _split_each(mine, served, until)
            if self._holds(young, old, version, mine):
                chance = fisher_greater(young.counts, old.counts)
                none = Counts(0, 0)
                yield _contrast("warming", version, str(seconds), young, old, none, chance)
        going, staying = _split_each(mine, served, ends)
        if self._holds(going, staying, version, mine):
            chance = fisher_greater(going.counts, staying.counts)
            yield _contrast("stopping", version, "", going, staying, Counts(0, 0), chance)

    def _holds(
        self,
        inside: ContrastSide,
        outside: ContrastSide,
        version: str,
        mine: Sequence[FailurePoint],
    ) -> bool:
        """Whether it fails only inside, though at that time all others went on."""
        if not inside.failed or not outside.served:
            return False
        if len(outside.failed) > STRAY * len(mine):
            return False
        first_ns, last_ns = _span(inside.failed)
        within = {point.position for point in inside.failed}
        strays = sum(
            point.position not in within
            and first_ns - _NEAR_NS <= point.at_ns <= last_ns + _NEAR_NS
            for point in self._points
        )
        controls = between(outside.served, first_ns, last_ns)
        controls += between(self._others(version), first_ns, last_ns)
        if strays > STRAY * len(inside.failed):
            return False
        if controls < CONTROLS and not _spread(inside, _PIECES - 2):
            return False
        return self._many_replicas(version, inside.failed)

    def _many_replicas(self, version: str, points: Iterable[FailurePoint]) -> bool:
        """Whether most of the version's replicas fail that answered this step at that time."""
        points = list(points)
        first_ns, last_ns = _span(points)
        failing = {point.replica for point in points}
        often = {
            one.replica
            for one in self._by_version.get(version, ())
            if between(one.times, first_ns, last_ns) >= CONTROLS
        }
        return 2 * len(failing) > len(failing | often)


def chance_of(inside: ContrastSide, outside: ContrastSide) -> float:
    """The chance that failures lie on the one side; 1 if a disturbance explains it as well.

    Failures all over their side are compared with the whole other side. Others may be a matter of
    time, so only the time is compared in which they occurred; the other side must have had requests
    then.
    """
    first_ns, last_ns = _span(inside.failed)
    controls = between(outside.served, first_ns, last_ns)
    if controls >= CONTROLS and not _spread(inside, _PIECES - 2):
        # Where every request failed, there is no time in which they did not.
        if inside.served and not _spread(inside, _PIECES // 2):
            return 1.0
        near = Counts(len(inside.failed), between(inside.served, first_ns, last_ns))
        strays = sum(first_ns <= point.at_ns <= last_ns for point in outside.failed)
        return fisher_greater(near, Counts(strays, controls))
    if not outside.served or not _spread(inside, _PIECES - 2):
        return 1.0
    return fisher_greater(inside.counts, outside.counts)


def _span(points: Sequence[FailurePoint]) -> tuple[int, int]:
    times = [point.at_ns for point in points]
    return min(times), max(times)


def _spread(side: ContrastSide, pieces: int) -> bool:
    """Whether a side's failures are spread over so many of the eight pieces of its requests."""
    failed = sorted(point.at_ns for point in side.failed)
    size = len(side.served) + len(failed)
    hit = {
        (bisect_left(side.served, at_ns) + bisect_left(failed, at_ns)) * _PIECES // size
        for at_ns in failed
    }
    return len(hit) >= pieces


def split(
    side: ContrastSide, at_ns: int, until_ns: int | None
) -> tuple[ContrastSide, ContrastSide]:
    """The requests of a side from an instant on until another, and those before the first."""
    index = bisect_left(side.served, at_ns)
    end = len(side.served) if until_ns is None else bisect_right(side.served, until_ns)
    after = [point for point in side.failed if point.at_ns >= at_ns]
    before = [point for point in side.failed if point.at_ns < at_ns]
    return ContrastSide(after, side.served[index:end]), ContrastSide(before, side.served[:index])


def spread_over_time(side: ContrastSide) -> bool:
    """Whether a side's failures are spread over most of its requests, and no matter of a moment."""
    return _spread(side, _PIECES - 2)


def _split_each(
    points: Iterable[FailurePoint], served: Iterable[Served], moments: Mapping[str, int | None]
) -> tuple[ContrastSide, ContrastSide]:
    """The requests from their own replica's moment on, and those before; without one: before."""
    after, before = ContrastSide(), ContrastSide()
    for point in points:
        at_ns = moments.get(point.replica)
        side = before if at_ns is None or point.at_ns < at_ns else after
        side.failed.append(point)
    parts: list[tuple[array[int], array[int]]] = []
    for one in served:
        at_ns = moments.get(one.replica)
        index = len(one.times) if at_ns is None else bisect_left(one.times, at_ns)
        parts.append((one.times[index:], one.times[:index]))
    after.served = order.merged(later for later, _ in parts)
    before.served = order.merged(earlier for _, earlier in parts)
    return after, before


def _contrast(  # noqa: PLR0917 - it is called with all of them, in the record's order
    line: Line,
    version: str,
    other: str,
    inside: ContrastSide,
    outside: ContrastSide,
    beside: Counts,
    chance: float,
) -> Contrast:
    indices = tuple(point.position for point in inside.failed)
    return Contrast(line, version, other, inside.counts, outside.counts, beside, indices, chance)
