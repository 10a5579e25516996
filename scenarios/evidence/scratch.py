"""Where a judgement puts what it needs again later, so that memory does not grow with the run."""

import os
import tempfile
import weakref
from array import array
from typing import Final, Protocol

from scenarios.errors import EvidenceError

MOST_IN_MEMORY: Final = 32 * 1024 * 1024
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
    """Keeps little in memory and much in a temporary file (in `TMPDIR`, else the system's).

    Attributes:
        ends: where each piece ends in the file; the next one begins there.
    """

    def __init__(self, most_in_memory: int = MOST_IN_MEMORY) -> None:
        """Begin with nothing.

        Args:
            most_in_memory: so many bytes are kept without a file; 0: the file is opened now.

        Raises:
            EvidenceError: the temporary file cannot be opened.
        """
        self.ends = array("q")
        self._most_in_memory = most_in_memory
        self._in_memory: list[bytes] = []
        self._descriptor: int | None = None
        if not most_in_memory:
            self._descriptor = self._opened()

    def keep(self, data: bytes) -> int:
        """Keep a piece.

        Raises:
            EvidenceError: the temporary file cannot be written.
        """
        start = self.ends[-1] if self.ends else 0
        if self._descriptor is None and start + len(data) > self._most_in_memory:
            self._descriptor = self._opened()
            self._write(b"".join(self._in_memory), 0)
            self._in_memory.clear()
        if self._descriptor is None:
            self._in_memory.append(data)
        else:
            self._write(data, start)
        self.ends.append(start + len(data))
        return len(self.ends) - 1

    def read(self, piece: int) -> bytes:
        """A piece, as it was kept."""
        if self._descriptor is None:
            return self._in_memory[piece]
        start = self.ends[piece - 1] if piece else 0
        return os.pread(self._descriptor, self.ends[piece] - start, start)

    def _opened(self) -> int:
        try:
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with its owner
        except OSError as error:
            raise _no_room(error) from error
        weakref.finalize(self, file.close)
        return file.fileno()

    def _write(self, data: bytes, start: int) -> None:
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self._descriptor or 0, rest, start)
                rest, start = rest[written:], start + written
        except OSError as error:
            raise _no_room(error) from error


def _no_room(error: OSError) -> EvidenceError:
    return EvidenceError(f"{tempfile.gettempdir()}: a temporary file: {error.strerror}")
