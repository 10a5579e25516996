"""Where failures that nobody explains occur, and where the same requests succeed. Pure.

A bare status, an unexpected answer or an application's own problem says what failed, not why. The
run itself can say more, since it asked many times: if the requests of one step fail on one side of
a line and succeed on its other side, then the line is part of the cause. The lines are

- *version*: only one version fails;
- *after another version served, after it wrote, after a migration*: only one version fails, and
  only from then on, such as one that cannot read what the other writes;
- *previous version*: requests fail only where another version answered the request before, such as
  a page of one build whose assets are asked of another;
- *warming*: a version fails only within some seconds of a replica's start;
- *stopping*: a version fails only after its replica was told to stop or to drain.

Each line is an exact test of failed and succeeded requests on both sides. All tests of a run
together say anything by chance in one run of a thousand at most (Holm). Chance is not all that
can deceive: a disturbance of a moment fails many requests at once, and they may lie on one side of
a line. So the other side must have succeeded at the same time where it had requests then, failures
must be spread over their side, and most of a version's replicas must show them. Of several lines
that hold, the most specific one counts: the one on whose side the greatest share fails.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from scenarios.verdict.causes.answers import Served, between, merged
from scenarios.verdict.causes.attribution import Attributed
from scenarios.verdict.causes.contrast import LINES, Contrast, Line, finding_of
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.columns.requests import Step, step_of
from scenarios.verdict.measures.exact_test import Counts, fisher_greater, holm

LEVEL = 0.001
"""The chance that a run in which failures follow no line gets any contrast at all."""

WARM_SECONDS = (1, 2, 5, 10, 30)
"""How long a replica may be called young; all of them are tested."""

_STRAY = 0.05
"""So few of a step's failures may lie beyond the line: they have another cause, and keep it."""

_PIECES = 8
_CONTROLS = 8
"""From so many requests on, the other side of a line was seen at the same time."""

_NEAR_NS = 1_000_000_000
"""Failures of others so close to these belong to the same disturbance."""

_RATE_LIMITED = 429


_Key = tuple[str, Step]
"""A group of failures: their symptom, and their step."""

_POOLED: Step = ("", -1)
"""Stands for all steps."""


class _Point(NamedTuple):
    """A failed request, as far as lines are about it."""

    position: int
    at_ns: int
    replica: str
    version: str
    previous: str | None


@dataclass(slots=True)
class _Side:
    """The requests on one side of a line."""

    failed: list[_Point] = field(default_factory=list)
    served: "array[int]" = field(default_factory=lambda: array("q"))

    @property
    def counts(self) -> Counts:
        return Counts(len(self.failed), len(self.served))


def contrasted(failed: Sequence[Attributed], around: Surroundings) -> tuple[Attributed, ...]:
    """The same requests; those that a contrast explains have it as their cause.

    Args:
        failed: the failed requests with the causes that the ladder found, by planned time.
        around: must have heard of every request.
    """
    found = contrasts_of(failed, around)
    result = list(failed)
    for line in LINES:
        mine = [contrast for contrast in found if contrast.line == line]
        for contrast in mine:
            kin = [one for one in mine if line == "previous_version" or one.about == contrast.about]
            symptom = failed[contrast.failed[0]].finding.title
            finding = finding_of(line, kin, symptom)
            for index in contrast.failed:
                result[index] = replace(failed[index], finding=finding)
    return tuple(result)


def contrasts_of(failed: Sequence[Attributed], around: Surroundings) -> list[Contrast]:
    """The contrasts of a run, at most one for each failed request; see `contrasted`."""
    groups: dict[_Key, list[_Point]] = {}
    for index, one in enumerate(failed):
        point = _point(index, one, around)
        if point is not None:
            key = one.finding.cause, step_of(one.failure.outcome)
            groups.setdefault(key, []).append(point)
    candidates: list[tuple[_Key, Contrast]] = []
    for key, points in sorted(groups.items()):
        group = _Group([key[1]], points, around)
        candidates += ((key, contrast) for contrast in group.candidates())
    for key, points, steps in _pools(groups):
        pool = _Group(steps, points, around)
        candidates += ((key, contrast) for contrast in pool.candidates())
    tested = [one for one in candidates if one[1].chance < 1]
    kept = holm([contrast.chance for _, contrast in tested], LEVEL)
    best: dict[tuple[_Key, str], Contrast] = {}
    for (key, contrast), holds in zip(tested, kept, strict=True):
        if holds:
            about = key, contrast.version
            if about not in best or _rank(contrast) < _rank(best[about]):
                best[about] = contrast
    single = {(key[0], version) for key, version in best if key[1] != _POOLED}
    for key, version in [about for about in best if about[0][1] == _POOLED]:
        if (key[0], version) in single:
            del best[key, version]
    return [*best.values(), *_alike(best, candidates, groups)]


