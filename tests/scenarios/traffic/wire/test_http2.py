"""HTTP/2 where it is offered: the same outcomes, several at a time, and what its frames tell."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, SettingsAcknowledged, StreamEnded
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from scenarios.traffic.settings import TlsSettings
from scenarios.traffic.wire.connection import Browser, ClientExchange, Pooled
from scenarios.traffic.wire.http2 import Farewell, Http2Connection, Http2Frames, translated
from scenarios.traffic.wire.tls import tls_context
from tests.support.servers import CERTIFICATE, Asker, Site, encrypted, reset, serving

TRUSTING = TlsSettings(server_name="localhost", ca_file=str(CERTIFICATE), http2=True)
POST = b"POST /save HTTP/1.1\r\nHost: shop.test\r\nContent-Length: %d\r\n\r\n"


class Peer:
    """The server's end of one connection.

    Attributes:
        requests: the fields and the body of each request, by its stream.
        ended: the streams whose request is whole, in order.
        agreed: whether the client has acknowledged our settings.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.reader, self.writer = reader, writer
        self.requests: dict[int, tuple[dict[str, str], bytearray]] = {}
        self.ended: list[int] = []
        self.agreed = False

    async def begin(self) -> None:
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def heard(self, streams: int, *, agreed: bool = False) -> None:
        """Wait until so many requests are whole; if asked, also until our settings were agreed to.

        Raises:
            IncompleteReadError: the client has closed the connection.
        """
        while len(self.ended) < streams or (agreed and not self.agreed):
            data = await self.reader.read(65536)
            if not data:
                raise asyncio.IncompleteReadError(b"", None)
            for event in self.h2.receive_data(data):
                self.take(event)
            await self.flush()

    def take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self.requests[event.stream_id] = (dict(event.headers), bytearray())  # type: ignore[arg-type]
        elif isinstance(event, DataReceived):
            self.requests[event.stream_id][1].extend(event.data)
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.ended.append(event.stream_id)
        elif isinstance(event, SettingsAcknowledged):
            self.agreed = True

    async def answer(self, stream: int, body: bytes = b"ok", status: str = "200") -> None:
        self.h2.send_headers(stream, [(":status", status), ("x-served-by", "a-1")])
        for at in range(0, len(body), 16_384):
            self.h2.send_data(stream, body[at : at + 16_384])
        self.h2.end_stream(stream)
        await self.flush()

    async def farewell(self, last: int, code: int = 0) -> None:
        """A GOAWAY that ends nothing yet, as servers send it that stop gracefully."""
        self.writer.write(GoAwayFrame(0, last_stream_id=last, error_code=code).serialize())
        await self.writer.drain()


Play = Callable[[Peer], Awaitable[None]]


def offering(*protocols: str) -> ssl.SSLContext:
    context = encrypted()
    context.set_alpn_protocols(list(protocols))
    return context


