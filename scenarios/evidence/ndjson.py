"""Evidence files: one JSON document a line, written once, read many times."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

import msgspec

from scenarios.errors import EvidenceError

T = TypeVar("T")

_BLOCK = 256 * 1024


def read_lines(path: Path, kind: type[T], digest: str | None = None) -> Iterator[T]:
    """Yield each line of the file as `kind`.

    Args:
        path: the file.
        kind: what each line is.
        digest: the SHA-256 that the file must have; compared after the last line. None: any.

    Raises:
        EvidenceError: the file is missing, a line is not a `kind`, the last line is cut short, or
            the digest is another one.
    """
    return chain.from_iterable(_blocks(path, kind, digest))


def _blocks(path: Path, kind: type[T], digest: str | None) -> Iterator[list[T]]:
    """The records, as many at a time as a block of the file has lines."""
    decode = msgspec.json.Decoder(kind).decode
    seen = None if digest is None else hashlib.sha256()
    number, rest = 1, b""
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                if seen is not None:
                    seen.update(block)
                *lines, rest = (rest + block).split(b"\n")
                try:
                    records = list(map(decode, lines))
                except msgspec.DecodeError:
                    records = _each(path, number, lines, kind)
                yield records
                number += len(lines)
            if rest:
                raise EvidenceError(f"{path}: line {number} is cut short; the file is damaged")
    except OSError as error:
        raise EvidenceError(f"{path}: {error.strerror}") from error
    if seen is not None and seen.hexdigest() != digest:
        raise damaged(path)


def _each(path: Path, first: int, lines: Sequence[bytes], kind: type[T]) -> list[T]:
    """The records of lines, one of which is damaged: says which one it is."""
    decoder, records = msgspec.json.Decoder(kind), []
    for number, line in enumerate(lines, first):
        try:
            records.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            raise EvidenceError(f"{path}: line {number} is damaged: {error}") from error
    return records


def damaged(path: Path) -> EvidenceError:
    """The error of a file that does not have the digest that the run recorded."""
    return EvidenceError(f"{path}: damaged: its SHA-256 is not the one that the run recorded")
