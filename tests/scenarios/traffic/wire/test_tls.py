"""Requests over TLS have the same outcomes as others, and a handshake that fails has its name."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from scenarios.traffic.errors import TrafficError
from scenarios.traffic.settings import EventStream, Pace, TlsSettings, WebSocket
from scenarios.traffic.wire.tls import tls_context
from tests.support.servers import CERTIFICATE, Asker, Behaviour, Site, encrypted, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TRUSTING = TlsSettings(server_name="localhost", ca_file=str(CERTIFICATE))


@contextlib.asynccontextmanager
async def asking(
    behaviour: Behaviour,
    settings: TlsSettings = TRUSTING,
    *,
    server: ssl.SSLContext | None = None,
    timeout_seconds: float = 30.0,
) -> AsyncIterator[Asker]:
    """Ask a server that speaks TLS."""
    async with serving(behaviour, server or encrypted()) as running:
        asker = Asker(
            running.port,
            timeout_seconds=timeout_seconds,
            tls=tls_context(settings),
            server_name=settings.server_name,
        )
        try:
            yield asker
        finally:
            asker.client.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_one_connection_carries_many_requests(version: ssl.TLSVersion) -> None:
    """The handshake is made once; tickets that the server sends meanwhile close nothing."""
    server = encrypted()
    server.minimum_version = server.maximum_version = version
    site = Site(OK)
    async with asking(site, server=server) as asker:
        outcomes = [await asker.send() for _ in range(5)]
    assert [(one.status, one.error) for one in outcomes] == [(200, None)] * 5
    assert [one.opened for one in outcomes] == [True, False, False, False, False]


@pytest.mark.parametrize("size", [1, 16_384, 65_536, 1_000_000])
async def test_responses_of_any_size(size: int) -> None:
    """What arrives in one record or in many is taken in to its last byte."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
    async with asking(Site(head + b"x" * size)) as asker:
        outcomes = await asyncio.gather(*(asker.send() for _ in range(3)))
    assert [(one.status, one.error) for one in outcomes] == [(200, None)] * 3


async def test_a_response_byte_by_byte() -> None:
    """Each byte in a record of its own, with pauses, makes the same response."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in OK:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async with asking(behave) as asker:
        outcome = await asker.send()
    assert (outcome.status, outcome.error) == (200, None)


async def test_a_large_request_is_sent_whole() -> None:
    """A body that the kernel takes piece by piece arrives whole."""
    site, body = Site(OK), b"y" * 3_000_000
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with asking(site) as asker:
        outcome = await asker.send(head + body)
    assert outcome.status == 200
    assert site.requests == [head + body]


async def test_a_connection_that_ends_early() -> None:
    """A response that is cut off is an `eof` or a `reset`, as without encryption."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK[:-1])

    async with asking(behave) as asker:
        outcome = await asker.send()
    assert outcome.error in {"eof", "reset"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (TlsSettings(server_name="localhost"), "the certificate is not accepted: self"),
        (
            TlsSettings(server_name="other.test", ca_file=str(CERTIFICATE)),
            "the certificate is not accepted: Hostname mismatch",
        ),
    ],
)
async def test_a_certificate_that_is_not_accepted(settings: TlsSettings, said: str) -> None:
    """The outcome is `tls`, with the reason; the request was certainly not sent."""
    async with asking(Site(OK), settings) as asker:
        outcome = await asker.send()
    assert outcome.error == "tls"
    assert said in (outcome.error_detail or "")
    assert outcome.sent_ns is None


async def test_a_certificate_that_is_not_checked() -> None:
    """With `verify` off any certificate does."""
    settings = TlsSettings(server_name="other.test", verify=False)
    async with asking(Site(OK), settings) as asker:
        assert (await asker.send()).status == 200


async def test_a_slow_upload() -> None:
    """A body goes out at its pace, in records of its own, and arrives whole."""
    site, body = Site(OK), b"y" * 60
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with asking(site) as asker:
        outcome = await asker.send(head + body, close=True, pace=Pace(upload=200.0))
    assert (outcome.status, outcome.error) == (200, None)
    assert site.requests == [head + body]
    assert outcome.sent_ns is not None
    # The first piece waits for nothing.
    assert outcome.done_ns - outcome.sent_ns >= 200_000_000


async def test_a_slow_download() -> None:
    """A record that the kernel has given away is read on at the pace, to its last byte."""
    body = b"x" * 4_000
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with asking(Site(head + body)) as asker:
        outcome = await asker.send(close=True, pace=Pace(download=10_000.0))
    assert (outcome.status, outcome.error) == (200, None)
    assert outcome.first_byte_ns is not None
    assert outcome.done_ns - outcome.first_byte_ns >= 300_000_000


async def test_a_websocket() -> None:
    """A websocket over TLS stays for its time, through messages larger than a record."""
    closed: list[int | None] = []

    async def behave(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.send("x" * 70_000)
                await asyncio.sleep(0.01)
        closed.append(connection.protocol.close_code)

    websocket = WebSocket(seconds=0.3, ping_seconds=0.05)
    async with serve(behave, "127.0.0.1", 0, ping_interval=0.02, ssl=encrypted()) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        asker = Asker(port, tls=tls_context(TRUSTING))
        payload = (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        outcome = await asker.send(payload, close=True, websocket=websocket)
        asker.client.close()
    assert (outcome.status, outcome.error) == (101, None)
    assert outcome.sent_ns is not None
    assert outcome.done_ns - outcome.sent_ns >= 300_000_000
    assert closed == [1000]


async def test_a_stream_of_events() -> None:
    """A stream is listened to for its time, and the numbers of its events are heard."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(10_000):
            writer.write(b"id: %d\ndata: x\n\n" % number)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with asking(behave) as asker:
        outcome = await asker.send(close=True, websocket=EventStream(seconds=0.3))
    assert (outcome.status, outcome.error, outcome.missed) == (200, None, 0)
    assert (outcome.last_id or 0) > 0


async def test_a_server_that_does_not_speak_tls() -> None:
    """Plain HTTP where TLS is expected is a `tls` outcome."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(behave) as server:
        asker = Asker(server.port, tls=tls_context(TRUSTING))
        outcome = await asker.send()
        asker.client.close()
    assert outcome.error == "tls"


async def test_a_handshake_that_never_ends() -> None:
    """A server that says nothing runs into the deadline, as one that never accepts does."""

    async def behave(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(behave) as server:
        asker = Asker(server.port, timeout_seconds=0.2, tls=tls_context(TRUSTING))
        outcome = await asker.send()
        asker.client.close()
    assert outcome.error == "connect_timeout"


async def test_nobody_listens() -> None:
    """A refused connection stays a refused connection."""
    async with serving(Site(OK), encrypted()) as server:
        port = server.port
    asker = Asker(port, tls=tls_context(TRUSTING))
    outcome = await asker.send()
    asker.client.close()
    assert outcome.error == "connect_refused"


def test_a_file_of_certificates_that_is_none() -> None:
    """A file without certificates is told in one line."""
    with pytest.raises(TrafficError, match=r"test_tls\.py: "):
        tls_context(TlsSettings(server_name="x", ca_file=__file__))
