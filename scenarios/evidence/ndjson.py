"""Evidence files: one JSON document a line, written once, read many times."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from scenarios.errors import EvidenceError

T = TypeVar("T")


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
    decoder = msgspec.json.Decoder(kind)
    seen = None if digest is None else hashlib.sha256()
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    raise EvidenceError(f"{path}: line {number} is cut short; the file is damaged")
                if seen is not None:
                    seen.update(line)
                try:
                    yield decoder.decode(line)
                except msgspec.DecodeError as error:
                    raise EvidenceError(f"{path}: line {number} is damaged: {error}") from error
    except OSError as error:
        raise EvidenceError(f"{path}: {error.strerror}") from error
    if seen is not None and seen.hexdigest() != digest:
        raise damaged(path)


def damaged(path: Path) -> EvidenceError:
    """The error of a file that does not have the digest that the run recorded."""
    return EvidenceError(f"{path}: damaged: it is not what the run recorded (SHA-256)")
