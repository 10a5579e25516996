"""The canary analysis: PURE, from two samples and the criteria to a judgement with its reason.

It asks up to five questions. With too small a sample the answer is *inconclusive*, never *pass*:

1. Do more of the canary's requests fail? Fisher's exact test, one-sided: how likely it is that so
   many of all failures fall to the canary if both groups have the same failure rate.
2. Is the canary slower? Mann and Whitney's test, one-sided, on the balancer's latency buckets
   (midranks, variance corrected for ties). A certain difference can still be too small to matter.
   So a fail also needs an effect: a high probability that a request to the canary is slower than
   one to the others, and a mean that is higher by a fraction and by an absolute time.
3. Is its failure rate above a fixed limit? 4. Is its 99th percentile?
5. Do the stable replicas fail more than before the canary? What the canary writes may be what they
   cannot read, while the canary itself looks well. Such harm stops it.

The limit of failures comes from the stable replicas' own past, before the canary's first request:
a sample of the same time may be one that the canary has spoilt.

Sources: R. A. Fisher, *Statistical Methods for Research Workers*, §21.02 (the exact test); Mann
and Whitney, *Annals of Mathematical Statistics* 18 (1947); McGraw and Wong, *Psychological
Bulletin* 111 (1992), for the common language effect size. Both tests are a few lines on counts,
so SciPy is not needed at run time; the tests compare them with SciPy's.
"""

import enum
import math
from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.policy import Criteria
from orchestrator.request_statistics import Latency, RequestCounts


class Finding(enum.Enum):
    """The result of an analysis; `ERROR` means that there are no statistics."""

    PASS = "pass"  # noqa: S105 - not a password
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    FAIL = "fail"


class Judgement(NamedTuple):
    """A finding and its reason.

    Attributes:
        finding: the result.
        reason: one line with the measured number and its limit.
        fleeting: whether the canary fails for its latency alone. A replica with more traffic than
            before is slow for a moment, while its caches and pools fill, so it is measured again.
    """

    finding: Finding
    reason: str
    fleeting: bool = False


def judge(
    canary: RequestCounts,
    other: RequestCounts,
    criteria: Criteria,
    *,
    together: bool = True,
    calm: RequestCounts | None = None,
) -> Judgement:
    """Answer all questions; the worst finding is the judgement.

    Args:
        canary: the counts of the canary since it got its present share of the traffic.
        other: the counts of the replicas that it is compared with.
        criteria: the limits and the smallest samples.
        together: whether both groups answered at the same time. When the canary has all traffic,
            the others' sample is an earlier one. Their failure rate can still be compared, but not
            their latencies, because the machine may have been less busy then.
        calm: the counts of `other` before the canary's first request; None: they are unknown, and
            then the limit comes from `other` itself.
    """
    harm = None if calm is None else _harm(other, calm, criteria)
    answers = [_failures(canary, other, criteria, calm)] if harm is None else [harm]
    if criteria.max_failure_rate is not None:
        answers.append(_failure_limit(canary, criteria.max_failure_rate, criteria.minimum_requests))
    failing = any(one.finding is Finding.FAIL for one in answers)
    if together:
        answers.append(_latency(canary, other, criteria))
    if criteria.max_p99_seconds is not None:
        answers.append(_p99_limit(canary, criteria.max_p99_seconds, criteria.minimum_requests))
    gravity = list(Finding)
    worst = max((one.finding for one in answers), key=gravity.index)
    reason = "; ".join(one.reason for one in answers if one.finding is worst)
    return Judgement(worst, reason, fleeting=worst is Finding.FAIL and not failing)


def fisher(failed: int, requests: int, other_failed: int, other_requests: int) -> float:
    """Return the probability of at least so many failures in the first sample by chance.

    Both samples are assumed to have the same failure rate: this is the upper tail of the
    hypergeometric distribution.
    """
    failures, total = failed + other_failed, requests + other_requests
    most = min(failures, requests)
    if failed <= max(0, failures - other_requests):
        return 1.0
    whole = _log_choose(total, failures)
    terms = (
        math.exp(_log_choose(requests, here) + _log_choose(other_requests, failures - here) - whole)
        for here in range(failed, most + 1)
    )
    return min(1.0, math.fsum(terms))


class RankTest(NamedTuple):
    """The result of a rank test.

    Attributes:
        chance: the probability of at least this difference if both samples have the same
            distribution (one-sided).
        effect: the probability that a value of the first sample is greater than a value of the
            second; ties count half.
    """

    chance: float
    effect: float


def mann_whitney(first: Sequence[int], second: Sequence[int]) -> RankTest:
    """Test whether the first sample tends to higher buckets; both count the same buckets.

    It uses the normal approximation with a continuity correction, which is good from about 20
    values on.
    """
    size, other_size = sum(first), sum(second)
    if not size or not other_size:
        return RankTest(1.0, 0.5)
    total = size + other_size
    wins, below, ties = 0.0, 0, 0
    for here, there in zip(first, second, strict=True):
        wins += here * (below + there / 2)
        below += there
        ties += (here + there) ** 3 - (here + there)
    spread = size * other_size / 12 * (total + 1 - ties / (total * (total - 1)))
    effect = wins / (size * other_size)
    if spread <= 0:
        return RankTest(1.0, effect)
    z = (wins - size * other_size / 2 - 0.5) / math.sqrt(spread)
    return RankTest(0.5 * math.erfc(z / math.sqrt(2)), effect)


