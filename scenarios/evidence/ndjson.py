"""Evidence files: one JSON document a line, written once, read many times."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from scenarios.errors import EvidenceError

T = TypeVar("T")

_BLOCK = 1024 * 1024


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
    decode = msgspec.json.Decoder(kind).decode
    seen = None if digest is None else hashlib.sha256()
    number, rest = 1, b""
    lines: list[bytes] = []
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                if seen is not None:
                    seen.update(block)
                *lines, rest = (rest + block).split(b"\n")
                yield from map(decode, lines)
                number += len(lines)
            if rest:
                raise EvidenceError(f"{path}: line {number} is cut short; the file is damaged")
    except msgspec.DecodeError as error:
        number += _first_damaged(lines, kind)
        raise EvidenceError(f"{path}: line {number} is damaged: {error}") from error
    except OSError as error:
        raise EvidenceError(f"{path}: {error.strerror}") from error
    if seen is not None and seen.hexdigest() != digest:
        raise damaged(path)


def _first_damaged(lines: Sequence[bytes], kind: type[Any]) -> int:
    """Which of the lines is not a `kind`; whole blocks are decoded without counting lines."""
    decoder = msgspec.json.Decoder(kind)
    for index, line in enumerate(lines):
        try:
            decoder.decode(line)
        except msgspec.DecodeError:
            return index
    raise AssertionError("one of the lines is damaged")


def damaged(path: Path) -> EvidenceError:
    """The error of a file that does not have the digest that the run recorded."""
    return EvidenceError(f"{path}: damaged: its SHA-256 is not the one that the run recorded")
