"""Columns: whole numbers or texts, one a record, kept in batches outside of the objects' memory."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Protocol, Self, TypeVar

import msgspec

from scenarios.evidence.scratch import Scratch

T = TypeVar("T")

BATCH: Final = 1024
"""So many records are read, counted and kept at once; their objects fit a processor's cache."""

FULL: Final = 4096
"""So many numbers that come one after the other are put away together."""

NONE: Final = -(1 << 63)
"""Stands for a number that is not there."""


def batches(records: Iterable[T]) -> Iterator[list[T]]:
    """The records, so many at a time; none is empty."""
    rest = iter(records)
    while batch := list(islice(rest, BATCH)):
        yield batch


class Mergeable(Protocol):
    """What was found in some records, to which what was found in others can be added."""

    def merge(self, other: Self) -> None:
        """Add what was found in the records that follow; the other must not be used again."""
        ...


M = TypeVar("M", bound=Mergeable)


def merged(found: Sequence[M]) -> M:
    """What was found in all parts together.

    Args:
        found: what was found in each part, in their order; at least one.
    """
    first, *others = found
    for other in others:
        first.merge(other)
    return first


class _Pieces:
    """The pieces of a column, in whatever scratch each of them is kept."""

    def __init__(self, scratch: Scratch) -> None:
        self._runs = [(scratch, array("i"))]

    def add(self, data: bytes) -> None:
        scratch, pieces = self._runs[-1]
        pieces.append(scratch.keep(data))

    def merge(self, other: "_Pieces") -> None:
        self._runs += other._runs  # noqa: SLF001 - of the same class

    def __iter__(self) -> Iterator[bytes]:
        for scratch, pieces in self._runs:
            yield from map(scratch.read, pieces)


class Column:
    """Whole numbers of 64 bits, or of 32 bits with the type code `i`, batch by batch."""

    def __init__(self, scratch: Scratch, typecode: str = "q") -> None:
        self._pieces = _Pieces(scratch)
        self._typecode = typecode
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, values: Iterable[int]) -> None:
        """Keep a batch."""
        numbers = array(self._typecode, values)
        self._pieces.add(numbers.tobytes())
        self._count += len(numbers)

    def merge(self, other: "Column", numbers: Sequence[int] | None = None) -> None:
        """Add the batches of another column.

        Args:
            other: the other; it must not be used again.
            numbers: what each of its values, from 0 on, is here. None: the same.
        """
        if numbers is None or all(number == place for place, number in enumerate(numbers)):
            self._pieces.merge(other._pieces)  # noqa: SLF001 - of the same class
            self._count += other._count  # noqa: SLF001 - of the same class
            return
        for batch in other:
            self.add(map(numbers.__getitem__, batch))

    def __iter__(self) -> "Iterator[array[int]]":
        """The batches, as they were added."""
        for data in self._pieces:
            numbers = array(self._typecode)
            numbers.frombytes(data)
            yield numbers


class Gathered:
    """Whole numbers that come one after the other; most of them are kept outside of memory.

    Attributes:
        latest: those that came last; whoever adds to it calls `flush` now and then.
    """

    __slots__ = ("_kept", "_typecode", "latest")

    def __init__(self, scratch: Scratch, typecode: str = "q") -> None:
        self.latest = array(typecode)
        self._kept = Column(scratch, typecode)
        self._typecode = typecode

    def __len__(self) -> int:
        return len(self._kept) + len(self.latest)

    def flush(self) -> None:
        """Put the latest away if they are many."""
        if len(self.latest) >= FULL:
            self._kept.add(self.latest)
            del self.latest[:]

    def __iter__(self) -> "Iterator[array[int]]":
        """The numbers, as they came, in batches."""
        yield from self._kept
        if self.latest:
            yield self.latest

    def whole(self) -> "array[int]":
        """All of them, as they came."""
        found: array[int] = array(self._typecode)
        for batch in self:
            found.extend(batch)
        return found


class Texts:
    """Texts, batch by batch."""

    def __init__(self, scratch: Scratch) -> None:
        self._pieces = _Pieces(scratch)

    def add(self, texts: Sequence[str]) -> None:
        """Keep a batch."""
        self._pieces.add(msgspec.msgpack.encode(texts))

    def merge(self, other: "Texts") -> None:
        """Add the batches of another; it must not be used again."""
        self._pieces.merge(other._pieces)  # noqa: SLF001 - of the same class

    def __iter__(self) -> Iterator[list[str]]:
        """The batches, as they were added."""
        for data in self._pieces:
            yield msgspec.msgpack.decode(data, type=list[str])
