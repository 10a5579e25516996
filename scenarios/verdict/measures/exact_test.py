"""Exact tests on counts, and the correction for making several of them.

Sources: R. A. Fisher, *Statistical Methods for Research Workers*, §21.02 (the exact test); S. Holm,
"A simple sequentially rejective multiple test procedure", *Scandinavian Journal of Statistics* 6
(1979). Both are a few lines, so SciPy is not needed at run time; the tests compare with SciPy's.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Counts(NamedTuple):
    """How many requests of one kind failed, and how many succeeded."""

    failed: int
    served: int

    @property
    def all(self) -> int:
        """Both together."""
        return self.failed + self.served

    def plus(self, other: "Counts") -> "Counts":
        """The sum of both."""
        return Counts(self.failed + other.failed, self.served + other.served)


def fisher_greater(inside: Counts, outside: Counts) -> float:
    """The probability of at least so many failures inside, if both sides fail equally often.

    This is Fisher's exact test, one-sided: the upper tail of the hypergeometric distribution.

    Returns:
        the p-value, from 0 to 1; 1 when either side is empty.
    """
    failures, total = inside.failed + outside.failed, inside.all + outside.all
    if inside.failed <= max(0, failures - outside.all):
        return 1.0
    whole = _log_choose(total, failures)
    terms = (
        math.exp(_log_choose(inside.all, here) + _log_choose(outside.all, failures - here) - whole)
        for here in range(inside.failed, min(failures, inside.all) + 1)
    )
    return min(1.0, math.fsum(terms))


def holm(chances: Sequence[float], level: float) -> list[bool]:
    """Which of several hypotheses are rejected, so that the chance of any false rejection is small.

    Args:
        chances: the p-value of each test.
        level: the largest chance of at least one false rejection among all of them.

    Returns:
        for each test, in the same order, whether its hypothesis is rejected.
    """
    rejected = [False] * len(chances)
    for rank, index in enumerate(sorted(range(len(chances)), key=lambda one: chances[one])):
        if chances[index] > level / (len(chances) - rank):
            break
        rejected[index] = True
    return rejected


def _log_choose(whole: int, part: int) -> float:
    return math.lgamma(whole + 1) - math.lgamma(part + 1) - math.lgamma(whole - part + 1)