@contextlib.asynccontextmanager
async def asking(play: Play, *, timeout_seconds: float = 30.0) -> AsyncIterator[Asker]:
    """Ask a server that speaks HTTP/2, and does on each connection what a test wants."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        await peer.begin()
        await play(peer)

    async with serving(behave, offering("h2", "http/1.1")) as running:
        asker = Asker(
            running.port,
            timeout_seconds=timeout_seconds,
            tls=tls_context(TRUSTING),
            tls_http2=tls_context(TRUSTING, http2=True),
        )
        try:
            yield asker
        finally:
            asker.client.close()


async def in_order(peer: Peer) -> None:
    """Answer each request as it comes."""
    done = 0
    while True:
        await peer.heard(done + 1)
        for stream in peer.ended[done:]:
            await peer.answer(stream)
        done = len(peer.ended)


async def test_one_connection_carries_many_requests() -> None:
    """One after the other they share a connection; the outcome says that it was HTTP/2."""
    async with asking(in_order) as asker:
        outcomes = [await asker.send() for _ in range(4)]
    assert [(one.status, one.error, one.http2) for one in outcomes] == [(200, None, True)] * 4
    assert [one.opened for one in outcomes] == [True, False, False, False]
    assert all(one.served_by == "a-1" for one in outcomes)
    for one in outcomes:
        assert one.sent_ns is not None
        assert one.first_byte_ns is not None
        assert one.sent_ns <= one.first_byte_ns <= one.done_ns


async def test_several_at_a_time() -> None:
    """Requests that overlap are streams of one connection, answered in any order."""

    async def backwards(peer: Peer) -> None:
        await peer.heard(1)
        await peer.answer(peer.ended[0])
        await peer.heard(4)
        for stream in reversed(peer.ended[1:]):
            await peer.answer(stream)

    async with asking(backwards) as asker:
        first = await asker.send()
        rest = await asyncio.gather(*(asker.send() for _ in range(3)))
    assert [one.status for one in (first, *rest)] == [200] * 4
    assert not any(one.opened for one in rest)


async def test_a_server_that_allows_one_stream_at_a_time() -> None:
    """Its limit is waited for and kept: what exceeds it has another connection."""

    async def one_by_one(peer: Peer) -> None:
        peer.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        await peer.flush()
        await in_order(peer)

    async with asking(one_by_one) as asker:
        await asker.send()
        outcomes = await asyncio.gather(*(asker.send() for _ in range(3)))
    assert [(one.status, one.error) for one in outcomes] == [(200, None)] * 3
    assert sorted(one.opened for one in outcomes) == [False, True, True]


async def test_a_body_larger_than_the_windows() -> None:
    """A body is sent as the server's windows open; it arrives whole."""
    got: list[tuple[dict[str, str], bytearray]] = []

    async def play(peer: Peer) -> None:
        await peer.heard(1)
        got.append(peer.requests[1])
        await peer.answer(1, b"x" * 40_000)

    body = b"y" * 300_000
    async with asking(play) as asker:
        outcome = await asker.send(POST % len(body) + body)
    assert (outcome.status, outcome.error) == (200, None)
    ((fields, received),) = got
    assert bytes(received) == body
    assert (fields[":method"], fields[":path"], fields[":authority"]) == (
        *("POST", "/save"),
        "shop.test",
    )


async def test_a_graceful_farewell_loses_nothing() -> None:
    """What the server has begun goes on after its GOAWAY; the next one opens a connection."""

    async def play(peer: Peer) -> None:
        await peer.heard(1)
        await peer.farewell(1)
        await peer.answer(1)
        await peer.reader.read()

    async with asking(play) as asker:
        outcomes = [await asker.send() for _ in range(3)]
    assert [(one.status, one.error, one.opened) for one in outcomes] == [(200, None, True)] * 3


async def test_a_farewell_that_the_next_request_finds() -> None:
    """A request finds a GOAWAY that nobody has read; what the connection carries goes on."""
    found: list[asyncio.Future[ClientExchange]] = []

    async def play(peer: Peer) -> None:
        if found:
            await in_order(peer)
        await peer.heard(1)
        await peer.answer(1)
        await peer.heard(2)
        await peer.farewell(3)
        found.append(asker.send())  # before the loop has looked at the client's socket
        await peer.answer(3)
        await peer.reader.read()

    async with asking(play, timeout_seconds=5) as asker:
        await asker.send()
        second = await asker.send()
        third = await found[0]
    assert [(one.status, one.error) for one in (second, third)] == [(200, None)] * 2
    assert [one.opened for one in (second, third)] == [False, True]


async def test_visits_of_one_user_that_overlap() -> None:
    """Each has opened a connection; one of them is kept, and the other ends with its request."""
    both = asyncio.Barrier(2)

    async def play(peer: Peer) -> None:
        await peer.heard(1, agreed=True)
        await both.wait()
        await peer.answer(1)
        await peer.reader.read()

    user = Browser("u1")
    async with asking(play, timeout_seconds=5) as asker:
        outcomes = await asyncio.gather(*(asker.send(browser=user) for _ in range(2)))
        assert asker.client.idle == 1
    assert [(one.status, one.error) for one in outcomes] == [(200, None)] * 2


