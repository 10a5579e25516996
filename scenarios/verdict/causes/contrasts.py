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

Few requests may cross from one version to another, as with sticky sessions. If each of them fails
and no other does, that is told from a chance of one percent on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from scenarios.verdict.causes.attribution import Attributed
from scenarios.verdict.causes.contrast import LINES, Contrast, finding_of
from scenarios.verdict.causes.contrast_lines import CONTROLS, FailurePoint, StepGroup
from scenarios.verdict.causes.service_contrasts import ServiceContrast, service_contrasts
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.columns.requests import Step, step_of
from scenarios.verdict.measures.exact_test import fisher_greater, holm

LEVEL = 0.001
"""The chance that a run in which failures follow no line gets any contrast at all."""

ALONE_LEVEL = 0.01
"""The same where few requests crossed from one version to another, and each of them failed."""

_RATE_LIMITED = 429


_Key = tuple[str, Step]
"""A group of failures: their symptom, and their step."""

_POOLED: Step = ("", -1)
"""Stands for all steps."""


def contrasted(failed: Sequence[Attributed], around: Surroundings) -> tuple[Attributed, ...]:
    """The same requests; those that a contrast explains have it as their cause.

    Args:
        failed: the failed requests with the causes that the ladder found, by planned time.
        around: must have heard of every request.
    """
    found = contrasts_of(failed, around)
    result = list(failed)
    shares: dict[int, float] = {}
    for contrast in found:
        shares |= dict.fromkeys(contrast.failed, contrast.inside.failed / contrast.inside.all)
    for line in LINES:
        mine = [contrast for contrast in found if contrast.line == line]
        for contrast in mine:
            kin = [one for one in mine if line == "previous_version" or one.about == contrast.about]
            symptom = failed[contrast.failed[0]].finding.title
            finding = finding_of(line, kin, symptom)
            for index in contrast.failed:
                result[index] = replace(failed[index], finding=finding)
    for other in _of_services(failed, around):
        finding = other.finding(failed[other.failed[0]].finding.title)
        for index in other.failed:
            # Who answered a call is known of each request, so it goes before what is as good.
            if index not in shares or (other.followed and other.share >= shares[index]):
                result[index] = replace(failed[index], finding=finding)
    return tuple(result)


def _of_services(failed: Sequence[Attributed], around: Surroundings) -> list[ServiceContrast]:
    """The contrasts of services, where there are any."""
    if not around.calls.services:
        return []
    open_ = [(index, one) for index, one in enumerate(failed) if _is_open(one)]
    return service_contrasts(open_, around)


def contrasts_of(failed: Sequence[Attributed], around: Surroundings) -> list[Contrast]:
    """The contrasts of a run, at most one for each failed request; see `contrasted`."""
    groups: dict[_Key, list[FailurePoint]] = {}
    for index, one in enumerate(failed):
        point = _point(index, one, around)
        if point is not None:
            key = one.finding.cause, step_of(one.failure.outcome)
            groups.setdefault(key, []).append(point)
    candidates: list[tuple[_Key, Contrast]] = []
    for key, points in sorted(groups.items()):
        group = StepGroup([key[1]], points, around)
        candidates += ((key, contrast) for contrast in group.candidates())
    for key, points, steps in _pools(groups):
        pool = StepGroup(steps, points, around)
        candidates += ((key, contrast) for contrast in pool.candidates())
    best = _best(candidates)
    for about, contrast in _without_exception(candidates):
        best.setdefault(about, contrast)
    return [*best.values(), *_alike(best, candidates, groups)]


def _best(candidates: Sequence[tuple[_Key, Contrast]]) -> dict[tuple[_Key, str], Contrast]:
    """The most specific contrast of each group and version that holds; a step goes before all."""
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
    return best


def _without_exception(
    candidates: Iterable[tuple[_Key, Contrast]],
) -> Iterator[tuple[tuple[_Key, str], Contrast]]:
    """Where all requests fail that another version had led to, and none that the same one had.

    With sticky sessions few requests cross from one version to the other, so they may be too few to
    be spread over anything. But who answered the request before is a part of each request's own
    evidence, unlike its time, so a disturbance of a moment does not sort them so.
    """
    for key, contrast in candidates:
        if contrast.line != "previous_version" or key[1] == _POOLED:
            continue
        inside, outside = contrast.inside, contrast.outside.plus(contrast.beside)
        # The version itself must have served well what it had led to, or it fails by itself.
        if inside.served or outside.failed or contrast.outside.served < CONTROLS:
            continue
        if fisher_greater(inside, outside) <= ALONE_LEVEL:
            yield (key, contrast.version), contrast


def _pools(
    groups: Mapping[_Key, Sequence[FailurePoint]],
) -> Iterator[tuple[_Key, list[FailurePoint], list[Step]]]:
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
    groups: Mapping[_Key, Sequence[FailurePoint]],
) -> Iterator[Contrast]:
    """The contrasts of steps with too few failures, where another step shows the same for sure.

    The symptom must be the same, and all of the version's failures must lie inside, fewer of them
    than the other step has.
    """
    shown: dict[tuple[str, ...], int] = {}
    pooled: set[tuple[str, ...]] = set()  # they count each of their steps already
    for (key, _), contrast in best.items():
        known = (key[0], contrast.line, *contrast.about)
        shown[known] = max(shown.get(known, 0), contrast.inside.failed)
        if key[1] == _POOLED:
            pooled.add(known)
    taken = set(best)
    for key, contrast in sorted(candidates, key=lambda one: (one[0], _rank(one[1]))):
        about = key, contrast.version
        known = (key[0], contrast.line, *contrast.about)
        most = shown.get(known, 0)
        if key[1] == _POOLED or about in taken or known in pooled:
            continue
        mine = sum(point.version == contrast.version for point in groups[key])
        if contrast.inside.failed == mine < most and contrast.outside.served:
            taken.add(about)
            yield contrast


def _rank(contrast: Contrast) -> tuple[float, int, float, str]:
    """The most specific first: the greatest share of failures inside, in steps of five percent."""
    share = contrast.inside.failed / contrast.inside.all
    return -round(share * 20), LINES.index(contrast.line), contrast.chance, contrast.other


def _is_open(one: Attributed) -> bool:
    """Whether a failed request needs an explanation: only what failed is known, and not why."""
    finding = one.finding
    unexplained = finding.confidence == "symptom" or finding.kind in ("application", "service")
    if not unexplained or finding.kind == "harness" or one.faults:
        return False
    # That comes with the number of requests, whatever version or schema there is.
    return one.failure.outcome.status != _RATE_LIMITED


def _point(index: int, one: Attributed, around: Surroundings) -> FailurePoint | None:
    """A failed request that needs an explanation; None for one that has one."""
    failure = one.failure
    if not _is_open(one) or failure.replica is None or failure.version is None:
        return None
    previous = around.answers.previous(failure.outcome, around.skew.answered)
    return FailurePoint(index, failure.at_ns, failure.replica, failure.version, previous)