def _pools(
    groups: Mapping[_Key, Sequence[_Point]],
) -> Iterator[tuple[_Key, list[_Point], list[Step]]]:
    """The failures of all steps with the same symptom: each step may have too few of them."""
    steps: dict[str, list[Step]] = {}
    for symptom, step in sorted(groups):
        steps.setdefault(symptom, []).append(step)
    for symptom, several in steps.items():
        if len(several) > 1:
            points = [point for step in several for point in groups[symptom, step]]
            yield (symptom, _POOLED), points, several


def _alike(
    best: Mapping[tuple[_Key, str], Contrast],
    candidates: Iterable[tuple[_Key, Contrast]],
    groups: Mapping[_Key, Sequence[_Point]],
) -> Iterator[Contrast]:
    """The contrasts of steps with too few failures, where another step shows the same for sure.

    The symptom must be the same, and all of the version's failures must lie inside, fewer of them
    than the other step has.
    """
    shown: dict[tuple[str, ...], int] = {}
    for (key, _), contrast in best.items():
        known = (key[0], contrast.line, *contrast.about)
        shown[known] = max(shown.get(known, 0), contrast.inside.failed)
    taken = set(best)
    for key, contrast in sorted(candidates, key=lambda one: (one[0], _rank(one[1]))):
        about = key, contrast.version
        most = shown.get((key[0], contrast.line, *contrast.about), 0)
        if key[1] == _POOLED or about in taken:
            continue
        mine = sum(point.version == contrast.version for point in groups[key])
        if contrast.inside.failed == mine < most and contrast.outside.served:
            taken.add(about)
            yield contrast


def _rank(contrast: Contrast) -> tuple[float, int, float, str]:
    """The most specific first: the greatest share of failures inside, in steps of five percent."""
    share = contrast.inside.failed / contrast.inside.all
    return -round(share * 20), LINES.index(contrast.line), contrast.chance, contrast.other


def _point(index: int, one: Attributed, around: Surroundings) -> _Point | None:
    """A failed request that needs an explanation; None for one that has one."""
    finding, failure = one.finding, one.failure
    unexplained = finding.confidence == "symptom" or finding.kind == "application"
    if not unexplained or finding.kind == "harness" or one.faults:
        return None
    if failure.outcome.status == _RATE_LIMITED:
        return None  # it comes with the number of requests, whatever version or schema there is
    if failure.replica is None or failure.version is None:
        return None
    previous = around.answers.previous(failure.outcome, around.skew.answered)
    return _Point(index, failure.at_ns, failure.replica, failure.version, previous)


class _Group:
    """Failures of some steps with one symptom, and the successes of the same steps."""

    def __init__(
        self, steps: Sequence[Step], points: Sequence[_Point], around: Surroundings
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
            yield from self._previous_version(version, mine, (previous or {}).get(version, []))
            yield from self._around_its_life(version, mine)
            if counts[version] >= (1 - _STRAY) * len(self._points):
                yield from self._alone(version, mine)

    def _alone(self, version: str, mine: Sequence[_Point]) -> Iterator[Contrast]:
        """Only this version fails, always or from a moment on."""
        strays = [point for point in self._points if point.version != version]
        here = _Side(list(mine), merged(self._by_version.get(version, ())))
        there = _Side(strays, self._others(version))
        if not self._many_replicas(version, mine):
            return
        beside = there.counts
        chance = _chance(here, there)
        yield _contrast("version", version, "", here, there, beside, chance)
        for line, other, at_ns in self._moments(version):
            after, before = _split(here, at_ns)
            if len(before.failed) > _STRAY * len(mine) or not before.served or not after.failed:
                continue
            # Both halves of the sentence must hold, so the weaker of them counts.
            further = max(_chance(after, there), fisher_greater(after.counts, before.counts))
            yield _contrast(line, version, other, after, before, beside, further)

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
        self, version: str, mine: Sequence[_Point], served: Sequence[tuple[int, str]]
    ) -> Iterator[Contrast]:
        """It fails only where another version answered the request before."""
        known = [point for point in mine if point.previous is not None]
        across = _Side(
            [point for point in known if point.previous != version],
            array("q", sorted(at_ns for at_ns, previous in served if previous != version)),
        )
        within = _Side(
            [point for point in known if point.previous == version],
            array("q", sorted(at_ns for at_ns, previous in served if previous == version)),
        )
        if not across.failed or len(within.failed) > _STRAY * len(known):
            return
        chance = _chance(across, within)
        (other, _), *_ = Counter(str(point.previous) for point in across.failed).most_common(1)
        none = Counts(0, 0)
        yield _contrast("previous_version", version, other, across, within, none, chance)

    def _around_its_life(self, version: str, mine: Sequence[_Point]) -> Iterator[Contrast]:
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

    def _holds(self, inside: _Side, outside: _Side, version: str, mine: Sequence[_Point]) -> bool:
        """Whether it fails only inside, though at that time all others went on."""
        if not inside.failed or not outside.served:
            return False
        if len(outside.failed) > _STRAY * len(mine):
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
        if strays > _STRAY * len(inside.failed):
            return False
        if controls < _CONTROLS and not _spread(inside, _PIECES - 2):
            return False
        return self._many_replicas(version, inside.failed)

    def _many_replicas(self, version: str, points: Iterable[_Point]) -> bool:
        """Whether most of the version's replicas fail that answered this step at that time."""
        points = list(points)
        first_ns, last_ns = _span(points)
        failing = {point.replica for point in points}
        often = {
            one.replica
            for one in self._by_version.get(version, ())
            if between(one.times, first_ns, last_ns) >= _CONTROLS
        }
        return 2 * len(failing) > len(failing | often)


