"""Numbers put in order, where most of them come in order already: little is held at once."""

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

_CHUNK: Final = 4096


def in_order(batches: Iterable[Sequence[int]], least: Sequence[int]) -> Iterator[list[int]]:
    """All numbers in order, some at a time.

    Args:
        batches: the numbers.
        least: for each batch, a number that none of its numbers is below.
    """
    # What follows a batch cannot be below the least of all later ones, so the rest is in order.
    floors = [*accumulate(reversed(least), min)][::-1]
    pending: list[int] = []
    for batch, floor in zip(batches, [*floors, math.inf][1:], strict=True):
        pending += batch
        pending.sort()
        cut = len(pending) if floor == math.inf else bisect_left(pending, floor)
        yield pending[:cut]
        del pending[:cut]


def ordered(batches: "Iterable[array[int]]") -> "array[int]":
    """All numbers in order.

    Args:
        batches: the numbers; it is iterated twice.
    """
    found = array("q")
    for some in in_order(batches, list(map(min, batches))):
        found.extend(some)
    return found


def merged(several: "Iterable[array[int]]") -> "array[int]":
    """The numbers of several arrays, each of which is in order, together in order."""
    every = [one for one in several if one]
    # Between two of these, none of them has more than a chunk.
    cuts = sorted(one[place] for one in every for place in range(0, len(one), _CHUNK))
    places = [0] * len(every)
    found = array("q")
    for cut in [*cuts, math.inf]:
        some: list[int] = []
        for index, one in enumerate(every):
            end = len(one) if cut == math.inf else bisect_left(one, cut, places[index])
            some += one[places[index] : end]
            places[index] = end
        some.sort()
        found.extend(some)
    return found
