"""A log file that somebody else writes and rotates, followed from its end on."""

import os
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Final

AT_ONCE: Final = 1 << 20
LONGEST_LINE: Final = 1 << 20
"""A line that is longer is given in pieces."""

_COMPARED = 64
"""So many bytes before the place of reading tell whether the file was truncated meanwhile."""

KEEP_SECONDS: Final = 10.0
"""For so long a file is still read after it was rotated: its writer opens the new one later."""


class LineBuffer:
    """Pieces of a file become lines. Pure."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """Take a piece; the lines that it ends are given, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")
        if len(self._rest) > LONGEST_LINE:
            yield from self.flush()

    def flush(self) -> Iterator[str]:
        """The line that has no end yet, if there is one."""
        rest, self._rest = self._rest, b""
        if rest:
            yield rest.decode("utf-8", "replace").rstrip("\r")


class _Opened:
    """One file under the name that is followed, or that was."""

    def __init__(self, file: FileIO, position: int = 0) -> None:
        self.file = file
        self.lines = LineBuffer()
        self.replaced_at: float | None = None
        self._position = position
        self._last = self._before()

    def grown(self) -> Iterator[str]:
        """The lines that were added."""
        if self._before() != self._last:
            self.lines = LineBuffer()  # it was truncated, and is written anew
            self._position = 0
        while data := os.pread(self.file.fileno(), AT_ONCE, self._position):
            self._position += len(data)
            yield from self.lines.feed(data)
        self._last = self._before()

    def _before(self) -> bytes:
        """The last bytes that were read, as the file has them now."""
        size = min(_COMPARED, self._position)
        return os.pread(self.file.fileno(), size, self._position - size)


class GrowingFile:
    """A file that grows, and may be renamed, removed, truncated and made anew meanwhile."""

    def __init__(self, path: Path) -> None:
        """Begin at the end of what is there.

        Raises:
            OSError: it cannot be opened.
        """
        self._path = path
        file = FileIO(path)
        self._opened = [_Opened(file, os.fstat(file.fileno()).st_size)]

    def lines(self) -> Iterator[str]:
        """The whole lines that were added since the last time.

        Raises:
            OSError: it cannot be read any more.
        """
        # A new file is looked for first, so that its lines come behind the last of the old one.
        new = self._new()
        for one in self._opened:
            yield from one.grown()
        if new is not None:
            self._opened[-1].replaced_at = time.monotonic()
            self._opened.append(new)
            yield from new.grown()
        self._drop_old()

    def rest(self) -> Iterator[str]:
        """All that is left, a last line without an end included; the files are closed then."""
        yield from self.lines()
        for one in self._opened:
            yield from one.lines.flush()
            one.file.close()
        self._opened.clear()

    def _new(self) -> _Opened | None:
        """The file that has taken the name since, from its begin; None if none has."""
        current = os.fstat(self._opened[-1].file.fileno())
        try:
            there = self._path.stat()
            if (there.st_dev, there.st_ino) == (current.st_dev, current.st_ino):
                return None
            return _Opened(FileIO(self._path))
        except FileNotFoundError:
            return None  # it was renamed, and the next one is not there yet

    def _drop_old(self) -> None:
        now = time.monotonic()
        while (replaced_at := self._opened[0].replaced_at) is not None:
            if now - replaced_at < KEEP_SECONDS:
                return
            self._opened.pop(0).file.close()
