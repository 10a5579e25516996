"""Service levels from requests: availability, bounds, downtime windows, percentiles.

Pure functions over planned times in integer nanoseconds. Everything counts by *planned* time, so
that requests that a stalled system held back still count when they were due.
"""

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, compress, repeat
from operator import and_, floordiv, rshift, sub
from typing import NamedTuple

from scenarios.verdict.columns.order import in_order

CONFIDENCE = 0.95
PEAK_OVER = 10
MERGE_SECONDS = 1.0
SLOT_SECONDS = 0.1

_FRACTION_ERROR = 1e-14


class Ordered(NamedTuple):
    """Requests in order of their planned times.

    Attributes:
        planned: their planned times in nanoseconds.
        failed: for each, 1 if it failed, else 0.
        weights: for each, how many requests it stands for: several where they were only counted.
            None: each stands for itself.
    """

    planned: Sequence[int]
    failed: Sequence[int]
    weights: Sequence[int] | None = None

    @property
    def total(self) -> int:
        """How many requests there are."""
        return len(self.planned) if self.weights is None else sum(self.weights)

    @property
    def span_ns(self) -> int:
        """From the first planned time to the last."""
        return self.planned[-1] - self.planned[0] if self.planned else 0

    @property
    def gap_ns(self) -> int:
        """The mean distance of two requests; 0 with fewer than two."""
        return self.span_ns // (self.total - 1) if self.total > 1 else 0


def ordered(batches: Iterable[Sequence[int]], earliest: Sequence[int]) -> Ordered:
    """Requests put in order, where most of them come in order already.

    Args:
        batches: of each request its planned time, doubled, plus 1 if it failed.
        earliest: for each batch, a planned time that none of its requests precedes.
    """
    if not earliest:
        return Ordered((), b"")
    planned, failed = array("q"), bytearray()
    for marks in in_order(batches, [one << 1 for one in earliest]):
        planned.extend(map(rshift, marks, repeat(1)))
        failed += bytes(map(and_, marks, repeat(1)))
    return Ordered(planned, failed)


class Window(NamedTuple):
    """A stretch of failures; see `model.Downtime`. Indices and times of the requests that bound it.

    Attributes:
        first_ns: the first failure.
        last_ns: the last failure.
        before_ns: the last success before.
        after_ns: the first success after.
        failed: the failures in it.
        requests: all requests from the first to the last failure.
        peak: the highest share of failures among `PEAK_OVER` requests in a row.
    """

    first_ns: int
    last_ns: int
    before_ns: int | None
    after_ns: int | None
    failed: int
    requests: int
    peak: float


class SlotCount(NamedTuple):
    """How many slots of time were good, bad, and without a request."""

    good: int
    bad: int
    no_data: int


def failure_rate_upper(failed: int, total: int, confidence: float = CONFIDENCE) -> float:
    """The exact one-sided upper bound of the failure rate after `failed` of `total` failed.

    Clopper and Pearson (1934): the rate at which so few failures would be seen with probability
    1 - confidence. Without failures that is 1 - (1 - confidence)^(1/n), about 3/n. Without
    requests nothing is known: 1.0. The bound assumes independent failures; those of a deployment
    cluster, so it speaks of requests like these and not of the next rollout.
    """
    if failed >= total:
        return 1.0
    if failed == 0:
        return -math.expm1(math.log(1 - confidence) / total)
    # The distribution of the beta function grows with the rate, so bisection finds the one rate.
    low, high = failed / total, 1.0
    while low < (middle := (low + high) / 2) < high:
        if _beta_distribution(middle, failed + 1, total - failed) < confidence:
            low = middle
        else:
            high = middle
    return high


def _beta_distribution(x: float, a: int, b: int) -> float:
    """The regularised incomplete beta function I_x(a, b), for 0 < x < 1.

    By the continued fraction of NIST's Digital Library of Mathematical Functions, 8.17.22, from
    whichever end it converges sooner; I_x(a, b) = 1 - I_(1-x)(b, a) (8.17.4).
    """
    logs = math.log(x), math.log1p(-x)
    if x <= (a + 1) / (a + b + 2):
        return _beta_fraction(x, a, b, *logs)
    return 1 - _beta_fraction(1 - x, b, a, *reversed(logs))


def _beta_fraction(x: float, a: int, b: int, log_x: float, log_rest: float) -> float:
    """I_x(a, b) where the fraction converges fast; evaluated from the front (Lentz 1976)."""
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    front = math.exp(a * log_x + b * log_rest - log_beta) / a
    numerator, denominator = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = denominator
    m = 0
    while True:
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = 1.0
        for coefficient in (even, odd):
            denominator = 1 / (1 + coefficient * denominator)
            numerator = 1 + coefficient / numerator
            change *= numerator * denominator
        fraction *= change
        if abs(change - 1) < _FRACTION_ERROR:
            return front * fraction


def bad_rollout_upper(rollouts: int, confidence: float = CONFIDENCE) -> float:
    """The upper bound of the probability of a bad rollout after so many good ones and no other."""
    return failure_rate_upper(0, rollouts, confidence)


def smallest_detectable_outage(
    requests: int, seconds: float, *, share: float = 1.0
) -> float | None:
    """Seconds of an outage of a `share` of the service that a request meets with 95 % probability.

    An outage of L seconds is missed with probability e^(-λ·L·share); 3/(λ·share) makes that 5 %.
    None when there is no rate to speak of.
    """
    if requests <= 1 or seconds <= 0:
        return None
    return 3.0 * seconds / ((requests - 1) * share)


def percentile(ordered: Sequence[int], share: float) -> int | None:
    """The nearest-rank percentile of ordered values; None of nothing.

    The smallest value that at least `share` of all values do not exceed: always one that was seen.
    """
    if not ordered:
        return None
    return ordered[rank_of(share, len(ordered)) - 1]


