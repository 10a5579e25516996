"""Long requests are as long as they are asked to be, and end like all others."""

import asyncio
from collections.abc import Callable

from scenarios.traffic.settings import Pace
from tests.support.servers import Asker, read_request, reset, serving

Make = Callable[..., Asker]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def post(size: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


async def test_a_slow_upload_takes_its_time(asker: Make) -> None:
    """The head goes out at once, the body at its pace, and the request arrives whole."""
    arrived: list[float] = []
    loop = asyncio.get_running_loop()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        arrived.append(loop.time())
        body = await reader.readexactly(40)
        arrived.append(loop.time())
        assert head + body == post(40)
        writer.write(OK)

    async with serving(behave) as server:
        done = await asker(server.port).send(post(40), close=True, pace=Pace(upload=100.0))
    assert (done.status, done.error) == (200, None)
    # 40 bytes at 100 a second, less the first piece, which waits for nothing.
    assert arrived[1] - arrived[0] >= 0.3


async def test_a_slow_download_takes_its_time(asker: Make) -> None:
    """A slow reader holds the response back, and gets all of it."""
    body = b"x" * 4_000

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with serving(behave) as server:
        done = await asker(server.port).send(close=True, pace=Pace(download=10_000.0))
    assert (done.status, done.error) == (200, None)
    assert done.first_byte_ns is not None
    assert done.done_ns - done.first_byte_ns >= 300_000_000


async def test_a_slow_reader_is_felt_by_the_server(asker: Make) -> None:
    """What a slow reader does not take stays with the server: the kernel does not read ahead."""
    size = 50_000_000
    stuck = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        assert writer.transport.get_write_buffer_size() > 0
        stuck.set()
        await reader.read()

    async with serving(behave) as server:
        one = asker(server.port)
        future = one.send(close=True, pace=Pace(download=1_000.0), timeout_seconds=0.5)
        await stuck.wait()
        done = await future
    assert (done.status, done.error) == (None, "timeout")


async def test_a_cut_in_a_slow_upload_is_a_reset(asker: Make) -> None:
    """A server that goes away while the body is being sent is noticed then, not at the end."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        reset(writer)

    async with serving(behave) as server:
        done = await asker(server.port).send(post(10_000), close=True, pace=Pace(upload=100.0))
    assert (done.status, done.error) == (None, "reset")
    assert done.sent_ns is not None


async def test_an_early_answer_ends_a_slow_upload(asker: Make) -> None:
    """What the server says before the body is complete is the answer."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.replace(b"200 OK", b"503 No"))
        await reader.read()

    async with serving(behave) as server:
        done = await asker(server.port).send(post(10_000), close=True, pace=Pace(upload=100.0))
    assert (done.status, done.error) == (503, None)


async def test_each_exchange_has_its_own_time(asker: Make) -> None:
    """A short timeout ends its exchange while a longer one, sent before, goes on."""
    go_on = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await go_on.wait()
        writer.write(OK)

    async with serving(behave) as server:
        one = asker(server.port)
        patient = one.send()
        hasty = await one.send(timeout_seconds=0.1)
        assert hasty.error == "timeout"
        assert one.client.in_flight == 1
        go_on.set()
        assert (await patient).status == 200
        assert one.client.in_flight == 0
