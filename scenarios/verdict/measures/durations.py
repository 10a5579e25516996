"""Exact percentiles of many durations, without ordering all of them."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from operator import rshift
from typing import Final

from scenarios.evidence.scratch import Scratch
from scenarios.verdict.columns.column import Column
from scenarios.verdict.measures.slo import rank_of

_BITS: Final = 16
"""Durations are counted in steps of 2^16 ns, about 66 µs; only those of some steps are ordered."""


class Durations:
    """Durations in ns; they come in any order, and may be negative."""

    def __init__(self, scratch: Scratch) -> None:
        self._values = Column(scratch)
        self._steps: Counter[int] = Counter()
        self._counted: Counter[int] = Counter()
        self.largest: int | None = None

    def __len__(self) -> int:
        return len(self._values) + self._counted.total()

    def __iter__(self) -> "Iterator[array[int]]":
        """Those that were added one by one, batch by batch."""
        return iter(self._values)

    def add(self, values: Sequence[int]) -> None:
        """Add a batch."""
        if not values:
            return
        most = max(values)
        self.largest = most if self.largest is None else max(self.largest, most)
        self._values.add(values)
        self._steps.update(map(rshift, values, repeat(_BITS)))

    def merge(self, other: "Durations") -> None:
        """Add those of another; it must not be used again."""
        known = [one for one in (self.largest, other.largest) if one is not None]
        self.largest = max(known, default=None)
        self._values.merge(other._values)  # noqa: SLF001 - of the same class
        self._steps.update(other._steps)  # noqa: SLF001 - of the same class

    def add_counted(self, counts: Mapping[int, int]) -> None:
        """Add durations of which only is known how many there are of each."""
        for value, count in counts.items():
            self._counted[value] += count
            self._steps[value >> _BITS] += count
            self.largest = value if self.largest is None else max(self.largest, value)

    @staticmethod
    def percentiles(several: Sequence["Durations"], shares: Iterable[float]) -> list[int | None]:
        """Nearest-rank percentiles of all durations together: see `slo.percentile`."""
        count = sum(map(len, several))
        if not count:
            return [None for _ in shares]
        steps: Counter[int] = Counter()
        for one in several:
            steps.update(one._steps)  # noqa: SLF001 - of the same class
        ranks = [rank_of(share, count) for share in shares]
        places = list(_places(ranks, steps))
        wanted = {step for step, _ in places}
        found: dict[int, list[int]] = {step: [] for step in wanted}
        for batch in chain.from_iterable(several):
            for value in batch:
                if value >> _BITS in wanted:
                    found[value >> _BITS].append(value)
        for values in found.values():
            values.sort()
        if not any(one._counted for one in several):  # noqa: SLF001 - the same
            return [found[step][index] for step, index in places]
        more: Counter[int] = Counter()
        for one in several:
            more.update(one._counted)  # noqa: SLF001 - the same
        return _with_counted(places, found, more)


def _with_counted(
    places: Iterable[tuple[int, int]], found: dict[int, list[int]], counted: Counter[int]
) -> list[int | None]:
    """The values at their places, where some values are only counted."""
    by_step: dict[int, Counter[int]] = {step: Counter(values) for step, values in found.items()}
    for value, count in counted.items():
        if value >> _BITS in by_step:
            by_step[value >> _BITS][value] += count
    return [_nth(index, by_step[step]) for step, index in places]


def _nth(index: int, values: Counter[int]) -> int:
    """The value at an index, in order of the values."""
    before = 0
    for value in sorted(values):
        before += values[value]
        if index < before:
            return value
    raise IndexError(index)


def _places(ranks: Iterable[int], steps: Counter[int]) -> Iterator[tuple[int, int]]:
    """For each rank, its step, and its index among the durations of that step."""
    ordered = sorted(steps)
    for rank in ranks:
        before = 0
        for step in ordered:
            if before + steps[step] >= rank:
                yield step, rank - before - 1
                break
            before += steps[step]
