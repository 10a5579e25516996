"""How the requests of one client are read: in order, in portions, and within limits."""

from time import monotonic_ns
from typing import Final

from balancer.errors import MessageError
from balancer.proxy import error_responses
from balancer.proxy.data_plane import DataPlane
from balancer.proxy.error_responses import ErrorResponse
from balancer.proxy.exchange import Exchange
from balancer.proxy.framing import ChunkedBody
from balancer.proxy.grammar import CHUNKED, HOPELESS, NO_BODY
from balancer.proxy.interfaces import ClientConnection
from balancer.proxy.request_parser import read_request
from balancer.proxy.second_parser import SecondParser
from balancer.proxy.timing_wheel import Deadline

# What a connection is doing.
HEAD: Final = 0  # waiting for a request's head, or in the midst of it
BODY: Final = 1  # in the midst of a request's body
WAIT: Final = 2  # the request is read; its response is not complete
TUNNEL: Final = 3  # bytes pass as they are
FLUSH: Final = 4  # the client takes the last response; what it still sends is thrown away
LINGER: Final = 5  # the last response was taken; what the client still sends is thrown away

# Bounds on the work of one turn of the event loop: heads or stretches of bodies, and chunks.
_MAX_STEPS: Final = 8
_MAX_CHUNKS: Final = 256


