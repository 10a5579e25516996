"""Where a judgement puts what it needs again later, so that memory does not grow with the run."""

import tempfile
import weakref
from typing import Protocol

from scenarios.errors import EvidenceError

MOST_IN_MEMORY = 32 * 1024 * 1024
"""From so many bytes on they are kept in a temporary file; it has no name, so nothing is left."""


class Scratch(Protocol):
    """Keeps pieces of bytes until they are asked for."""

    def keep(self, data: bytes) -> int:
        """Keep a piece.

        Returns:
            what to ask for it by.

        Raises:
            EvidenceError: there is no room for it.
        """
        ...

    def read(self, piece: int) -> bytes:
        """A piece, as it was kept."""
        ...


class MemoryScratch:
    """Keeps everything in memory; for little evidence."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def keep(self, data: bytes) -> int:
        """Keep a piece."""
        self._pieces.append(data)
        return len(self._pieces) - 1

    def read(self, piece: int) -> bytes:
        """A piece, as it was kept."""
        return self._pieces[piece]


class FileScratch:
    """Keeps little in memory and much in a temporary file (in `TMPDIR`, else the system's)."""

    def __init__(self, most_in_memory: int = MOST_IN_MEMORY) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=most_in_memory)  # noqa: SIM115 - closed with its owner
        self._places: list[tuple[int, int]] = []
        self._end = 0
        weakref.finalize(self, self._file.close)

    def keep(self, data: bytes) -> int:
        """Keep a piece.

        Raises:
            EvidenceError: the temporary file cannot be written.
        """
        try:
            self._file.seek(self._end)
            self._file.write(data)
        except OSError as error:
            where = tempfile.gettempdir()
            raise EvidenceError(f"{where}: a temporary file: {error.strerror}") from error
        self._places.append((self._end, len(data)))
        self._end += len(data)
        return len(self._places) - 1

    def read(self, piece: int) -> bytes:
        """A piece, as it was kept."""
        start, length = self._places[piece]
        self._file.seek(start)
        return self._file.read(length)
