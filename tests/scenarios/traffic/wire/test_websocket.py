"""A websocket stays open for its time, and whatever ends it sooner is told apart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame
from websockets.frames import Opcode as WireOpcode

from scenarios.traffic.journeys.population import Population
from scenarios.traffic.plan import Plan
from scenarios.traffic.settings import Journey, Step, WebSocket
from scenarios.traffic.wire.connection import ClientExchange
from scenarios.traffic.wire.frames import (
    Control,
    FrameError,
    FrameReader,
    Opcode,
    accept_for,
    close_reason,
)
from tests.support.servers import Asker, read_request, reset, serving

Make = Callable[..., Asker]


def handshake(port: int, websocket: WebSocket) -> bytes:
    """The request as the generator makes it."""
    plan = Plan(
        host="127.0.0.1",
        port=port,
        rate=1.0,
        journeys=(Journey(name="stay", steps=(Step(path="/live", websocket=websocket),)),),
        requests_path="",
        mails_path="",
    )
    population = Population(plan)
    journey = population.journey(0)
    values = population.values(0, journey, None)
    return journey.steps[0].request(values, request_id="s0-000000-1", close=True)


def stay(one: Asker, port: int, **fields: float) -> asyncio.Future[ClientExchange]:
    websocket = WebSocket(**{"seconds": 0.3, "ping_seconds": 0.05, **fields})
    return one.send(handshake(port, websocket), close=True, websocket=websocket)


@asynccontextmanager
async def websockets(
    behave: Callable[[ServerConnection], Awaitable[None]],
) -> AsyncIterator[int]:
    async with serve(behave, "127.0.0.1", 0, ping_interval=0.02) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def test_it_stays_and_is_closed_in_order(asker: Make) -> None:
    """Through messages and pings it stays open for its time; then the server sees a clean end."""
    closed: list[int | None] = []

    async def behave(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.send("x" * 70_000)
                await connection.ping()
                await asyncio.sleep(0.01)
        closed.append(connection.protocol.close_code)

    async with websockets(behave) as port:
        done = await stay(asker(port), port)
    assert (done.status, done.error) == (101, None)
    assert done.sent_ns is not None
    assert done.done_ns - done.sent_ns >= 300_000_000
    assert closed == [1000]


async def test_a_polite_close_before_its_time_is_a_cut(asker: Make) -> None:
    """A server that says it is going away has ended what should have stayed."""

    async def behave(connection: ServerConnection) -> None:
        await connection.close(1001, "going away")

    async with websockets(behave) as port:
        done = await stay(asker(port), port, seconds=60.0)
    assert (done.status, done.error) == (None, "eof")
    assert done.error_detail == "closed by the server: 1001 going away"


async def test_hanging_up_ends_it_in_order(asker: Make) -> None:
    """Closed by us before its time it is no failure."""

    async def behave(connection: ServerConnection) -> None:
        await connection.send("here")
        one.client.hang_up()
        await connection.wait_closed()

    async with websockets(behave) as port:
        one = asker(port)
        done = await stay(one, port, seconds=60.0)
    assert (done.status, done.error) == (101, None)


async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await read_request(reader)
    key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0].decode()
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"X-Served-By: b-4\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept_for(key).encode()
    )


async def test_a_cut_is_a_cut(asker: Make) -> None:
    """A connection that breaks is named after how it broke, and after who served it."""
    for end, error in ((reset, "reset"), (asyncio.StreamWriter.close, "eof")):

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await upgrade(reader, writer)
            await reader.readexactly(6)  # the first ping
            end(writer)  # noqa: B023 - the server is gone before the next round

        async with serving(behave) as server:
            done = await stay(asker(server.port), server.port)
        assert (done.status, done.error, done.served_by) == (None, error, "b-4")


async def test_a_server_that_answers_no_ping_is_too_late(asker: Make) -> None:
    """An open connection to something that is no longer there is found by its pings."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        await reader.read()

    async with serving(behave) as server:
        done = await stay(asker(server.port, timeout_seconds=0.2), server.port, seconds=60.0)
    assert (done.status, done.error) == (None, "timeout")
    assert done.error_detail == "a ping was not answered in time"


async def test_a_handshake_has_the_usual_time(asker: Make) -> None:
    """A handshake that is not answered is given up like any request, not at the socket's end."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read()

    async with serving(behave) as server:
        done = await stay(asker(server.port, timeout_seconds=0.1), server.port, seconds=60.0)
    assert (done.status, done.error) == (None, "timeout")


async def test_a_refused_upgrade_is_its_status(asker: Make) -> None:
    """A server without a websocket answers like any other."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")

    async with serving(behave) as server:
        done = await stay(asker(server.port), server.port)
    assert (done.status, done.error) == (503, None)


async def test_a_wrong_accept_is_malformed(asker: Make) -> None:
    """A 101 that does not answer the key comes from something that knows no websockets."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n"
        )
        await reader.read()

    async with serving(behave) as server:
        done = await stay(asker(server.port), server.port)
    assert (done.status, done.error) == (None, "malformed")


def test_the_accept_of_the_rfc() -> None:
    """The example of RFC 6455, section 1.3."""
    assert accept_for("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


frames = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY]), st.binary(max_size=70_000)),
        st.tuples(
            st.sampled_from([Opcode.PING, Opcode.PONG, Opcode.CLOSE]), st.binary(max_size=125)
        ),
    ),
    max_size=6,
)


@given(sent=frames, size=st.integers(1, 5_000))
def test_frames_are_read_however_they_are_cut(sent: list[tuple[Opcode, bytes]], size: int) -> None:
    """Control frames come out in order and whole; of messages nothing is kept."""
    wire = b"".join(
        Frame(WireOpcode(opcode), payload).serialize(mask=False) for opcode, payload in sent
    )
    reader = FrameReader()
    got = [
        control for at in range(0, len(wire), size) for control in reader.feed(wire[at : at + size])
    ]
    assert got == [Control(*each) for each in sent if each[0] >= Opcode.CLOSE]
    assert len(reader._buffer) == 0


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b"\xc1\x00", "a reserved bit is set"),
        (b"\x83\x00", "opcode 3 is reserved"),
        (b"\x81\x80abcd", "a server's frame is masked"),
        (b"\x89\x7e\x00\x80", "a control frame is too long"),
        (b"\x09\x00", "a control frame is too long, or in pieces"),
    ],
)
def test_what_a_server_may_not_send_is_refused(wire: bytes, message: str) -> None:
    """Each rule of RFC 6455, section 5, that a client has to check."""
    with pytest.raises(FrameError, match=message):
        list(FrameReader().feed(wire))


def test_a_close_may_have_no_code() -> None:
    """RFC 6455, section 5.5.1: the body of a close frame is optional."""
    assert close_reason(b"") == "without a code"
    assert close_reason(b"\x03\xe8") == "1000"