async def test_what_the_server_has_not_processed_is_safe_to_retry() -> None:
    """A stream beyond the last one of a GOAWAY was not processed, and the outcome says so."""

    async def play(peer: Peer) -> None:
        await peer.heard(1)
        await peer.answer(1)
        await peer.heard(3)
        await peer.farewell(3)
        await peer.answer(3)
        await peer.reader.read()

    async with asking(play) as asker:
        await asker.send()
        third, fifth = await asyncio.gather(asker.send(), asker.send())
    assert (third.status, third.error) == (200, None)
    assert fifth.error == "unprocessed"
    assert "GOAWAY NO_ERROR, last stream 3, and this was stream 5" in (fifth.error_detail or "")
    assert "safe to retry" in (fifth.error_detail or "")


@pytest.mark.parametrize(
    ("code", "error", "detail"),
    [
        (7, "unprocessed", "RST_STREAM REFUSED_STREAM: the server did not process it"),
        (2, "reset", "RST_STREAM INTERNAL_ERROR"),
        (8, "reset", "RST_STREAM CANCEL"),
        (0x99, "reset", "RST_STREAM 0x99"),
    ],
)
async def test_a_stream_that_is_reset(code: int, error: str, detail: str) -> None:
    """Its code is told; the other streams of the connection go on."""

    async def play(peer: Peer) -> None:
        await peer.heard(1)
        peer.h2.reset_stream(1, code)
        await peer.flush()
        await peer.heard(2)
        await peer.answer(3)
        await peer.reader.read()

    async with asking(play) as asker:
        first, second = await asker.send(), await asker.send()
    assert first.error == error
    assert (first.error_detail or "").startswith(detail)
    assert (second.status, second.opened) == (200, False)


async def test_a_connection_that_ends_under_its_streams() -> None:
    """Every exchange on it has failed, and the farewell before that is told."""

    async def play(peer: Peer) -> None:
        await peer.heard(1)
        await peer.answer(1)
        await peer.heard(3)
        await peer.farewell(5, code=2)
        peer.writer.close()

    async with asking(play) as asker:
        await asker.send()
        outcomes = await asyncio.gather(asker.send(), asker.send())
    for one in outcomes:
        assert one.error == "eof"
        assert "after GOAWAY INTERNAL_ERROR, last stream 5" in (one.error_detail or "")


async def test_a_connection_that_is_reset() -> None:
    """A reset of the whole connection is a reset of what it carried."""

    async def abrupt(peer: Peer) -> None:
        await peer.heard(1)
        reset(peer.writer)

    async with asking(abrupt) as asker:
        outcome = await asker.send()
    assert outcome.error in ("reset", "eof")  # the kernel may tell either, by what it has read


async def test_silence_is_a_timeout_and_nothing_more_is_sent_there() -> None:
    """A request that is not answered in time; the next one has a connection of its own."""

    async def play(peer: Peer) -> None:
        await peer.heard(1)
        await peer.reader.read()

    async with asking(play, timeout_seconds=0.2) as asker:
        outcomes = [await asker.send() for _ in range(2)]
    assert [(one.error, one.opened) for one in outcomes] == [("timeout", True)] * 2


class Breaking:
    """A socket whose next write finds, once it is broken, that the other end has reset it."""

    def __init__(self, inner: socket.socket) -> None:
        inner.setblocking(False)
        self.inner, self.broken = inner, False

    def recv_into(self, buffer: memoryview) -> int:
        return self.inner.recv_into(buffer)

    def send(self, data: memoryview) -> int:
        if self.broken:
            raise ConnectionResetError("Connection reset by peer")
        return self.inner.send(data)

    def fileno(self) -> int:
        return self.inner.fileno()

    def close(self) -> None:
        self.inner.close()


