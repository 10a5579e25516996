"""When users arrive: endless schedules in integer nanoseconds, from a seed alone.

The schedule is fixed before the first answer is known. That is what an open loop is: users do not
come later because the system is slow.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import count

from scenarios.traffic.plan import Plan
from scenarios.traffic.stream import Stream

_SECOND = 1_000_000_000

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
        at += round(stream.exponential(mean))
        yield at


def schedule(plan: Plan) -> Iterator[int]:
    """The offsets of the plan's arrivals in ns from the start, in order, without an end."""
    if plan.arrivals == "constant":
        return constant(plan.rate)
    return poisson(plan.rate, plan.seed)
