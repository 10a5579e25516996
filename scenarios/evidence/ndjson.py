"""Evidence files: one JSON document a line, written once, read many times."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from scenarios.errors import EvidenceError

T = TypeVar("T")


def read_lines(path: Path, kind: type[T]) -> Iterator[T]:
    """Yield each line of the file as `kind`.

    Raises:
        EvidenceError: the file is missing, a line is not a `kind`, or the last line is cut short.
    """
    decoder = msgspec.json.Decoder(kind)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    raise EvidenceError(f"{path}: line {number} is cut short; the file is damaged")
                try:
                    yield decoder.decode(line)
                except msgspec.DecodeError as error:
                    raise EvidenceError(f"{path}: line {number} is damaged: {error}") from error
    except OSError as error:
        raise EvidenceError(f"{path}: {error.strerror}") from error
