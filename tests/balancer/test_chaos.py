"""Clients and backends that do anything at any time: nothing breaks, and nothing stays behind."""

import asyncio
import contextlib
import random

import pytest

from balancer.config import Timeouts
from balancer.hold_queue import HoldPolicy
from balancer.proxy.write_progress import reset
from tests.support.balancer import (
    Handler,
    LocalBalancer,
    ReceivedRequest,
    backend,
    local_balancer,
    response,
)

REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: t\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: t\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000,
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /x?y HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
)
ANSWERS = (
    response(b"x" * 10),
    response(b"x" * 300_000),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" + response(),
    b"HTTP/1.1 100 Continue\r\n\r\n" + response(),
    b"HTTP/1.1 200 OK\r\n\r\nuntil the close",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello",
    response() + response(),
)


def damage(chance: random.Random, data: bytes) -> bytes:
    """The same, whole most of the time, else with something wrong in it."""
    if chance.random() < 0.6:
        return data
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(min(len(damaged), 200))
        damaged[place : place + chance.randint(0, 2)] = bytes(
            chance.choice(b"\r\n \t\0:;,0a\xff") for _ in range(chance.randint(0, 2))
        )
    return bytes(damaged)


def mean_backend(chance: random.Random) -> Handler:
    async def handler(call: ReceivedRequest) -> None:
        kind = chance.random()
        if kind < 0.1:
            call.writer.transport.abort()
            return
        if kind < 0.15:
            return  # never answers
        data = damage(chance, chance.choice(ANSWERS))
        if kind < 0.3:
            data = data[: chance.randrange(len(data) + 1)]
        call.writer.write(data)
        if kind < 0.5:
            await call.writer.drain()
            call.writer.close()

    return handler


async def mean_client(local: LocalBalancer, chance: random.Random) -> None:
    """Send something, in pieces, and leave in one way or another."""
    data = b"".join(damage(chance, chance.choice(REQUESTS)) for _ in range(chance.randint(1, 3)))
    with contextlib.suppress(OSError):
        async with local.connection() as (reader, writer):
            while data:
                size = chance.choice((1, 7, 100, 100_000, 1_000_000))
                writer.write(data[:size])
                data = data[size:]
                await asyncio.sleep(0)
            kind = chance.random()
            if kind < 0.2:
                reset(writer.transport)
                return
            if kind < 0.4:
                writer.write_eof()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    while await reader.read(100 if kind < 0.5 else 1 << 20):
                        pass


@pytest.mark.parametrize("seed", range(4))
async def test_anything_may_happen(seed: int) -> None:
    """After any traffic no claim, no connection, no error of our own is left."""
    chance = random.Random(seed)
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    timeouts = Timeouts(
        head=0.4, body=0.4, first_byte=0.4, stream=0.4, keep_alive=0.4, tunnel=0.4, connect=1.0
    )
    async with (
        backend(mean_backend(chance)) as one,
        backend(mean_backend(chance)) as two,
        local_balancer(timeouts=timeouts, hold=HoldPolicy(seconds=0.3)) as local,
    ):
        await local.attach(a_1=one, a_2=two)
        for number in range(8):
            async with asyncio.TaskGroup() as tasks:
                for _ in range(20):
                    tasks.create_task(mean_client(local, chance))
                if number == 4:
                    tasks.create_task(_swap(local, one.address))
        plane, pool = local.balancer.data_plane, local.balancer.control.pool
        async with asyncio.timeout(60):
            while plane.clients or plane.in_flight:  # noqa: ASYNC110 - nobody tells the last one
                await asyncio.sleep(0.02)
        assert [(b.in_flight, b.tunnels) for b in pool.backends] == [(0, 0)] * 2
        assert (len(plane.hold), plane.hold.size, plane.client_counts) == (0, 0, {})
        assert plane.counters.requests > 100
    assert errors == []


async def _swap(local: LocalBalancer, address: str) -> None:
    """Drain and delete a backend in the middle of it all, and attach it anew."""
    control = local.balancer.control
    await control.drain("a-1", timeout=0.2)
    control.delete("a-1")
    control.put("a-1", address=address, version="a", weight=1)
