"""Which keys of a store changed the form of their values when the release came. Pure.

A form, or a field of it, counts as new if no value had it before the release, and if so many values
have it since that chance does not explain it (Fisher's exact test, corrected after Holm for the
number of tests). So an optional field that is seen late by chance is no change.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from scenarios.evidence.cache_form import CacheForm
from scenarios.verdict.measures.exact_test import Counts, fisher_greater, holm
from scenarios.verdict.model import CacheChange
from scenarios.verdict.timeline import Timeline

LEVEL = 0.001
"""The chance that a store whose forms do not change gets any such change."""

_PLAIN = frozenset(
    {"text", "number", "empty", "json string", "json number", "json boolean", "json null"}
)


class _Feature(NamedTuple):
    """Something that values of a pattern have since the release, and none had before."""

    pattern: str
    name: str
    chance: float


def cache_changes(
    forms: Iterable[CacheForm], timeline: Timeline, origin_ns: int
) -> tuple[CacheChange, ...]:
    """The changes, by the name of the pattern.

    Args:
        forms: what was seen; in any order.
        timeline: the journal.
        origin_ns: the instant 0.0.
    """
    patterns: dict[str, list[CacheForm]] = {}
    for one in forms:
        patterns.setdefault(one.pattern, []).append(one)
    release_ns = _new_version_ns(timeline)
    features = [
        feature
        for pattern, seen in sorted(patterns.items())
        for feature in _features(pattern, seen, release_ns)
    ]
    kept = holm([one.chance for one in features], LEVEL)
    new: dict[str, set[str]] = {}
    for feature, holds in zip(features, kept, strict=True):
        if holds:
            new.setdefault(feature.pattern, set()).add(feature.name)
    return tuple(
        _change(patterns[pattern], names, release_ns, timeline, origin_ns)
        for pattern, names in new.items()
    )


def _features(pattern: str, seen: Iterable[CacheForm], release_ns: float) -> Iterator[_Feature]:
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    totals = [0, 0]
    for one in seen:
        late = one.at_ns >= release_ns
        totals[late] += one.written
        for name in _names(one):
            (after if late else before)[name] += one.written
    for name in sorted(after):
        if not before[name]:
            inside = Counts(after[name], totals[1] - after[name])
            yield _Feature(pattern, name, fisher_greater(inside, Counts(0, totals[0])))


def _names(one: CacheForm) -> Iterator[str]:
    """What may be new of a form.

    Whether a text is a number depends on the value, and so does the first byte of what is encrypted
    or packed in a format that is not known: neither is another form.
    """
    form = one.form.partition(" 0x")[0]
    yield f"{one.type} {'text' if form in _PLAIN else form}"
    yield from one.fields


def _change(
    seen: Iterable[CacheForm],
    names: set[str],
    release_ns: float,
    timeline: Timeline,
    origin_ns: int,
) -> CacheChange:
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    written = 0
    first_ns: int | None = None
    pattern = ""
    for one in sorted(seen, key=lambda one: one.at_ns):
        pattern = one.pattern
        if one.at_ns < release_ns:
            before[one.words] += one.written
            continue
        written += one.written
        if names.intersection(_names(one)):
            after[one.words] += one.written
            first_ns = one.at_ns if first_ns is None else first_ns
    was, now = _most(before), _most(after)
    at_ns = first_ns or origin_ns
    version, first = _version(timeline, at_ns), (at_ns - origin_ns) / 1e9
    since = f", after version {version} had begun to serve" if version else ""
    return CacheChange(
        pattern=pattern,
        before=was,
        after=now,
        first=first,
        version=version,
        new=after.total(),
        written=written,
        sentence=(
            f"values of {pattern} were {was}; from {first:+.2f} s on{since}, {after.total():,} of "
            f"{written:,} that were written are {now}"
        ),
    )


def _most(counts: Counter[str]) -> str:
    return min(counts, key=lambda one: (-counts[one], one), default="?")


def _new_version_ns(timeline: Timeline) -> float:
    """When the first version began to serve that came with the release."""
    lives = (*timeline.lives.values(), *timeline.processes.values())
    begun = [life.attached_ns for life in lives if life.attached_ns is not None]
    return min((one for one in begun if one >= timeline.rollout_ns), default=math.inf)


def _version(timeline: Timeline, at_ns: int) -> str | None:
    """The version that had begun to serve last by an instant, if it came with the release."""
    first: dict[str, int] = {}
    for life in (*timeline.lives.values(), *timeline.processes.values()):
        if life.version is not None and life.attached_ns is not None:
            first[life.version] = min(first.get(life.version, life.attached_ns), life.attached_ns)
    begun = [
        (began, name) for name, began in first.items() if timeline.rollout_ns <= began <= at_ns
    ]
    return max(begun)[1] if begun else None
