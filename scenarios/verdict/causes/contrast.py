"""Where failures lie that nobody explains, in numbers and in a sentence. Pure."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from scenarios.verdict.causes.failure import Finding
from scenarios.verdict.measures.exact_test import Counts

Line = Literal[
    "previous_version",
    "after_write",
    "after_migration",
    "after_served",
    "stopping",
    "warming",
    "version",
]
LINES: tuple[Line, ...] = (
    "previous_version",
    "after_write",
    "after_migration",
    "after_served",
    "stopping",
    "warming",
    "version",
)
"""The most specific first, where the same share of both fails."""


class Contrast(NamedTuple):
    """A line, with the failed and the succeeded requests on both of its sides.

    Attributes:
        line: which.
        version: the version that fails.
        other: the version that served, wrote or answered before; the migration; the seconds.
        inside: the side on which requests fail.
        outside: the other side, of the same version; for `version`: of the others.
        beside: the other versions, in the whole run; for `previous_version`: where each of them
            had answered the request before itself.
        failed: the failed requests that it explains, by their place in the list.
        chance: the p-value.
        returned: whether the other version was taken back; `outside` is before and after it then.
    """

    line: Line
    version: str
    other: str
    inside: Counts
    outside: Counts
    beside: Counts
    failed: tuple[int, ...]
    chance: float
    returned: bool = False

    @property
    def about(self) -> tuple[str, str]:
        """What its sentence names."""
        return self.version, self.other


def finding_of(line: Line, kin: Sequence[Contrast], symptom: str) -> Finding:
    """What contrasts of one line say together, about several steps or versions.

    Args:
        line: which.
        kin: the contrasts; at least one.
        symptom: what was seen of a failed request itself.
    """
    none = Counts(0, 0)
    inside = outside = beside = none
    for one in kin:
        inside, outside = inside.plus(one.inside), outside.plus(one.outside)
        beside = beside.plus(one.beside)
    told = _sentence(
        line, kin[0], inside, outside, beside, alike=len({one.about for one in kin}) == 1
    )
    lifecycle = line in ("warming", "stopping")
    cause = f"lifecycle:{line}" if lifecycle else f"mixed_fleet:{line}"
    kind: Literal["lifecycle", "mixed_fleet"] = "lifecycle" if lifecycle else "mixed_fleet"
    return Finding(cause, f"{told}; the symptom: {symptom}", "likely", kind)


def _sentence(  # noqa: PLR0911 - one for each line
    line: Line, one: Contrast, inside: Counts, outside: Counts, beside: Counts, *, alike: bool
) -> str:
    version, other = one.version, one.other
    elsewhere = f"; {_of(beside)} failed on other versions" if beside.all else ""
    then, otherwise = "from then on", "before"
    if one.returned:
        then, otherwise = f"until {other} was gone", "before and after that"
    match line:
        case "version":
            return (
                f"only version {version} fails ({_of(inside)} of its requests failed, "
                f"{_of(outside)} on other versions)"
            )
        case "after_write":
            return (
                f"only version {version} fails, and only after {other} wrote: {version} cannot "
                f"read what {other} writes ({_of(inside)} failed on {version} after {other} "
                f"first wrote{f' and {then}' if one.returned else ''}, "
                f"{_of(outside)} {otherwise}{elsewhere})"
            )
        case "after_served":
            return (
                f"only version {version} fails, and only after {other} served: {version} does not "
                f"work beside {other} ({_of(inside)} failed on {version} {then}, "
                f"{_of(outside)} {otherwise}{elsewhere})"
            )
        case "after_migration":
            return (
                f"only version {version} fails, and only after the migration {other}: {version} "
                f"does not work with the new schema ({_of(inside)} failed on {version} from then "
                f"on, {_of(outside)} before{elsewhere})"
            )
        case "previous_version" if alike:
            return (
                f"version {version} fails only where version {other} answered the request before: "
                f"{version} does not know what {other} hands out ({_of(inside)} failed there, "
                f"{_of(outside)} where {version} itself had answered)"
            )
        case "previous_version":
            return (
                "requests fail only where another version answered the request before: one version "
                f"does not know what the other hands out ({_of(inside)} failed there, "
                f"{_of(outside)} where the same version had answered)"
            )
        case "warming":
            return (
                f"version {version} fails only within {other} s of a replica's start "
                f"({_of(inside)} failed then, {_of(outside)} later)"
            )
        case "stopping":
            return (
                f"version {version} fails only after its replica was told to stop "
                f"({_of(inside)} failed then, {_of(outside)} before)"
            )


def _of(counts: Counts) -> str:
    return f"{counts.failed:,} of {counts.all:,}"
