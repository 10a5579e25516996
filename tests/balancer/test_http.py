"""HTTP/1.1 as clients and backends see it: messages, framing, connections."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from tests.support.balancer import (
    Handler,
    ReceivedRequest,
    backend,
    local_balancer,
    response,
)

POST = b"POST / HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


def answering(data: bytes, *, close: bool = False) -> Handler:
    async def handler(call: ReceivedRequest) -> None:
        call.writer.write(data)
        if close:
            call.writer.close()

    return handler


async def forwarded(
    request: bytes, *, read_body: bool = True, **settings: object
) -> ReceivedRequest:
    """What a backend gets for a request."""
    async with backend(read_body=read_body) as one, local_balancer(**settings) as local:
        await local.attach(a_1=one)
        answer = await local.exchange(request)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        return one.calls[0]


async def relayed(answer: bytes, request: bytes = GET, *, close: bool = False) -> bytes:
    """What a client gets for a backend's answer."""
    async with backend(answering(answer, close=close)) as one, local_balancer() as local:
        await local.attach(a_1=one)
        return await local.exchange(request)


async def test_fields_for_the_next_hop_only_stop_here() -> None:
    """Hop-by-hop fields, and those that Connection names, do not pass (P1)."""
    call = await forwarded(
        b"GET /x?y=1 HTTP/1.1\r\nHost: test\r\nConnection: close, X-Private\r\nX-Private: 1\r\n"
        b"Keep-Alive: 1\r\nProxy-Authorization: x\r\nTE: gzip\r\nUpgrade: h2c\r\nX-Kept: yes\r\n"
        b"Proxy-Connection: keep-alive\r\n\r\n"
    )
    assert call.line == b"GET /x?y=1 HTTP/1.1"
    for name in (
        b"Connection", b"X-Private", b"Keep-Alive", b"Proxy-Authorization", b"TE", b"Upgrade",
        b"Proxy-Connection",
    ):  # fmt: skip
        assert call.values(name) == []
    assert call.values(b"X-Kept") == [b"yes"]
    assert call.values(b"Host") == [b"test"]


async def test_connection_cannot_take_away_what_gives_a_request_its_meaning() -> None:
    """A client that names Host or X-Forwarded-For in Connection does not get rid of them (P1)."""
    call = await forwarded(
        b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close, Host, X-Forwarded-For\r\n\r\n"
    )
    assert call.values(b"Host") == [b"test"]
    assert call.values(b"X-Forwarded-For") == [b"127.0.0.1"]


async def test_who_asked_is_told_and_not_believed() -> None:
    """X-Forwarded-* and Via are set; what a stranger claims about itself is dropped (P2)."""
    call = await forwarded(
        b"GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n"
        b"Via: 1.1 outer\r\nConnection: close\r\n\r\n"
    )
    assert call.values(b"X-Forwarded-For") == [b"127.0.0.1"]
    assert call.values(b"X-Forwarded-Proto") == [b"http"]
    assert call.values(b"X-Forwarded-Host") == [b"shop"]
    assert call.values(b"Via") == [b"1.1 outer, 1.1 hitless"]
    assert call.values(b"Forwarded") == call.values(b"X-Real-IP") == []


async def test_a_trusted_peer_is_believed() -> None:
    """What a trusted peer says about its client passes, with that peer added to the chain (P2)."""
    call = await forwarded(
        b"GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: front\r\nConnection: close\r\n\r\n",
        trust=(ipaddress.ip_network("127.0.0.0/8"),),
    )
    assert call.values(b"X-Forwarded-For") == [b"6.6.6.6, 127.0.0.1"]
    assert call.values(b"X-Forwarded-Proto") == [b"https"]
    assert call.values(b"X-Forwarded-Host") == [b"front"]


