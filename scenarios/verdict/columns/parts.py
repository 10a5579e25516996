"""Pairs of numbers in parts: all pairs with the same first number are in the same part."""

from array import array
from collections.abc import Iterable, Iterator
from typing import Final

from scenarios.evidence.scratch import Scratch
from scenarios.verdict.columns.column import Column

PAIRS_AT_ONCE: Final = 500_000
"""A part has about so many pairs at most, so that it fits memory however long the run is."""

FULL: Final = 16_384


class Parts:
    """Pairs (name, value), split by their names, which are hashes.

    Args:
        scratch: where they are kept.
        expected: how many pairs there may be.
    """

    def __init__(self, scratch: Scratch, expected: int) -> None:
        self._count = 1 << (expected // PAIRS_AT_ONCE).bit_length()
        self._open = [(array("q"), array("q")) for _ in range(self._count)]
        self._kept = [(Column(scratch), Column(scratch)) for _ in range(self._count)]

    def add(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Add a batch."""
        mask, parts = self._count - 1, self._open
        # What has the same low bits is in the same part.
        for name, value in pairs:
            names, values = parts[name & mask]
            names.append(name)
            values.append(value)
        for index, (names, values) in enumerate(parts):
            if len(names) >= FULL:
                kept_names, kept_values = self._kept[index]
                kept_names.add(names)
                kept_values.add(values)
                parts[index] = (array("q"), array("q"))

    def __iter__(self) -> "Iterator[tuple[array[int], array[int]]]":
        """The names and the values of each part, in the order in which they were added."""
        for opened, kept in zip(self._open, self._kept, strict=True):
            whole = array("q"), array("q")
            for column, batches, rest in zip(whole, kept, opened, strict=True):
                for batch in batches:
                    column.extend(batch)
                column.extend(rest)
            yield whole
