"""The canary judge: pure, from counts to a judgement with its reason."""

import enum
from typing import NamedTuple

from orchestrator.platform import Count


class Finding(enum.Enum):
    """What the counts say."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Judgement(NamedTuple):
    """A finding, and the line that gives the number and the limit that it was held against."""

    finding: Finding
    reason: str


def judge(canary: Count, stable: Count, *, minimum: int, tolerance: float) -> Judgement:
    """Compare the canary's failure rate with the stable version's.

    The limit is the stable version's rate plus the tolerance. Fewer than `minimum` requests are
    inconclusive, with one exception: failures that would be above the limit even if all requests
    still missing from the minimum were to succeed are a fail at once, so that a canary which fails
    everything is not kept for the sake of a sample.

    Args:
        canary: what the canary answered since it got this share of the traffic.
        stable: what the stable version answered meanwhile.
        minimum: the least number of the canary's requests that a judgement rests on.
        tolerance: how much higher its failure rate may be; 0.01 is one percent.
    """
    limit = min(1.0, _rate(stable) + tolerance)
    seen = (
        f"{canary.failed} of {canary.requests} requests to the canary failed "
        f"({_rate(canary):.2%}; the limit is {limit:.2%}: "
        f"{stable.failed} of {stable.requests} of the stable version, plus {tolerance:.2%})"
    )
    if canary.failed > limit * max(canary.requests, minimum):
        return Judgement(Finding.FAIL, seen)
    if canary.requests < max(minimum, 1):
        return Judgement(
            Finding.INCONCLUSIVE, f"{seen}; a judgement needs {minimum} requests to the canary"
        )
    return Judgement(Finding.PASS, seen)


def _rate(count: Count) -> float:
    return count.failed / count.requests if count.requests else 0.0