def _chance(inside: _Side, outside: _Side) -> float:
    """The chance that failures lie on the one side; 1 if a disturbance explains it as well.

    Failures all over their side are compared with the whole other side. Others may be a matter of
    time, so only the time is compared in which they occurred; the other side must have had requests
    then.
    """
    first_ns, last_ns = _span(inside.failed)
    controls = between(outside.served, first_ns, last_ns)
    if controls >= _CONTROLS and not _spread(inside, _PIECES - 2):
        if not _spread(inside, _PIECES // 2):
            return 1.0
        near = Counts(len(inside.failed), between(inside.served, first_ns, last_ns))
        strays = sum(first_ns <= point.at_ns <= last_ns for point in outside.failed)
        return fisher_greater(near, Counts(strays, controls))
    if not outside.served or not _spread(inside, _PIECES - 2):
        return 1.0
    return fisher_greater(inside.counts, outside.counts)


def _span(points: Sequence[_Point]) -> tuple[int, int]:
    times = [point.at_ns for point in points]
    return min(times), max(times)


def _spread(side: _Side, pieces: int) -> bool:
    """Whether a side's failures are spread over so many of the eight pieces of its requests."""
    failed = sorted(point.at_ns for point in side.failed)
    size = len(side.served) + len(failed)
    hit = {
        (bisect_left(side.served, at_ns) + bisect_left(failed, at_ns)) * _PIECES // size
        for at_ns in failed
    }
    return len(hit) >= pieces


def _split(side: _Side, at_ns: int) -> tuple[_Side, _Side]:
    """The requests of a side from an instant on, and those before it."""
    index = bisect_left(side.served, at_ns)
    after = [point for point in side.failed if point.at_ns >= at_ns]
    before = [point for point in side.failed if point.at_ns < at_ns]
    return _Side(after, side.served[index:]), _Side(before, side.served[:index])


def _split_each(
    points: Iterable[_Point], served: Iterable[Served], moments: Mapping[str, int | None]
) -> tuple[_Side, _Side]:
    """The requests from their own replica's moment on, and those before; without one: before."""
    after, before = _Side(), _Side()
    for point in points:
        at_ns = moments.get(point.replica)
        side = before if at_ns is None or point.at_ns < at_ns else after
        side.failed.append(point)
    for one in served:
        at_ns = moments.get(one.replica)
        index = len(one.times) if at_ns is None else bisect_left(one.times, at_ns)
        before.served.extend(one.times[:index])
        after.served.extend(one.times[index:])
    for side in (after, before):
        side.served = array("q", sorted(side.served))
    return after, before


def _contrast(  # noqa: PLR0917 - it is called with all of them, in the record's order
    line: Line,
    version: str,
    other: str,
    inside: _Side,
    outside: _Side,
    beside: Counts,
    chance: float,
) -> Contrast:
    indices = tuple(point.position for point in inside.failed)
    return Contrast(line, version, other, inside.counts, outside.counts, beside, indices, chance)
