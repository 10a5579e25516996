"""When users arrive: schedules in integer nanoseconds, made as they are needed, from a seed alone.

The schedule is fixed before the first answer is known. That is what an open loop is: users do not
come later because the system is slow.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import count, pairwise
from math import inf, sqrt
from pathlib import Path

from scenarios.traffic.errors import PlanError
from scenarios.traffic.plan import Plan
from scenarios.traffic.schedule.stream import Stream
from scenarios.traffic.settings import MOST_SECONDS, RatePoint

_SECOND = 1_000_000_000
# Thirty years in ns: an arrival that comes later does not come.
_NEVER = 1e18

# The first key of every stream says what it is for, so that no two purposes share one.
ARRIVALS = 1


def constant(rate: float) -> Iterator[int]:
    """Equal gaps: the offsets of arrivals in ns from the start, the first at 0.

    Computed from the arrival's number and not from the one before, so no rounding adds up.
    """
    per_second = Fraction(rate)
    for number in count():
        yield number * _SECOND * per_second.denominator // per_second.numerator


def poisson(rate: float, seed: int) -> Iterator[int]:
    """Exponential gaps of mean 1/rate: the offsets of arrivals in ns from the start.

    What many independent users look like from the outside; unlike equal gaps it has bursts.
    """
    stream = Stream(ARRIVALS, seed)
    mean = _SECOND / rate
    at = 0
    while True:
        gap = stream.exponential(mean)
        if gap > _NEVER:
            return
        at += round(gap)
        yield at


def profiled(points: Sequence[RatePoint], expected: Iterable[float]) -> Iterator[int]:
    """Arrivals at a rate that changes, in ns from the start; ends where the rate ends at 0.

    The rate's integral is the number of arrivals that are expected so far. An arrival comes when
    that integral reaches the next number of `expected`: whole numbers give even arrivals, sums of
    exponentials of mean 1 give a Poisson process (Cinlar: Introduction to Stochastic Processes,
    1975, chapter 4.7: inversion of the integrated rate).

    Args:
        points: the rate, as in `Plan.profile`.
        expected: ascending.
    """
    begun = 0.0  # the integral at the start of the segment
    segments = pairwise([*points, RatePoint(at_seconds=inf, rate=points[-1].rate)])
    start, end = next(segments)
    for wanted in expected:
        while wanted > begun + (area := _area(start, end)):
            begun += area
            try:
                start, end = next(segments)
            except StopIteration:
                return
        at = (start.at_seconds + _time_for(wanted - begun, start, end)) * _SECOND
        if at > _NEVER:
            return
        yield round(at)


def _area(start: RatePoint, end: RatePoint) -> float:
    """How many arrivals are expected between two points."""
    mean = (start.rate + end.rate) / 2
    return mean * (end.at_seconds - start.at_seconds) if mean else 0.0


def _time_for(arrivals: float, start: RatePoint, end: RatePoint) -> float:
    """Seconds after `start` until this many arrivals are expected."""
    if not arrivals:
        return 0.0
    slope = (end.rate - start.rate) / (end.at_seconds - start.at_seconds)
    # The root of rate * t + slope * t^2 / 2 = arrivals in the form that does not cancel.
    under = max(start.rate**2 + 2 * slope * arrivals, 0.0)
    speed = start.rate + sqrt(under)
    return 2 * arrivals / speed if speed else inf


def recorded(path: Path) -> Iterator[int]:
    """The arrivals of a file, in ns from the start: one number a line, in seconds, ascending.

    Raises:
        PlanError: the file cannot be read, or a line is not such a number; it names the line.
    """
    last, key = 0, ("arrivals_path",)
    try:
        with path.open(encoding="ascii") as lines:
            for number, line in enumerate(lines, start=1):
                where = f"arrivals_path {path}, line {number}"
                try:
                    seconds = Decimal(line.strip())
                except InvalidOperation:
                    raise PlanError(f"{where}: {line.strip()!r} is not a number", key) from None
                if not seconds.is_finite() or seconds > MOST_SECONDS:
                    most = f"at most {MOST_SECONDS:,}, a week"
                    raise PlanError(f"{where}: expected a number of seconds, {most}", key)
                offset = round(seconds * _SECOND)
                if offset < last:
                    raise PlanError(f"{where}: {line.strip()} is before the line above it", key)
                yield offset
                last = offset
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise PlanError(f"arrivals_path {path}: {reason}", key) from error


def schedule(plan: Plan) -> Iterator[int]:
    """The offsets of the plan's arrivals in ns from the start, in order.

    Raises:
        PlanError: while it is read, a file of recorded arrivals is wrong.
    """
    if plan.arrivals == "recorded":
        return recorded(Path(plan.arrivals_path or ""))
    if plan.profile:
        evenly = plan.arrivals == "constant"
        return profiled(plan.profile, count(1) if evenly else _unit_poisson(plan.seed))
    if plan.arrivals == "constant":
        return constant(plan.rate)
    return poisson(plan.rate, plan.seed)


def _unit_poisson(seed: int) -> Iterator[float]:
    stream = Stream(ARRIVALS, seed)
    at = 0.0
    while True:
        at += stream.exponential(1.0)
        yield at
