"""Randomness of the simulated world: one stream for each component, and distributions.

Each component draws from a stream of its own, which follows from the run's seed and the component's
name. So what one component draws never depends on when another one draws. Python's `random.Random`
gives the same numbers for the same seed on every supported Python (its documentation promises that
for `random()`; nothing else of it is used).
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

_STEPS = 1024
_NS = 1_000_000_000


def stream(seed: int, *names: str | int) -> random.Random:
    """The random numbers of one component."""
    return random.Random("/".join(map(str, (seed, *names))))  # noqa: S311 - reproducible, not secret


def derived(share: float, number: int) -> float:
    """Another random number from 0 to 1, which follows from a drawn one and a number.

    A multiple of a uniform number, modulo 1, is uniform as well; large multiples of the same number
    have next to nothing to do with each other. So a request needs one draw, whatever becomes of it.
    """
    return share * (7919 + 104_729 * number) % 1.0


@dataclass(frozen=True, slots=True)
class Distribution:
    """How long something takes, as its quantiles.

    A draw interpolates between two quantiles. So a measured distribution and one with a formula are
    the same thing, and a draw needs no function whose last digit depends on the machine.

    Attributes:
        quantiles: integer nanoseconds, ascending, at equal steps of probability from 0 to 1.
    """

    quantiles: tuple[int, ...]

    @classmethod
    def constant(cls, seconds: float) -> "Distribution":
        """Always the same."""
        return cls((round(seconds * _NS),) * 2)

    @classmethod
    def uniform(cls, least: float, most: float) -> "Distribution":
        """Equally likely between two numbers of seconds."""
        return cls((round(least * _NS), round(most * _NS)))

    @classmethod
    def exponential(cls, mean: float) -> "Distribution":
        """Exponential gaps with this mean in seconds; the longest is about seven times the mean."""
        raw = [-math.log1p(-min(n, _STEPS - 0.5) / _STEPS) for n in range(_STEPS + 1)]
        # The trapezoids of the table lie somewhat beside the curve; the mean must be exact.
        area = sum((a + b) / 2 for a, b in pairwise(raw)) / _STEPS
        return cls(tuple(round(one * mean / area * _NS) for one in raw))

    @classmethod
    def lognormal(cls, median: float, spread: float) -> "Distribution":
        """Like most service times: `spread` is the 84th percentile over the median, at least 1."""
        normal, sigma = NormalDist(), math.log(spread)
        raw = (
            median * math.exp(sigma * normal.inv_cdf(min(max(n, 0.5), _STEPS - 0.5) / _STEPS))
            for n in range(_STEPS + 1)
        )
        return cls(tuple(round(one * _NS) for one in raw))

    @classmethod
    def measured(cls, seconds: Sequence[float]) -> "Distribution":
        """The quantiles of measured values.

        Raises:
            ValueError: there are none.
        """
        if not seconds:
            raise ValueError("a distribution needs at least one measured value")
        ordered = sorted(seconds)
        last = len(ordered) - 1
        steps = max(1, min(_STEPS, last))
        return cls(tuple(round(ordered[round(n * last / steps)] * _NS) for n in range(steps + 1)))

    def at(self, share: float) -> int:
        """The quantile of a probability from 0 up to (not including) 1, in nanoseconds."""
        quantiles = self.quantiles
        if quantiles[0] == quantiles[-1]:
            return quantiles[0]
        place = share * (len(quantiles) - 1)
        index = int(place)
        low = quantiles[index]
        return low + int((place - index) * (quantiles[index + 1] - low))

    @property
    def is_constant(self) -> bool:
        """Whether every draw gives the same."""
        return self.quantiles[0] == self.quantiles[-1]

    @property
    def mean_seconds(self) -> float:
        """The mean of the draws."""
        pairs = pairwise(self.quantiles)
        return sum((a + b) / 2 for a, b in pairs) / (len(self.quantiles) - 1) / _NS

    @property
    def longest_ns(self) -> int:
        """The longest that can be drawn."""
        return self.quantiles[-1]
