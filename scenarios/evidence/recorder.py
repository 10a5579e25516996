"""Writes evidence: one JSON document a line, buffered, in one write for many lines."""

import json
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import msgspec

from scenarios.errors import StorageError

T = TypeVar("T", bound=msgspec.Struct)

# Encoding happens at once and only the bytes wait, so memory is bounded by this whatever the
# rate, and a flush is a single short write.
_FULL = 256 * 1024


class Recorder(Generic[T]):
    """A file of evidence that is being written; a context manager that flushes and closes it.

    Lines reach the file when `flush` is called and when the buffer is full, always whole.

    Args:
        path: the file. It is created anew, unless
        append: is set: then lines are added to it, also by several processes at a time.

    Raises:
        StorageError: the file cannot be created or written; the message names it.
    """

    def __init__(self, path: Path, *, append: bool = False) -> None:
        self.path = path
        self.count = 0
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        try:
            self._file = path.open("ab" if append else "wb", buffering=0)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, line: T) -> None:
        """Add a line.

        Raises:
            StorageError: the buffer was full and the file could not be written.
        """
        begin = len(self._buffer)
        try:
            self._encoder.encode_into(line, self._buffer, -1)
        except UnicodeEncodeError:
            # JSON can name half a character, `"\ud83d"`, as JavaScript does where it cuts a text.
            plain = json.dumps(msgspec.to_builtins(line), ensure_ascii=False)
            self._buffer[begin:] = plain.encode("utf-8", "replace")
        self._buffer += b"\n"
        self.count += 1
        if len(self._buffer) >= _FULL:
            self.flush()

    def flush(self) -> None:
        """Hand every line so far to the operating system.

        Raises:
            StorageError: the file could not be written.
        """
        try:
            while self._buffer:
                written = self._file.write(self._buffer)
                del self._buffer[:written]
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Flush, and close the file; a second call does nothing.

        Raises:
            StorageError: the file could not be written.
        """
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()