@pytest.mark.parametrize("given", [b"", b"X-Request-Id: bad id\r\n", b"X-Request-Id: a\tb\r\n"])
async def test_every_request_has_an_id(given: bytes) -> None:
    """A request without a usable X-Request-Id gets one (P3)."""
    call = await forwarded(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n" + given + b"\r\n")
    (request_id,) = call.values(b"X-Request-Id")
    assert b" " not in request_id
    assert len(request_id) > 16


async def test_a_chunked_body_arrives_as_it_was_meant() -> None:
    """A chunked request passes chunked, without extensions, with its harmless trailers (P4)."""
    body = b""

    async def handler(call: ReceivedRequest) -> None:
        nonlocal body
        body = await call.reader.readuntil(b"\r\n0\r\n")
        body += await call.reader.readuntil(b"\r\n\r\n")
        call.writer.write(response())

    async with backend(handler, read_body=False) as one, local_balancer() as local:
        await local.attach(a_1=one)
        answer = await local.exchange(
            b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n"
            b"Connection: close\r\n\r\n"
            b'5;a=b\r\nhello\r\n00001;q="x"\r\n!\r\n0\r\nX-Sum: 9\r\nHost: evil\r\n\r\n'
        )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert one.calls[0].values(b"Transfer-Encoding") == [b"chunked"]
    assert body == b"6\r\nhello!\r\n0\r\nX-Sum: 9\r\n\r\n"


async def test_a_length_is_written_in_its_one_way() -> None:
    """A Content-Length passes as a plain decimal (P4)."""
    call = await forwarded(
        b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 005\r\nConnection: close\r\n\r\nhello"
    )
    assert call.values(b"Content-Length") == [b"5"]
    assert call.body == b"hello"


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests sent without waiting are answered one after the other, in their order (P5)."""

    async def handler(call: ReceivedRequest) -> None:
        call.writer.write(response(call.path + b";" + call.body))

    async with backend(handler) as one, backend(handler) as two, local_balancer() as local:
        await local.attach(a_1=one, a_2=two)
        answer = await local.exchange(
            b"POST /1 HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nA"
            b"GET /2 HTTP/1.1\r\nHost: t\r\n\r\n"
            b"POST /3 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nB\r\n0\r\n\r\n"
            b"GET /4 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        )
    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"/1;A", b"/2;", b"/3;B", b"/4;"]


async def test_requests_cut_anywhere_are_the_same() -> None:
    """A request that arrives byte by byte is the one that arrives whole (P5)."""
    request = (
        b"POST /1 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
        b"POST /2 HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nConnection: close\r\n\r\nxyz"
    )
    async with backend() as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for place in range(len(request)):
                writer.write(request[place : place + 1])
                await asyncio.sleep(0)
            answer = await reader.read()
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert [(call.path, call.body) for call in one.calls] == [(b"/1", b"abcde"), (b"/2", b"xyz")]


async def test_head_has_no_body_and_keeps_its_length() -> None:
    """The answer to HEAD passes with its Content-Length and without a body (P6)."""
    answer = await relayed(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    )
    assert b"Content-Length: 1000\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_statuses_without_a_body(status: bytes) -> None:
    """204 and 304 end with their head, whatever length they name (P6)."""
    answer = await relayed(b"HTTP/1.1 %b\r\nContent-Length: 5\r\n\r\n" % status)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.endswith(b"\r\n\r\n")
    assert (b"Content-Length" in answer) == status.startswith(b"304")


async def test_a_chunked_response_passes_with_its_trailers() -> None:
    """A chunked response passes chunked, with its trailers (P6)."""
    answer = await relayed(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    assert b"Transfer-Encoding: chunked\r\n" in answer
    assert answer.endswith(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")


async def test_http_1_0_clients_get_what_they_can_read() -> None:
    """A chunked response reaches an HTTP/1.0 client as bytes until the close (P6)."""
    answer = await relayed(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"Connection: close" in head
    assert body == b"abc"


async def test_http_1_0_keep_alive() -> None:
    """An HTTP/1.0 client that asks for keep-alive gets it, and says so (P6)."""
    async with backend() as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            for _ in range(2):
                writer.write(b"GET / HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n\r\n")
                head = await reader.readuntil(b"ok")
                assert b"Connection: keep-alive\r\n" in head


async def test_a_response_until_the_close() -> None:
    """A response that ends with its connection passes in chunks, to a clean end (P6)."""
    answer = await relayed(b"HTTP/1.1 200 OK\r\n\r\nabc", close=True)
    assert b"Transfer-Encoding: chunked" in answer
    assert answer.endswith(b"0\r\n\r\n")


async def test_interim_responses_pass() -> None:
    """1xx responses pass to HTTP/1.1 clients ahead of the final one (P7)."""
    answer = await relayed(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_expect_100_continue() -> None:
    """A client that waits for 100 Continue gets the backend's, and then sends its body (P7)."""

    async def handler(call: ReceivedRequest) -> None:
        call.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await call.reader.readexactly(5) == b"hello"
        call.writer.write(response())

    async with backend(handler, read_body=False) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            writer.write(
                b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            )
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hello")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK")


