"""One HTTP/2 connection (RFC 9113), and the exchanges that it carries at a time.

The h2 package keeps the state of the streams. A GOAWAY frame is read here and not given to it: it
would take the connection for closed, while the streams up to the last one that the frame names go
on to their ends (section 6.8). The exchanges are those of HTTP/1.1; their messages are translated.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings

from scenarios.traffic.wire.connection import (
    Browser,
    ClientExchange,
    Owner,
    StreamSocket,
    keep_head,
    keep_response,
    stream_error,
    words,
)
from scenarios.traffic.wire.response import MalformedResponse, ResponseReader

PROTOCOL: Final = "h2"
"""What it is called where protocols are negotiated (ALPN)."""

UNPROCESSED: Final = "unprocessed"

_MOST_STREAMS = 100
_WINDOW = 1 << 24
_FRAME_HEAD = 9
_GOAWAY = 0x7
_LARGEST_FRAME = 1 << 14
_BUSY = 1 << 62
"""Since when a connection has been idle that is not."""

_SAFE = "the server did not process it, so it is safe to retry (RFC 9113, section 8.7)"
_OF_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"host"}
)
"""Fields that HTTP/2 does not have, since they are about a connection (RFC 9113, 8.2.2)."""

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive"})


@dataclass(frozen=True, slots=True)
class Farewell:
    """A GOAWAY frame.

    Attributes:
        last: the last stream that the server has processed, or may have.
        code: why.
    """

    last: int
    code: str

    def __str__(self) -> str:
        """As part of a sentence."""
        return f"GOAWAY {self.code}, last stream {self.last}"


class Http2Frames:
    """Bytes become whole frames; GOAWAY frames are told apart. Pure."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes | Farewell]:
        """Take a piece; the frames that it ends are given as they are, but GOAWAY as a `Farewell`.

        Raises:
            ProtocolError: a frame is larger than we allow.
        """
        self._data += data
        while len(self._data) >= _FRAME_HEAD:
            size = int.from_bytes(self._data[:3])
            if size > _LARGEST_FRAME:
                raise ProtocolError(f"a frame of {size} bytes, where 16,384 are allowed")
            if len(self._data) < _FRAME_HEAD + size:
                return
            frame = bytes(self._data[: _FRAME_HEAD + size])
            del self._data[: _FRAME_HEAD + size]
            if frame[3] == _GOAWAY and size >= 8:  # noqa: PLR2004 - RFC 9113, section 6.8
                last = int.from_bytes(frame[9:13]) & 0x7FFFFFFF
                yield Farewell(last, code_name(int.from_bytes(frame[13:17])))
            else:
                yield frame


def code_name(code: int) -> str:
    """The name of an error code (RFC 9113, section 7)."""
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"0x{code:x}"


