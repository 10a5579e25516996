"""Bodies in chunks (RFC 9112 section 7.1), read strictly and written canonically."""

import re
from typing import Final

from balancer.errors import MessageError
from balancer.proxy.grammar import FIELD_LINE, FORBIDDEN_TRAILERS, ODD_TRAILER

# RFC 9112 section 7.1.1, without the spaces that it calls bad; 15 digits cannot overflow 64 bits.
# Extensions are checked and dropped. Old servers fill the size up with spaces; that is forgiven in
# responses, where it cannot hide a second request.
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_EXTENSIONS: Final = (
    rb"((?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN +
    rb'|"(?:[\t\x20!#-\[\]-\x7e]|\\[\t\x20-\x7e])*+"))?)*+)\r\n'
)  # fmt: skip
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})" + _EXTENSIONS)
_RESPONSE_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[\t ]*+" + _EXTENSIONS)
_MAX_LINE: Final = 4096
_MAX_EXTENSIONS: Final = 16 * 1024
_MAX_TRAILERS: Final = 16 * 1024
_MAX_TRAILER_COUNT: Final = 100

_LAST_CHUNK: Final = b"0\r\n\r\n"


class ChunkedBody:
    """Takes a chunked body apart as it arrives.

    Attributes:
        done: whether the last chunk and its trailers have been read.
        trailers: trailer fields that may pass on, as lines.
    """

    __slots__ = (
        "_buffer",
        "_extensions",
        "_left",
        "_size_pattern",
        "_status",
        "_trailer_count",
        "_trailing",
        "done",
        "trailers",
    )

    def __init__(self, status: int = 400) -> None:
        """Begin a body.

        Args:
            status: what an error in it earns: 400 for a request, 502 for a response.
        """
        self._buffer = b""
        self._left = 0  # of the current chunk, with its line end
        self._extensions = 0
        self._trailing = False
        self._trailer_count = 0
        self._status = status
        self._size_pattern = _SIZE_LINE if status < 500 else _RESPONSE_SIZE_LINE  # noqa: PLR2004
        self.done = False
        self.trailers = b""

    def feed(self, data: bytes, limit: int = 1 << 30) -> tuple[list[bytes], int]:
        """Take the next bytes.

        Args:
            data: the next bytes.
            limit: how many pieces and lines to take at most, so that tiny chunks cannot hold up
                the event loop.

        Returns:
            The body's bytes in them, in pieces, and how many of `data` were used: all, unless the
            body ended within them or the limit was reached.

        Raises:
            MessageError: the framing is malformed, or its overhead out of proportion.
        """
        held = len(self._buffer)
        if held:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        place = 0
        size = len(data)
        while place < size and limit:
            limit -= 1
            if self._left:
                place = self._chunk(data, place, pieces)
                continue
            end = data.find(b"\r\n", place)
            if end < 0:
                if size - place > _MAX_LINE or b"\n" in data[place:]:
                    raise MessageError(self._status, "malformed chunk")
                self._buffer = data[place:]
                return pieces, size - held
            end += 2
            if self._trailing:
                self._trailer(data[place:end])
            else:
                self._size_line(data[place:end])
            place = end
            if self.done:
                break
        return pieces, place - held

    def _chunk(self, data: bytes, place: int, pieces: list[bytes]) -> int:
        """Take bytes of the current chunk, then the line end after it, however they are cut."""
        left = self._left
        if left > 2:  # noqa: PLR2004 - the line end after the chunk
            piece = data[place : place + left - 2]
            pieces.append(piece)
            self._left = left - len(piece)
            return place + len(piece)
        if data[place] != (13 if left == 2 else 10):  # noqa: PLR2004 - CR, LF
            raise MessageError(self._status, "a chunk is longer than its size")
        self._left = left - 1
        return place + 1

    def _size_line(self, line: bytes) -> None:
        match = self._size_pattern.fullmatch(line)
        if match is None:
            raise MessageError(self._status, "malformed chunk size or extension")
        self._extensions += len(match[2])
        if self._extensions > _MAX_EXTENSIONS or len(line) > _MAX_LINE:
            raise MessageError(self._status, "chunk extensions are too long")
        size = int(match[1], 16)
        if size:
            self._left = size + 2
        else:
            self._trailing = True

    def _trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.done = True
            return
        match = FIELD_LINE.fullmatch(line)
        if match is None:
            raise MessageError(self._status, "malformed trailer")
        self._trailer_count += 1
        if len(self.trailers) + len(line) > _MAX_TRAILERS or (
            self._trailer_count > _MAX_TRAILER_COUNT
        ):
            raise MessageError(self._status, "trailers are too long")
        name = match[1].lower()
        # A name with other punctuation than `-` might be read as one of the forbidden ones.
        if name not in FORBIDDEN_TRAILERS and not ODD_TRAILER.search(name):
            self.trailers += line


def chunk(pieces: list[bytes]) -> bytes:
    """Write pieces as one chunk; nothing for no bytes, since an empty chunk would be the last."""
    size = sum(map(len, pieces))
    if not size:
        return b""
    return b"%x\r\n%b\r\n" % (size, pieces[0] if len(pieces) == 1 else b"".join(pieces))


def last_chunk(trailers: bytes) -> bytes:
    """Write the end of a chunked body."""
    return b"0\r\n" + trailers + b"\r\n" if trailers else _LAST_CHUNK