async def test_an_early_response_ends_the_connection() -> None:
    """A response that comes before the body was read is relayed, and the connection closed (P8)."""
    early = answering(response(status="413 No"))
    async with backend(early, read_body=False) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000000\r\n\r\nx")
            answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 413 No")
    assert b"Connection: close" in answer


MALFORMED = {
    "no HTTP": b"SMTP ready\r\n\r\n",
    "version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status too low": b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n",
    "status too high": b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n",
    "control byte in the reason": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
    "both lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "other coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "space before colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "unasked upgrade": b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "huge head": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_response_becomes_502(answer: bytes) -> None:
    """What no client should have to read becomes 502, with the reason in Proxy-Status (P9)."""
    got = await relayed(answer, POST)
    assert got.startswith(b"HTTP/1.1 502 "), got
    assert b"Proxy-Status: hitless; error=http_protocol_error;" in got


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    ],
    ids=["length", "chunked", "malformed chunk"],
)
async def test_a_response_that_breaks_off_has_no_clean_end(answer: bytes) -> None:
    """A response cut after its head resets the client: it cannot look complete (P10)."""
    async with backend(answering(answer, close=True)) as one, local_balancer() as local:
        await local.attach(a_1=one)
        with pytest.raises(ConnectionResetError):
            await local.exchange(GET)


async def test_what_follows_a_response_reaches_nobody() -> None:
    """Bytes that a backend sends unasked never become the answer to another request (P11)."""
    smuggled = response(b"first") + response(b"smuggled")
    async with backend(answering(smuggled)) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            for _ in range(3):
                writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK")
                assert await reader.readexactly(5) == b"first"
    assert one.connections >= 3


async def test_websockets_pass() -> None:
    """A websocket opens through the balancer, carries messages both ways, and closes well (P12)."""

    async def echo(peer: ServerConnection) -> None:
        async for message in peer:
            await peer.send(message)

    async with serve(echo, "127.0.0.1", 0, process_request=_health) as server:
        host, port = next(iter(server.sockets)).getsockname()[:2]
        async with local_balancer() as local:
            local.balancer.control.put("a-1", address=f"{host}:{port}", version="a", weight=1)
            await local.wait(lambda: bool(local.balancer.control.pool.ring))
            (one,) = local.balancer.control.pool.backends
            async with connect(f"ws://{local.host}:{local.port}/chat", proxy=None) as peer:
                for message in ("hello", "x" * 200_000, b"\x00\xff" * 1000):
                    await peer.send(message)
                    assert await peer.recv() == message
                assert (one.in_flight, one.tunnels) == (0, 1)
            drained = await local.balancer.control.drain("a-1", timeout=60)
            assert drained.cut_tunnels == 0