def translated(payload: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The field section and the body of a request that is written as HTTP/1.1 (RFC 9113, 8.3.1)."""
    head, _, body = payload.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    method, target, _ = line.split(b" ", 2)
    pairs = [
        (name.lower(), value.strip()) for name, _, value in (at.partition(b":") for at in lines)
    ]
    authority = next((value for name, value in pairs if name == b"host"), b"")
    fields = [
        (b":method", method),
        (b":scheme", b"https"),
        (b":authority", authority),
        (b":path", target),
    ]
    return fields + [pair for pair in pairs if _may_be_sent(*pair)], body


def _may_be_sent(name: bytes, value: bytes) -> bool:
    """Whether HTTP/2 has such a field; of `TE` it has one value (RFC 9113, section 8.2.2)."""
    return name not in _OF_CONNECTION and (name != b"te" or value.lower() == b"trailers")


class Http2Stream:
    """One exchange on a connection.

    Attributes:
        exchange: the exchange.
        unsent: what of its body is still to be sent.
        reader: reads its response.
    """

    __slots__ = ("_connection", "exchange", "number", "reader", "unsent")

    def __init__(
        self, connection: "Http2Connection", number: int, exchange: ClientExchange, body: bytes
    ) -> None:
        self._connection = connection
        self.number = number
        self.exchange = exchange
        self.unsent = memoryview(body)
        self.reader = ResponseReader()
        self.reader.begin(is_head=exchange.is_head, keep=exchange.keep)

    def give_up(self) -> None:
        """The deadline has passed."""
        self._connection.give_up(self)

    def hang_up(self) -> None:
        """An ordinary exchange ends by itself."""

    def close(self) -> None:
        """Close the connection with all of its exchanges."""
        self._connection.close()


class Http2Connection:
    """A connection on which both ends have agreed on HTTP/2.

    Attributes:
        browser: whose it is; None: it may be shared.
        idle_since_ns: since when it has carried nothing.
    """

    __slots__ = (
        "_alone",
        "_buffer",
        "_closed",
        "_farewell",
        "_fd",
        "_frames",
        "_h2",
        "_loop",
        "_out",
        "_owner",
        "_retired",
        "_settled",
        "_sock",
        "_streams",
        "_unsent",
        "_waits_to_write",
        "browser",
        "idle_since_ns",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: StreamSocket,
        *,
        buffer: memoryview,
        owner: Owner,
        browser: Browser | None,
        alone: bool,
    ) -> None:
        """Begin on a socket whose handshake is over.

        Args:
            loop: the running loop.
            sock: the socket.
            buffer: for one read's worth; nothing of it is kept.
            owner: told what becomes of exchanges.
            browser: whose it is.
            alone: whether it is for a single exchange.
        """
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._buffer = buffer
        self._owner = owner
        self._alone = alone
        self.browser = browser
        self.idle_since_ns = _BUSY
        self._streams: dict[int, Http2Stream] = {}
        self._unsent: list[ClientExchange] = []
        self._out = bytearray()
        self._frames = Http2Frames()
        self._farewell: Farewell | None = None
        self._retired = alone
        self._settled = False
        self._closed = False
        self._waits_to_write = False
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW,
                SettingCodes.MAX_CONCURRENT_STREAMS: _MOST_STREAMS,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOW)
        loop.add_reader(self._fd, self._read)

    @property
    def takes_more(self) -> bool:
        """Whether another exchange may be given to it now.

        Only once the server has said how many streams it allows: a client that does not wait for
        that may be refused.
        """
        most = min(_MOST_STREAMS, self._h2.remote_settings.max_concurrent_streams)
        free = self._settled and len(self._streams) < most
        return free and not (self._closed or self._retired)

    def usable(self) -> bool:
        """Whether another exchange may be given to it, once what has arrived was looked at."""
        if not self._closed:
            self._read()
        return self.takes_more

    def carry(self, exchange: ClientExchange) -> None:
        """Send this exchange now."""
        fields, body = translated(exchange.payload)
        number = self._h2.get_next_available_stream_id()
        stream = Http2Stream(self, number, exchange, body)
        exchange.connection = stream
        exchange.http2 = True
        self.idle_since_ns = _BUSY
        self._streams[number] = stream
        self._unsent.append(exchange)
        self._h2.send_headers(number, fields, end_stream=not body)
        self._send_body(stream)
        self._flush()

    def give_up(self, stream: Http2Stream) -> None:
        """A deadline has passed; nothing more is sent on a connection that may be dead."""
        self._retire()
        self._reset(stream)
        self._fail(stream, "timeout", "no complete response in time")

    def hang_up(self) -> None:
        """Nothing here stays open for long."""

    def let_go(self) -> None:
        """Close it as soon as what it carries has ended, which may be now."""
        self._retired = True
        self._end_if_over()

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._sock.close()
        for stream in self._streams.values():
            stream.reader.close()

    def _send_body(self, stream: Http2Stream) -> None:
        """Send as much of a body as the server's windows take."""
        while stream.unsent:
            size = min(
                self._h2.local_flow_control_window(stream.number),
                self._h2.max_outbound_frame_size,
                len(stream.unsent),
            )
            if size <= 0:
                return
            piece, stream.unsent = stream.unsent[:size], stream.unsent[size:]
            self._h2.send_data(stream.number, bytes(piece), end_stream=not stream.unsent)

    def _flush(self) -> None:
        self._out += self._h2.data_to_send()
        while self._out and not self._closed:
            now = time.monotonic_ns()
            try:
                written = self._sock.send(memoryview(self._out))
            except BlockingIOError:
                if not self._waits_to_write:
                    self._waits_to_write = True
                    self._loop.add_writer(self._fd, self._flush)
                return
            except OSError as error:
                self._lost(stream_error(error), words(error))
                return
            # Bytes are copied, since a view of them would keep the array from shrinking.
            self._out = self._out[written:]
            for exchange in self._unsent:
                exchange.sent_ns = now
            self._unsent.clear()
        if self._waits_to_write:
            self._waits_to_write = False
            self._loop.remove_writer(self._fd)

    def _read(self) -> None:
        """Take in all that has arrived."""
        while not self._closed:
            try:
                size = self._sock.recv_into(self._buffer)
            except BlockingIOError:
                break
            except OSError as error:
                self._lost(stream_error(error), words(error))
                return
            if size == 0:
                self._lost("eof", "closed without a complete response")
                return
            try:
                for frame in self._frames.feed(self._buffer[:size]):
                    if isinstance(frame, Farewell):
                        self._take_leave(frame)
                    else:
                        self._take_in(self._h2.receive_data(frame))
            except H2Error as error:
                self._lost("malformed", f"HTTP/2: {error}")
                return
        if not self._closed:
            self._flush()

    def _take_in(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RemoteSettingsChanged) and not self._settled:
                self._settled = True
                if self.takes_more:
                    self._owner.idled(self)
            if isinstance(event, WindowUpdated | RemoteSettingsChanged):
                for stream in list(self._streams.values()):
                    self._send_body(stream)
                continue
            if isinstance(event, DataReceived):
                self._h2.acknowledge_received_data(
                    event.flow_controlled_length or 0, event.stream_id or 0
                )
            of = self._streams.get(getattr(event, "stream_id", None) or 0)
            if of is not None:
                self._take_event(of, event)

    def _take_event(self, stream: Http2Stream, event: Event) -> None:
        try:
            if isinstance(event, ResponseReceived):
                stream.exchange.first_byte_ns = time.monotonic_ns()
                stream.reader.feed(_head(event.headers or []))
            elif isinstance(event, DataReceived):
                if not stream.reader.complete:
                    stream.reader.feed(event.data or b"")
            elif isinstance(event, StreamEnded):
                stream.reader.end()
                self._succeed(stream)
            elif isinstance(event, StreamReset):
                code = code_name(int(event.error_code or 0))
                if code == ErrorCodes.REFUSED_STREAM.name:
                    self._fail(stream, UNPROCESSED, f"RST_STREAM {code}: {_SAFE}")
                else:
                    self._fail(stream, "reset", f"RST_STREAM {code}")
        except MalformedResponse as error:
            self._reset(stream)
            self._fail(stream, "malformed", str(error))

    def _take_leave(self, farewell: Farewell) -> None:
        """The server opens no more streams; those that it has not processed have failed."""
        self._farewell = farewell
        self._retire()
        for stream in [one for one in self._streams.values() if one.number > farewell.last]:
            self._fail(
                stream, UNPROCESSED, f"{farewell}, and this was stream {stream.number}: {_SAFE}"
            )
        self._end_if_over()

    def _lost(self, error: str, detail: str) -> None:
        """The connection is over, and with it all that it carried."""
        self._retire()
        if self._farewell is not None:
            detail = f"{detail}, after {self._farewell}"
        streams = list(self._streams.values())
        self.close()
        for stream in streams:
            self._fail(stream, error, detail)

    def _retire(self) -> None:
        """Nothing more is sent on it; what it carries goes on."""
        if not self._retired:
            self._retired = True
            self._owner.dropped(self)

    def _reset(self, stream: Http2Stream) -> None:
        """Tell the server that nobody waits for the rest.

        The stream is taken out first: if the connection is found lost by that, the exchange still
        has the outcome that is known already, and only that one.
        """
        self._streams.pop(stream.number, None)
        try:
            self._h2.reset_stream(stream.number, ErrorCodes.CANCEL)
        except H2Error:
            return  # it has ended on its own in the meantime
        self._flush()

    def _succeed(self, stream: Http2Stream) -> None:
        exchange = stream.exchange
        if not stream.reader.complete:
            self._fail(stream, "malformed", "the stream ended without a response")
            return
        exchange.status = stream.reader.status
        keep_response(exchange, stream.reader)
        if stream.unsent:
            self._reset(stream)
        self._leave(stream)
        self._owner.finished(exchange, None, None)

    def _fail(self, stream: Http2Stream, error: str, detail: str) -> None:
        exchange = stream.exchange
        keep_head(exchange, stream.reader)
        self._leave(stream)
        self._owner.finished(exchange, error, detail)

    def _leave(self, stream: Http2Stream) -> None:
        self._streams.pop(stream.number, None)
        stream.reader.close()
        self._end_if_over()
        if not (self._closed or self._retired):
            if not self._streams:
                self.idle_since_ns = time.monotonic_ns()
            self._owner.idled(self)

    def _end_if_over(self) -> None:
        if self._retired and not self._streams:
            self.close()


def _head(fields: list[tuple[bytes, bytes]]) -> bytes:
    """The head of a response as HTTP/1.1 writes it; its body then ends with the stream."""
    status = next((value for name, value in fields if name == b":status"), b"")
    lines = [
        name + b": " + value
        for name, value in fields
        if not name.startswith(b":") and name not in _FRAMING
    ]
    return b"\r\n".join([b"HTTP/1.1 " + status + b" -", *lines, b"", b""])