def rank_of(share: float, count: int) -> int:
    """The rank, from 1, of the smallest of so many values that this share does not exceed."""
    # The product may be a hair above a whole number that it should be equal to: 0.99 * 100.
    return max(math.ceil(round(share * count, 9)), 1)


def count_slots(requests: Ordered, slot_ns: int) -> SlotCount:
    """Cut the time from the first to the last planned request into slots and judge each.

    A slot is good if every request planned in it succeeded, bad if one failed. A slot without a
    request is neither: nobody looked.
    """
    if not requests.planned:
        return SlotCount(0, 0, 0)
    origin = requests.planned[0]
    seen = set(map(floordiv, map(sub, requests.planned, repeat(origin)), repeat(slot_ns)))
    failed = compress(requests.planned, requests.failed)
    bad = len({(planned - origin) // slot_ns for planned in failed})
    return SlotCount(len(seen) - bad, bad, requests.span_ns // slot_ns + 1 - len(seen))


def merge_gap_ns(requests: Ordered, least_seconds: float = MERGE_SECONDS) -> int:
    """Failures closer than this belong to one window: three mean gaps, and at least a second."""
    return max(3 * requests.gap_ns, int(least_seconds * 1e9))


def downtime_windows(requests: Ordered, gap_ns: int) -> list[Window]:
    """The stretches of failures, in order of time; each failure is in exactly one of them.

    Two failures belong together if they are less than `gap_ns` apart, or if no request succeeded
    between them: then nothing shows that the service was back.
    """
    return [
        window_of(requests, first, last, _peak_of(requests, first, last))
        for first, last in _runs(requests, gap_ns)
    ]


def window_of(requests: Ordered, first: int, last: int, peak: float) -> Window:
    """The stretch of failures between two of the requests, which are its first and last failure.

    Args:
        requests: all requests.
        first: the index of the first failure.
        last: the index of the last one.
        peak: see `Window`.
    """
    planned, failed, weights = requests
    return Window(
        first_ns=planned[first],
        last_ns=planned[last],
        before_ns=planned[first - 1] if first > 0 else None,
        after_ns=planned[last + 1] if last + 1 < len(planned) else None,
        failed=sum(failed[first : last + 1]),
        requests=last + 1 - first if weights is None else sum(weights[first : last + 1]),
        peak=peak,
    )


def _runs(requests: Ordered, gap_ns: int) -> Iterator[tuple[int, int]]:
    """The first and last index of each run of failures that belong together."""
    first = last = -1
    for index in compress(range(len(requests.failed)), requests.failed):
        if first < 0:
            first = index
        elif index - last > 1 and requests.planned[index] - requests.planned[last] >= gap_ns:
            yield first, last
            first = index
        last = index
    if first >= 0:
        yield first, last


def _peak_of(requests: Ordered, first: int, last: int) -> float:
    """The highest share of failures among `PEAK_OVER` requests in a row that touch the window."""
    _, failed, weights = requests
    if weights is None:
        return _peak(failed, first, last)
    return _weighted_peak(failed, weights, first, last)


def _peak(failed: Sequence[int], first: int, last: int) -> float:
    """The highest share of failures among `PEAK_OVER` requests in a row that touch the window."""
    low, high = max(0, first - PEAK_OVER + 1), min(len(failed), last + PEAK_OVER)
    width = min(PEAK_OVER, high - low)
    sums = [*accumulate(failed[low:high], initial=0)]
    best: int = max(map(sub, sums[width:], sums))
    return best / width


def _weighted_peak(failed: Sequence[int], weights: Sequence[int], first: int, last: int) -> float:
    """The same where an item may stand for several requests: the fewest that are `PEAK_OVER`."""
    low, high = max(0, first - PEAK_OVER + 1), min(len(failed), last + PEAK_OVER)
    best, end, size, bad = 0.0, low, 0, 0
    for begin in range(low, high):
        while size < PEAK_OVER and end < high:
            size += weights[end]
            bad += weights[end] * failed[end]
            end += 1
        if size < PEAK_OVER and begin > low:
            break  # the rest is too short to tell a share
        best = max(best, bad / size)
        size -= weights[begin]
        bad -= weights[begin] * failed[begin]
    return best


def availability_text(ok: int, total: int, confidence: str = "95 % confidence") -> str:
    """What is known of the availability, for people, such as `4,812 of 4,812 succeeded; ...`.

    It never says 100 %, because no finite number of requests shows that.
    """
    if total == 0:
        return "no request was made"
    bound = percent_up(failure_rate_upper(total - ok, total))
    share = "" if ok == total else f" ({percent_down(ok / total)})"
    return f"{ok:,} of {total:,} succeeded{share}; failure rate below {bound} ({confidence})"


def percent_up(ratio: float) -> str:
    """A share in per cent with two significant digits, rounded up, so that a bound stays one.

    A share below 1 never becomes 100 %, however close it is.
    """
    percent = ratio * 100
    if percent <= 0 or ratio >= 1:
        return "0 %" if percent <= 0 else "100 %"
    digits = max(0, 1 - math.floor(math.log10(percent)))
    while (shown := math.ceil(round(percent * 10**digits, 6)) / 10**digits) >= 100:  # noqa: PLR2004 - per cent
        digits += 1
    return f"{shown:.{digits}f} %"


def percent_down(ratio: float) -> str:
    """A share in per cent, rounded down, with as many digits as it takes not to say 100."""
    missing = (1 - ratio) * 100
    digits = 2 if missing <= 0 else max(2, -math.floor(math.log10(missing)))
    shown = math.floor(round(ratio * 100 * 10**digits, 6)) / 10**digits
    return f"{shown:.{digits}f} %"
