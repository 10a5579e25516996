"""Failures that follow the version of a service behind the application. Pure.

The service answers well, and yet its caller fails: it does not understand what another version of
the service answers. Where calls name their requests (`X-Request-Id`), each request is known by the
version of the service that it met, and an exact test compares both sides. Where they do not, only
the time can tell: the failures began when that version first answered.

The tests and the reasons to doubt them are those of `scenarios.verdict.causes.contrasts`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from scenarios.verdict.causes.answers import merged
from scenarios.verdict.causes.attribution import Attributed
from scenarios.verdict.causes.contrast_lines import (
    CONTROLS,
    STRAY,
    ContrastSide,
    FailurePoint,
    chance_of,
    split,
    spread_over_time,
)
from scenarios.verdict.causes.failure import Finding
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.columns import order
from scenarios.verdict.columns.requests import Step, step_of
from scenarios.verdict.measures.exact_test import Counts, fisher_greater, holm

LEVEL = 0.001
"""The chance that a run in which failures follow no service gets any of these contrasts."""


class ServiceContrast(NamedTuple):
    """What one version of a service has to do with failures of its caller.

    Attributes:
        service: the service.
        other: the version of the service.
        version: the version of the application that fails.
        inside: the requests whose calls that version answered; or those from its first answer on.
        outside: those whose calls other versions answered; or those before.
        followed: whether the calls name their requests.
        failed: the failed requests that it explains, by their place in the list.
        chance: the p-value.
    """

    service: str
    other: str
    version: str
    inside: Counts
    outside: Counts
    followed: bool
    failed: tuple[int, ...]
    chance: float

    @property
    def share(self) -> float:
        """The share of failures inside."""
        return self.inside.failed / self.inside.all

    def finding(self, symptom: str) -> Finding:
        """What it says of each of its requests.

        Args:
            symptom: what was seen of a failed request itself.
        """
        name, other, version = self.service, self.other, self.version
        inside, outside = (f"{one.failed:,} of {one.all:,}" for one in (self.inside, self.outside))
        if self.followed:
            told = (
                f"version {version} fails only where version {other} of service {name} answered "
                f"its call: {version} does not work with {name} {other} ({inside} failed there, "
                f"{outside} where another version of {name} answered)"
            )
        else:
            told = (
                f"version {version} fails only after version {other} of service {name} first "
                f"answered ({inside} failed from then on, {outside} before; the calls of {name} "
                "do not pass X-Request-Id on, so it is not known which of them it answered)"
            )
        return Finding(
            f"service:{name}:{other}", f"{told}; the symptom: {symptom}", "likely", "service"
        )


class _Point(NamedTuple):
    """A failed request that needs an explanation."""

    position: int
    request_id: str
    at_ns: int
    step: Step


def service_contrasts(
    failed: Sequence[tuple[int, Attributed]], around: Surroundings
) -> list[ServiceContrast]:
    """The contrasts that hold.

    Args:
        failed: the failed requests that need an explanation, with their places in the list.
        around: must have heard of every request and call.
    """
    groups: dict[tuple[str, str], list[_Point]] = {}
    for position, one in failed:
        failure = one.failure
        if failure.version is not None:
            point = _Point(
                position, failure.outcome.request_id, failure.at_ns, step_of(failure.outcome)
            )
            groups.setdefault((one.finding.cause, failure.version), []).append(point)
    candidates = [
        contrast
        for (_, version), points in sorted(groups.items())
        for one in around.calls.services
        for contrast in (
            _followed(one.service, version, points, around)
            if one.followed
            else _in_time(one.service, version, points, around)
        )
    ]
    kept = holm([one.chance for one in candidates], LEVEL)
    return [one for one, holds in zip(candidates, kept, strict=True) if holds]


def _followed(
    service: str, version: str, points: Sequence[_Point], around: Surroundings
) -> Iterator[ServiceContrast]:
    """The lines between what one version of the service answered and what others did."""
    met: dict[str, list[FailurePoint]] = {}
    for point in points:
        answered = around.calls.answered(service, point.request_id)
        if answered is not None:
            other, replica = answered
            met.setdefault(other, []).append(
                FailurePoint(point.position, point.at_ns, replica, other, None)
            )
    total = sum(map(len, met.values()))
    served = around.calls.served(service, {point.step for point in points}, version)
    for other, mine in sorted(met.items()):
        strays = [one for name, several in met.items() if name != other for one in several]
        if len(strays) > STRAY * total:
            continue
        inside = ContrastSide(
            mine, order.merged(times for (of, _), times in served.items() if of == other)
        )
        outside = ContrastSide(
            strays, order.merged(times for (of, _), times in served.items() if of != other)
        )
        failing = {one.replica for one in mine}
        well = {
            replica
            for (of, replica), times in served.items()
            if of == other and len(times) >= CONTROLS
        }
        if not outside.served or 2 * len(failing) <= len(failing | well):
            continue
        yield ServiceContrast(
            service=service,
            other=other,
            version=version,
            inside=inside.counts,
            outside=outside.counts,
            followed=True,
            failed=tuple(one.position for one in mine),
            chance=chance_of(inside, outside),
        )


def _in_time(
    service: str, version: str, points: Sequence[_Point], around: Surroundings
) -> Iterator[ServiceContrast]:
    """The lines between the time before a version of the service first answered, and after."""
    steps = {point.step for point in points}
    mine = [FailurePoint(one.position, one.at_ns, "", version, None) for one in points]
    here = ContrastSide(
        mine,
        merged(
            served
            for step in sorted(steps)
            for served in around.answers.of_step(step)
            if around.skew.version_of(served.replica) == version
        ),
    )
    for other, at_ns in _first_answers(service, around):
        after, before = split(here, at_ns, None)
        if len(before.failed) > STRAY * len(mine) or len(before.served) < CONTROLS:
            continue
        if after.failed and spread_over_time(after):
            yield ServiceContrast(
                service=service,
                other=other,
                version=version,
                inside=after.counts,
                outside=before.counts,
                followed=False,
                failed=tuple(one.position for one in after.failed),
                chance=fisher_greater(after.counts, before.counts),
            )


def _first_answers(service: str, around: Surroundings) -> Iterable[tuple[str, int]]:
    """When each version of a service was first given traffic, but for the first one."""
    first: dict[str, int] = {}
    for name, life in around.timeline.processes.items():
        if around.timeline.sets.get(name) == service and life.version and life.attached_ns:
            first[life.version] = min(first.get(life.version, life.attached_ns), life.attached_ns)
    return sorted(first.items(), key=lambda item: item[1])[1:]
