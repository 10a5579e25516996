"""Websockets that a drain cuts are counted like the requests that it cuts."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from orchestrator.model import Replica
from orchestrator.processes import Processes
from orchestrator.routers.registry import start_router
from orchestrator.routers.settings import HealthCheck, RouterSettings

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
ASK = (
    b"GET /feed HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def _feed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer health checks, and switch to a websocket that says nothing until it is closed."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        if b"Upgrade" in head or b"upgrade" in head:
            writer.write(SWITCHED)
            await reader.read()
            break
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def _quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await _feed(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def test_a_websocket_that_a_drain_cuts_is_counted(tmp_path: Path) -> None:
    """The journal's `cut` has each connection that somebody lost, upgraded or not."""
    async with AsyncExitStack() as stack:
        processes = await stack.enter_async_context(Processes())
        private = await stack.enter_async_context(processes.directory("hitless-test-"))
        server = await stack.enter_async_context(await asyncio.start_server(_quiet, "127.0.0.1", 0))
        settings = RouterSettings(
            health=HealthCheck(path="/health", interval=0.2, fast_interval=0.05),
            directory=private,
            logs=tmp_path,
            access_log=tmp_path / "access.ndjson",
        )
        running = await stack.enter_async_context(start_router("hitless", processes, settings))
        port = server.sockets[0].getsockname()[1]
        replica = Replica(id="a-1", version="a", host="127.0.0.1", port=port)
        await running.router.register(replica)
        async with asyncio.timeout(30):
            await running.router.wait_up(["a-1"])
        await running.router.weigh({"a-1": 1.0})
        host, _, at = running.address.rpartition(":")
        sockets = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection(host, int(at))
            writer.write(ASK)
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            sockets.append((reader, writer))
        drained = await running.router.drain("a-1", 0.1)
        assert drained.cut == 2
        for reader, writer in sockets:
            assert await reader.read() == b""
            writer.close()