def _health(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == "/health":
        return connection.respond(200, "ok")
    return None


async def test_a_drain_cuts_tunnels_at_their_own_deadline() -> None:
    """A drain waits for tunnels for as long as it is told, then closes and counts them (P12)."""

    async def idle(peer: ServerConnection) -> None:
        await peer.wait_closed()

    async with serve(idle, "127.0.0.1", 0, process_request=_health) as server:
        host, port = next(iter(server.sockets)).getsockname()[:2]
        async with local_balancer() as local:
            local.balancer.control.put("a-1", address=f"{host}:{port}", version="a", weight=1)
            await local.wait(lambda: bool(local.balancer.control.pool.ring))
            async with connect(f"ws://{local.host}:{local.port}/", proxy=None) as peer:
                drained = await local.balancer.control.drain("a-1", timeout=60, tunnel_timeout=0.05)
                assert (drained.cut, drained.cut_tunnels) == (0, 1)
                with pytest.raises(websockets.ConnectionClosed):
                    await peer.recv()


async def test_only_known_upgrades_pass() -> None:
    """An upgrade that is no websocket is not offered to the backend (P12)."""
    call = await forwarded(
        b"GET / HTTP/1.1\r\nHost: t\r\nUpgrade: h2c\r\n"
        b"Connection: Upgrade, HTTP2-Settings, close\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    assert call.values(b"Upgrade") == call.values(b"Connection") == []


SIZE = 64 * 1024 * 1024


@dataclass
class Slowly:
    """The two ends of a large body: one sends, one waits before it reads."""

    sent: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def produce(self, writer: asyncio.StreamWriter) -> None:
        for _ in range(SIZE // 65536):
            writer.write(bytes(65536))
            await writer.drain()
            self.sent += 65536

    async def consume(self, reader: asyncio.StreamReader) -> int:
        await self.go.wait()
        total = 0
        while total < SIZE:
            total += len(await reader.read(1 << 20))
        return total

    async def stalled(self) -> None:
        """Wait until nobody makes progress any more."""
        before = -1
        while self.sent != before:
            before = self.sent
            for _ in range(50):
                await asyncio.sleep(0.002)


async def test_a_slow_backend_fills_no_memory() -> None:
    """A request's body is read only as fast as the backend takes it (P13)."""
    body = Slowly()

    async def handler(call: ReceivedRequest) -> None:
        await body.consume(call.reader)
        call.writer.write(response())

    async with backend(handler, read_body=False) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer), asyncio.TaskGroup() as tasks:
            writer.write(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % SIZE)
            tasks.create_task(body.produce(writer))
            await body.stalled()
            assert body.sent < SIZE // 2
            body.go.set()
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")


async def test_a_slow_client_fills_no_memory() -> None:
    """A response's body is read only as fast as the client takes it (P13)."""
    body = Slowly()

    async def handler(call: ReceivedRequest) -> None:
        call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        await body.produce(call.writer)

    async with backend(handler) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            await body.stalled()
            assert body.sent < SIZE // 2
            body.go.set()
            await reader.readuntil(b"\r\n\r\n")
            assert await body.consume(reader) == SIZE


async def test_httpx_streams_both_ways() -> None:
    """A real client streams a chunked body up and reads a streamed one down (P13)."""

    async def echo(call: ReceivedRequest) -> None:
        call.writer.write(response(call.body))

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 5000

    async with backend(echo) as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with httpx.AsyncClient(base_url=f"http://{local.host}:{local.port}") as client:
            answer = await client.post("/", content=parts())
    assert answer.content == b"x" * 500_000


async def test_a_half_closed_client_gets_its_answer() -> None:
    """A client that closes its sending side after its request still gets the answer (P14)."""
    async with backend() as one, local_balancer() as local:
        await local.attach(a_1=one)
        async with local.connection() as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            writer.write_eof()
            assert (await reader.read()).endswith(b"ok")
