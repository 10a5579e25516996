"""Evidence files: one JSON document a line, written once, read many times."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from scenarios.errors import EvidenceError

T = TypeVar("T")

_BLOCK: Final = 256 * 1024

LEAST_TO_SPLIT: Final = 16 * 1024 * 1024
"""A file of fewer bytes is read before a second process would have begun to."""


@dataclass(frozen=True, slots=True)
class Lines(Generic[T]):
    """The records of a file, one a line; each iteration reads the file anew.

    Iteration raises `EvidenceError` if the file is missing, a line is not such a record, the last
    line is cut short, or the digest is another one.

    Attributes:
        path: the file.
        kind: what each line is.
        digest: the SHA-256 that the file must have; compared after the last line. None: any.
        change: what is made of each record, if anything.
    """

    path: Path
    kind: type[T]
    digest: str | None = None
    change: Callable[[T], T] | None = None

    def __iter__(self) -> Iterator[T]:
        records = chain.from_iterable(self._compared())
        return records if self.change is None else map(self.change, records)

    def parts(self, number: int) -> list["Part[T]"]:
        """The records in so many parts of about the same length; none if the file is short.

        Several processes can read them at the same time. None of them looks at the digest.
        """
        try:
            size = self.path.stat().st_size
            if size < LEAST_TO_SPLIT:
                return []
            cuts = [0]
            with self.path.open("rb") as file:
                for index in range(1, number):
                    file.seek(max(size * index // number, cuts[-1]))
                    file.readline()
                    cuts.append(file.tell())
        except OSError:  # whoever reads the file as a whole says what is wrong with it
            return []
        return [Part(self, *bounds) for bounds in pairwise([*cuts, size])]

    def intact(self) -> bool:
        """Whether the file has its digest; False as well where it cannot be read."""
        if self.digest is None:
            return True
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.digest
        except OSError:
            return False

    def blocks(self, start: int, end: int) -> Iterator[list[T]]:
        """The records between two places of the file, as many at a time as a block has lines."""
        for block in _blocks(self.path, self.kind, None, start, end):
            yield block if self.change is None else list(map(self.change, block))

    def _compared(self) -> Iterator[list[T]]:
        """All records, and then the comparison of the digest."""
        seen = None if self.digest is None else hashlib.sha256()
        yield from _blocks(self.path, self.kind, seen)
        if seen is not None and seen.hexdigest() != self.digest:
            raise damaged(self.path)


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """Some of a file's records.

    Attributes:
        lines: all of them.
        start: where the first one begins, in bytes.
        end: where the last one ends.
    """

    lines: Lines[T]
    start: int
    end: int

    def blocks(self) -> Iterator[list[T]]:
        """The records, as many at a time as a block of the file has lines."""
        return self.lines.blocks(self.start, self.end)


def read_lines(path: Path, kind: type[T], digest: str | None = None) -> Lines[T]:
    """Each line of the file as `kind`: see `Lines`."""
    return Lines(path, kind, digest)


def _blocks(
    path: Path,
    kind: type[T],
    seen: "hashlib._Hash | None",
    start: int = 0,
    end: int | None = None,
) -> Iterator[list[T]]:
    """The records, as many at a time as a block of the file has lines.

    Args:
        path: the file.
        kind: what each line is.
        seen: gets all that is read.
        start: where to begin.
        end: where to end; None: at the end of the file.
    """
    decode = msgspec.json.Decoder(kind).decode_lines
    number, rest, left = 1, b"", _BLOCK if end is None else end - start
    try:
        with path.open("rb") as file:
            file.seek(start)
            while block := file.read(min(_BLOCK, left)):
                left -= len(block) if end is not None else 0
                if seen is not None:
                    seen.update(block)
                cut = block.rfind(b"\n") + 1
                whole, rest = rest + block[:cut], block[cut:] if cut else rest + block
                count = whole.count(b"\n")
                try:
                    records = decode(whole)
                except msgspec.DecodeError:
                    records = []
                # A line that is empty is no record, but it is skipped there.
                yield records if len(records) == count else _each(path, number, whole, kind)
                number += count
            if rest:
                raise EvidenceError(f"{path}: line {number} is cut short; the file is damaged")
    except OSError as error:
        raise EvidenceError(f"{path}: {error.strerror}") from error


def _each(path: Path, first: int, whole: bytes, kind: type[T]) -> list[T]:
    """The records of lines, one of which is damaged: says which one it is."""
    decoder, records = msgspec.json.Decoder(kind), []
    for number, line in enumerate(whole.split(b"\n")[:-1], first):
        try:
            records.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            raise EvidenceError(f"{path}: line {number} is damaged: {error}") from error
    return records


def damaged(path: Path) -> EvidenceError:
    """The error of a file that does not have the digest that the run recorded."""
    return EvidenceError(f"{path}: damaged: its SHA-256 is not the one that the run recorded")