class Ledger:
    """Whom a connection reports to; keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int | None, str | None]] = []
        self.done: list[ClientExchange] = []

    def finished(self, exchange: ClientExchange, error: str | None, detail: str | None) -> None:
        del detail
        self.told.append((exchange.status, error))
        self.done.append(exchange)

    def idled(self, connection: Pooled) -> None:
        """Nothing is kept here."""

    def dropped(self, connection: Pooled) -> None:
        """Nothing is kept here."""


@pytest.mark.parametrize("case", ["early answer", "malformed answer", "deadline"])
async def test_one_outcome_although_the_reset_finds_the_connection_lost(case: str) -> None:
    """A stream is reset on a connection that turns out to be lost: its outcome was known before."""
    ours, theirs = socket.socketpair()
    sock, ledger = Breaking(ours), Ledger()
    server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    with theirs:
        connection = Http2Connection(
            asyncio.get_running_loop(),
            sock,
            buffer=memoryview(bytearray(65536)),
            owner=ledger,
            browser=None,
            alone=False,
        )
        body = b"y" * 100_000  # more than the window of a stream
        exchange = ClientExchange(POST % len(body) + body, is_head=False, close=False)
        connection.carry(exchange)
        server.initiate_connection()
        server.receive_data(theirs.recv(1 << 18))
        sock.broken = True
        if case == "deadline":
            assert exchange.connection is not None
            exchange.connection.give_up()
        else:
            status = "413" if case == "early answer" else "20"
            server.send_headers(1, [(":status", status)], end_stream=True)
            theirs.sendall(server.data_to_send())
            connection.usable()
        connection.close()
    outcome = {
        "early answer": (413, None),
        "malformed answer": (None, "malformed"),
        "deadline": (None, "timeout"),
    }
    assert ledger.told == [outcome[case]]


async def test_what_is_not_http_2() -> None:
    """Bytes that are no frames, in spite of what both ends agreed on."""

    async def play(peer: Peer) -> None:
        await peer.heard(1)
        peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await peer.writer.drain()

    async with asking(play) as asker:
        outcome = await asker.send()
    assert outcome.error == "malformed"


async def test_without_an_offer_it_is_http_1() -> None:
    """A server that offers no HTTP/2 gets HTTP/1.1 on the same connection."""
    site = Site(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    for protocols in (["http/1.1"], []):
        async with serving(site, offering(*protocols) if protocols else encrypted()) as running:
            asker = Asker(
                running.port,
                tls=tls_context(TRUSTING),
                tls_http2=tls_context(TRUSTING, http2=True),
            )
            outcomes = [await asker.send() for _ in range(2)]
            asker.client.close()
        assert [(one.status, one.http2, one.opened) for one in outcomes] == [
            (200, False, True),
            (200, False, False),
        ]


async def test_a_connection_for_one_request_alone() -> None:
    """A request that asks for a connection of its own gets it, and nobody else does."""
    async with asking(in_order) as asker:
        outcomes = [await asker.send(close=True), await asker.send(), await asker.send(close=True)]
        assert asker.client.idle == 1
    assert [one.opened for one in outcomes] == [True] * 3


WHAT_SERVERS_SEND = [
    one.serialize()
    for stream in (1, 3, 9)  # the last one is nobody's
    for one in (
        HeadersFrame(stream, b"\x88", flags=["END_HEADERS"]),
        HeadersFrame(stream, b"\x88", flags=["END_HEADERS", "END_STREAM"]),
        HeadersFrame(stream, b"\x88", flags=["END_HEADERS", "PADDED"], pad_length=9),
        HeadersFrame(stream, b"\x88"),
        ContinuationFrame(stream, b"\x8d", flags=["END_HEADERS"]),
        DataFrame(stream, b"x" * 50),
        DataFrame(stream, b"x", flags=["PADDED", "END_STREAM"], pad_length=200),
        RstStreamFrame(stream, error_code=8),
        WindowUpdateFrame(stream, window_increment=70_000),
        WindowUpdateFrame(stream, window_increment=(1 << 31) - 1),
        GoAwayFrame(0, last_stream_id=stream),
        PushPromiseFrame(stream, 2, b"\x82", flags=["END_HEADERS"]),
    )
] + [
    SettingsFrame(0, settings={3: 0}).serialize(),
    SettingsFrame(0, settings={1: 0, 3: 100, 4: 0, 5: 16_384, 6: 1}).serialize(),
    SettingsFrame(0, settings={4: (1 << 31) - 1}).serialize(),
    SettingsFrame(0, settings={5: 1}).serialize(),
    SettingsFrame(0, settings={0x99: 7}).serialize(),
    PingFrame(0, b"12345678").serialize(),
    WindowUpdateFrame(0, window_increment=70_000).serialize(),
]


@given(st.lists(st.sampled_from(WHAT_SERVERS_SEND) | st.binary(max_size=30), max_size=12))
def test_each_request_has_one_outcome_whatever_the_server_sends(sent: list[bytes]) -> None:
    """Odd frames and bytes that are none give no traceback, and no second outcome."""
    ours, theirs = socket.socketpair()
    loop, ledger = asyncio.new_event_loop(), Ledger()
    with theirs, contextlib.closing(loop):
        connection = Http2Connection(
            loop,
            Breaking(ours),
            buffer=memoryview(bytearray(65536)),
            owner=ledger,
            browser=None,
            alone=False,
        )
        body = b"y" * 100_000
        payloads = (POST % len(body) + body, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        exchanges = [ClientExchange(one, is_head=False, close=False) for one in payloads]
        for one in exchanges:
            connection.carry(one)
        theirs.setblocking(False)
        for piece in sent:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                theirs.send(piece)
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                theirs.recv(1 << 18)
            connection.usable()
        for one in exchanges:
            if one not in ledger.done and one.connection is not None:
                one.connection.give_up()
        connection.close()
    assert sorted(map(id, ledger.done)) == sorted(map(id, exchanges))


FRAMES = [
    SettingsFrame(0, settings={3: 100}),
    HeadersFrame(1, b"\x88"),
    DataFrame(1, b"x" * 50),
    GoAwayFrame(0, last_stream_id=7, error_code=1, additional_data=b"why"),
    DataFrame(3, b""),
]


@given(st.lists(st.integers(0, sum(len(one.serialize()) for one in FRAMES)), max_size=9))
def test_frames_come_out_whole(cuts: list[int]) -> None:
    """However the bytes are cut, the same frames come out, and the farewell is told apart."""
    data = b"".join(one.serialize() for one in FRAMES)
    ends = sorted(cuts)
    pieces = [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]
    for fed in (pieces, [bytes([one]) for one in data]):
        reader = Http2Frames()
        found = [frame for piece in fed for frame in reader.feed(piece)]
        assert found == [
            Farewell(7, "PROTOCOL_ERROR") if isinstance(one, GoAwayFrame) else one.serialize()
            for one in FRAMES
        ]


def test_a_request_is_translated() -> None:
    """What HTTP/1.1 says of its connection is left out, and names are in lower case."""
    payload = (
        b"GET /a?b=c HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: s7-1\r\nConnection: close\r\n\r\n"
    )
    assert translated(payload) == (
        [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"a.test"),
            (b":path", b"/a?b=c"),
            (b"x-request-id", b"s7-1"),
        ],
        b"",
    )


@pytest.mark.parametrize(("value", "kept"), [(b"trailers", True), (b"gzip;q=0.5", False)])
def test_the_only_te_that_http_2_has(value: bytes, kept: bool) -> None:  # noqa: FBT001
    """`TE` may say `trailers` there, and nothing else (RFC 9113, section 8.2.2)."""
    fields, _ = translated(b"GET / HTTP/1.1\r\nHost: a.test\r\nTE: " + value + b"\r\n\r\n")
    assert ((b"te", value) in fields) == kept


async def test_fields_that_http_2_does_not_have() -> None:
    """A request that has them for HTTP/1.1 is sent without them."""
    fields = b"TE: gzip\r\nConnection: TE\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n"
    async with asking(in_order) as asker:
        outcome = await asker.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n" + fields + b"\r\n")
    assert (outcome.status, outcome.error) == (200, None)