def percentile(latency: Latency, share: float) -> float:
    """Return the upper bound of the percentile's bucket; infinite for the last bucket."""
    wanted = math.ceil(share * sum(latency.counts))
    seen = 0
    for bound, count in zip((*latency.bounds, math.inf), latency.counts, strict=True):
        seen += count
        if seen >= wanted:
            return bound
    return math.inf


def _harm(stable: RequestCounts, calm: RequestCounts, criteria: Criteria) -> Judgement | None:
    """Whether the stable replicas fail more than before the canary; None if that is not certain."""
    minimum = max(criteria.minimum_requests, 1)
    size = max(stable.requests, minimum)
    limit = _rate(calm) + criteria.failure_tolerance
    chance = fisher(stable.failed, size, calm.failed, calm.requests)
    if calm.requests < minimum or stable.failed <= limit * size or chance > criteria.significance:
        return None
    return Judgement(
        Finding.FAIL,
        f"the stable replicas are harmed: {stable.failed} of {stable.requests} requests to them "
        f"failed since the canary began ({_rate(stable):.2%}; the limit is {min(limit, 1):.2%}: "
        f"{calm.failed} of {calm.requests} before it, plus {criteria.failure_tolerance:.2%}; "
        f"p = {chance:.2g}, at most {criteria.significance:g} is a fail)",
    )


def _failures(
    canary: RequestCounts,
    other: RequestCounts,
    criteria: Criteria,
    calm: RequestCounts | None,
) -> Judgement:
    minimum = max(criteria.minimum_requests, 1)
    # A canary with too few requests can already have too many failures. So it is judged as if all
    # missing requests had succeeded, and fails without waiting for them.
    size = max(canary.requests, minimum)
    past = calm is not None and calm.requests >= minimum
    base = calm if calm is not None and past else other
    chance = fisher(canary.failed, size, base.failed, base.requests)
    # Without a past that is long enough, nothing is allowed beyond the tolerance.
    limit = (_rate(base) if past or calm is None else 0.0) + criteria.failure_tolerance
    seen = (
        f"{canary.failed} of {canary.requests} requests to the canary failed "
        f"({_rate(canary):.2%}; the limit is {min(limit, 1):.2%}: {base.failed} of "
        f"{base.requests} of the others{' before it' if past else ''}, plus "
        f"{criteria.failure_tolerance:.2%}; p = {chance:.2g}, at most "
        f"{criteria.significance:g} is a fail)"
    )
    if base.requests >= minimum and (
        canary.failed > limit * size and chance <= criteria.significance
    ):
        return Judgement(Finding.FAIL, seen)
    if canary.requests < minimum or base.requests < minimum:
        return Judgement(
            Finding.INCONCLUSIVE, f"{seen}; a judgement needs {minimum} requests to each"
        )
    return Judgement(Finding.PASS, seen)


def _latency(canary: RequestCounts, other: RequestCounts, criteria: Criteria) -> Judgement:
    minimum = max(criteria.minimum_requests, 1)
    here, there = canary.latency, other.latency
    if min(sum(here.counts), sum(there.counts)) < minimum:
        return Judgement(
            Finding.INCONCLUSIVE,
            f"{sum(here.counts)} latencies of the canary and {sum(there.counts)} of the others; "
            f"a judgement needs {minimum} of each",
        )
    ranks = mann_whitney(here.counts, there.counts)
    mean, usual = here.seconds / sum(here.counts), there.seconds / sum(there.counts)
    limit = max(
        usual * (1 + criteria.latency_tolerance), usual + criteria.latency_tolerance_seconds
    )
    seen = (
        f"the canary takes {mean * 1e3:.1f} ms on average (the limit is {limit * 1e3:.1f} ms, for "
        f"{usual * 1e3:.1f} ms of the others) and is the slower one with a chance of "
        f"{ranks.effect:.2f} (the limit is {criteria.latency_effect:g}; p = {ranks.chance:.2g}, at "
        f"most {criteria.significance:g} is a fail)"
    )
    slow = (
        ranks.chance <= criteria.significance
        and ranks.effect > criteria.latency_effect
        and mean > limit
    )
    return Judgement(Finding.FAIL if slow else Finding.PASS, seen)


def _failure_limit(canary: RequestCounts, limit: float, minimum: int) -> Judgement:
    seen = (
        f"{canary.failed} of {canary.requests} requests to the canary failed "
        f"({_rate(canary):.2%}; max_failure_rate is {limit:.2%})"
    )
    if canary.failed > limit * max(canary.requests, minimum, 1):
        return Judgement(Finding.FAIL, seen)
    if canary.requests < max(minimum, 1):
        return Judgement(Finding.INCONCLUSIVE, f"{seen}; a judgement needs {minimum} requests")
    return Judgement(Finding.PASS, seen)


def _p99_limit(canary: RequestCounts, limit: float, minimum: int) -> Judgement:
    size = sum(canary.latency.counts)
    if size < max(minimum, 1):
        return Judgement(
            Finding.INCONCLUSIVE,
            f"{size} latencies of the canary; its 99th percentile needs {minimum}",
        )
    found = percentile(canary.latency, 0.99)
    seen = f"the canary's 99th percentile is at most {found:g} s (max_p99_seconds is {limit:g} s)"
    # The percentile lies somewhere in its bucket: it is certainly above the limit only if the
    # whole bucket is.
    floor = max((bound for bound in canary.latency.bounds if bound < found), default=0.0)
    return Judgement(Finding.FAIL if floor >= limit else Finding.PASS, seen)


def _rate(count: RequestCounts) -> float:
    return count.failed / count.requests if count.requests else 0.0


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
