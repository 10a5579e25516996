"""Columns: whole numbers or texts, one a record, kept in batches outside of the objects' memory."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

import msgspec

from scenarios.evidence.scratch import Scratch

T = TypeVar("T")

BATCH: Final = 1024
"""So many records are read, counted and kept at once; their objects fit a processor's cache."""

NONE: Final = -(1 << 63)
"""Stands for a number that is not there."""


def batches(records: Iterable[T]) -> Iterator[list[T]]:
    """The records, so many at a time; none is empty."""
    rest = iter(records)
    while batch := list(islice(rest, BATCH)):
        yield batch


class Column:
    """Whole numbers of 64 bits, or of 32 bits with the type code `i`, batch by batch."""

    def __init__(self, scratch: Scratch, typecode: str = "q") -> None:
        self._scratch = scratch
        self._typecode = typecode
        self._pieces: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, values: Iterable[int]) -> None:
        """Keep a batch."""
        numbers = array(self._typecode, values)
        self._pieces.append(self._scratch.keep(numbers.tobytes()))
        self._count += len(numbers)

    def __iter__(self) -> "Iterator[array[int]]":
        """The batches, as they were added."""
        for piece in self._pieces:
            numbers = array(self._typecode)
            numbers.frombytes(self._scratch.read(piece))
            yield numbers


class Texts:
    """Texts, batch by batch."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._pieces: list[int] = []

    def add(self, texts: Sequence[str]) -> None:
        """Keep a batch."""
        self._pieces.append(self._scratch.keep(msgspec.msgpack.encode(texts)))

    def __iter__(self) -> Iterator[list[str]]:
        """The batches, as they were added."""
        for piece in self._pieces:
            yield msgspec.msgpack.decode(self._scratch.read(piece), type=list[str])