class RequestReader(ClientConnection):
    """The part of a client's connection that reads. `DownstreamConnection` derives from it."""

    __slots__ = (
        "_advancing",
        "_begun",
        "_buffer",
        "_chunked",
        "_data_plane",
        "_eof",
        "_exchange",
        "_left",
        "_parser",
        "_seen",
        "_state",
        "_yielded",
    )

    def __init__(self, data_plane: DataPlane) -> None:
        Deadline.__init__(self)
        self._data_plane = data_plane
        self._state = HEAD
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._left = 0
        self._chunked: ChunkedBody | None = None
        self._parser = SecondParser()
        self._eof = False
        self._begun = False
        self._seen = 0
        self._advancing = False
        self._yielded = False
        self.peer = ""
        self.persistent = True
        self.blocked = False
        self.paused = False
        self.kind = "new"

    def _reject(self, response: ErrorResponse) -> None:
        """Answer that the request breaks a rule, and read no further."""
        raise NotImplementedError

    def _end(self, *, linger: bool) -> None:
        """End the connection when the client has taken all that was written."""
        raise NotImplementedError

    def _advance(self) -> None:
        """Take as much out of the buffer as the present state can use."""
        self._advancing = True
        steps = 0
        try:
            while self._buffer:
                if steps == _MAX_STEPS:
                    self._yield()
                    break
                steps += 1
                if self._state == HEAD:
                    # A client that does not read its answers gets to ask no more for now.
                    if self.blocked or not self._take_head():
                        break
                elif self._state == BODY:
                    self._take_body()
                else:
                    break
        except MessageError as error:
            self._reject(_error_response(error))
        finally:
            self._advancing = False
        if self._eof:
            self._end_after_eof()

    def _yield(self) -> None:
        """Let other connections have their turn before the rest of the buffer is read."""
        self._yielded = True
        self.pause_reading()
        self._data_plane.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._yielded = False
        if self._state in (HEAD, BODY) and not self.transport.is_closing():
            exchange = self._exchange
            if exchange is None or not exchange.keeps_paused:
                self.resume_reading()
            self._advance()

    def _end_after_eof(self) -> None:
        """End the connection when the last whole request of a half-closed client is answered."""
        if self._state == HEAD and self._exchange is None and not self._yielded:
            if self.blocked and self._buffer:
                return
            self._end(linger=False)

    def _take_head(self) -> bool:
        """Read a head; False when it is not complete yet."""
        data = self._buffer
        plane = self._data_plane
        # Before anything is parsed, so that an oversized head costs no more than this search. A
        # head that trickles in is not read anew with every byte, only when its end is there.
        seen = self._seen
        end = data.find(b"\r\n\r\n", seen - 3 if seen > 3 else 0, plane.header_bytes)  # noqa: PLR2004
        if end < 0:
            return self._take_part_of_head(data, seen)
        end += 4
        # A field takes at least four bytes.
        if end > 4 * plane.header_count and data.count(b"\n", 0, end) - 2 > plane.header_count:
            return self._take_part_of_head(data, seen)
        head = read_request(data, cookies=plane.reads_cookies, underscores=plane.underscores)
        if head is None:
            return self._take_part_of_head(data, seen)
        self._seen = 0
        end = head.size
        length = head.length
        if len(head.target) > plane.target_bytes:
            self._reject(error_responses.LONG_TARGET)
            return False
        if length > 0 and 0 < plane.body_bytes < length:
            self._reject(error_responses.LARGE_BODY)
            return False
        raw = data[:end] if end < len(data) else data
        self._parser.head(raw, whole=length == NO_BODY)
        self._buffer = data[end:] if end < len(data) else b""
        self._begun = False
        self.persistent = head.persistent
        exchange = self._exchange = Exchange(plane, self, head, monotonic_ns())
        plane.in_flight += 1
        plane.arrived += 1
        if length == NO_BODY:
            self._state = WAIT
        else:
            self._state = BODY
            self._left = length
            if length == CHUNKED:
                self._chunked = ChunkedBody(400)
                self._left = 0
            elif self._buffer:
                # What came with the head goes out with it, in one write.
                self._take_body()
        if head.max_forwards == 0 and head.method in (b"TRACE", b"OPTIONS"):
            exchange.refuse(error_responses.NO_FORWARDS)
        else:
            exchange.start()
        return True

    def _take_part_of_head(self, data: bytes, seen: int) -> bool:
        """Judge a head that is not whole, too large or malformed; returns whether to go on."""
        if data.startswith(b"\r\n"):
            # RFC 9112 section 2.2: one empty line before a request is forgiven.
            if data.startswith((b"\r\n\r", b"\r\n\n")):
                raise MessageError(400, "empty lines before the request")
            self._buffer = data[2:]
            self._seen = 0
            return bool(self._buffer)
        plane = self._data_plane
        size = self._seen = len(data)
        most = plane.header_bytes
        line_end = data.find(b"\r\n", 0, plane.target_bytes + 64)
        end = data.find(b"\r\n\r\n", 0, most)
        if line_end < 0 and size > plane.target_bytes + 64:
            self._reject(error_responses.LONG_TARGET)
        elif (end < 0 and size > most) or (
            data.count(b"\n", 0, end if end >= 0 else most) - 1 > plane.header_count
        ):
            self._reject(error_responses.LARGE_HEAD)
        elif end >= 0 or HOPELESS.search(data, max(0, seen - 1), most):
            raise MessageError(400, "malformed request head")
        elif not self._begun:
            # The clock of a slow head starts with its first byte.
            self._begun = True
            plane.wheel.arm(self, plane.ticks_head)
        return False

    def _take_body(self) -> None:
        data = self._buffer
        exchange = self._exchange
        if exchange is None:
            self._buffer = b""
            return
        if self._chunked is not None:
            self._take_chunks(self._chunked, data, exchange)
            return
        left = self._left
        size = len(data)
        if size <= left:
            self._buffer = b""
            piece = data
        else:
            piece = data[:left]
            self._buffer = data[left:]
            size = left
        end = size == left
        self._left = left - size
        self._parser.body(piece, end=end)
        if end:
            self._state = WAIT
        exchange.body([piece], end=end)

    def _take_chunks(self, body: ChunkedBody, data: bytes, exchange: Exchange) -> None:
        pieces, used = body.feed(data, _MAX_CHUNKS)
        self._parser.body(data[:used], end=body.done)
        self._buffer = data[used:]
        limit = self._data_plane.body_bytes
        self._left += sum(map(len, pieces))
        if limit and self._left > limit:
            self._reject(error_responses.LARGE_BODY)
            return
        if body.done:
            self._state = WAIT
            self._chunked = None
        exchange.body(pieces, end=body.done, trailers=body.trailers)


def _error_response(error: MessageError) -> ErrorResponse:
    return ErrorResponse(error.status, "http_request_error", error.reason)
