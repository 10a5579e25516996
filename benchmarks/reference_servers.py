"""The origin behind all proxies, and two proxies to compare with, each run as a process.

    python -m benchmarks.reference_servers origin PORT
    python -m benchmarks.reference_servers aiohttp PORT UPSTREAM [UPSTREAM ...]
    python -m benchmarks.reference_servers relay PORT UPSTREAM [UPSTREAM ...]

An upstream is a port of 127.0.0.1.

`relay` is the floor: the least that a proxy on uvloop can do. It copies the bytes of a request to a
kept connection of the next upstream, and the bytes of its answer back. It parses nothing, checks
nothing and counts nothing, so it is only right for messages that arrive in one piece, as small ones
do. What it costs is what the kernel and the runtime cost; the rest of a proxy's cost is its own.
"""

import asyncio
import itertools
import sys
from collections.abc import Iterator
from typing import cast

import uvloop

MEGABYTE = 1 << 20
PART = b"x" * MEGABYTE


class Origin(asyncio.Protocol):
    """Answers 15 bytes, or as many as the path says; reads bodies by their length."""

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0  # of the request's body
        self._owed = 0  # of the response's
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._paused = True

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._paused = False
        self._send()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._left:
            taken = min(self._left, len(data))
            self._left -= taken
            data = data[taken:]
            if not self._left:
                self._answer()
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0 and not self._left:
            head, self._buffer = self._buffer[:end].lower(), self._buffer[end + 4 :]
            path = head.split(b" ", 2)[1]
            self._size = int(path[1:]) if path[1:].isdigit() else 15
            length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0] or 0)
            self._left = max(0, length - len(self._buffer))
            self._buffer = self._buffer[length:]
            if not self._left:
                self._answer()

    def _answer(self) -> None:
        fields = b"Content-Type: text/plain\r\nContent-Length: %d\r\n" % self._size
        small = self._size if self._size <= MEGABYTE else 0
        self._transport.write(b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (fields, PART[:small]))
        self._owed = self._size - small
        self._send()

    def _send(self) -> None:
        while self._owed and not self._paused:
            part = PART[: self._owed]
            self._owed -= len(part)
            self._transport.write(part)


async def origin(port: int) -> None:
    """Serve `Origin` until it is killed."""
    server = await asyncio.get_running_loop().create_server(Origin, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


class Relay:
    """What the connections of the byte relay share: kept connections, by upstream."""

    def __init__(self, upstreams: list[int]) -> None:
        self._next: Iterator[int] = itertools.cycle(upstreams)
        self.idle: dict[int, list[RelayUpstream]] = {port: [] for port in upstreams}
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, data: bytes, client: asyncio.Transport) -> None:
        """Send a request to the next upstream, on a kept connection if there is one."""
        port = next(self._next)
        idle = self.idle[port]
        if idle:
            connection = idle.pop()
            connection.client = client
            connection.transport.write(data)
            return
        task = asyncio.get_running_loop().create_task(self._connect(port, data, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, port: int, data: bytes, client: asyncio.Transport) -> None:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: RelayUpstream(self.idle[port]), "127.0.0.1", port
        )
        connection.client = client
        connection.transport.write(data)


class RelayUpstream(asyncio.Protocol):
    """A connection of the relay to an upstream."""

    __slots__ = ("_idle", "client", "transport")

    def __init__(self, idle: list["RelayUpstream"]) -> None:
        self._idle = idle
        self.client: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        client, self.client = self.client, None
        self._idle.append(self)
        if client is not None:
            client.write(data)


class RelayClient(asyncio.Protocol):
    """A connection of a client to the relay."""

    __slots__ = ("_relay", "_transport")

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._relay.send(data, self._transport)


async def byte_relay(port: int, upstreams: list[int]) -> None:
    """Serve `RelayClient` until it is killed."""
    relay = Relay(upstreams)
    server = await asyncio.get_running_loop().create_server(
        lambda: RelayClient(relay), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


async def aiohttp_proxy(port: int, upstreams: list[int]) -> None:
    """A reverse proxy as one writes it with aiohttp in an afternoon."""
    from aiohttp import ClientSession, ClientTimeout, TCPConnector, web  # noqa: PLC0415

    following = itertools.cycle(upstreams)
    async with ClientSession(
        connector=TCPConnector(limit=0),
        timeout=ClientTimeout(total=None),
        auto_decompress=False,
    ) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            drop = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te"}
            fields = {k: v for k, v in request.headers.items() if k.lower() not in drop}
            fields["X-Forwarded-For"] = request.remote or ""
            body = request.content if request.can_read_body else None
            url = f"http://127.0.0.1:{next(following)}{request.rel_url}"
            async with session.request(request.method, url, headers=fields, data=body) as got:
                kept = {k: v for k, v in got.headers.items() if k.lower() not in drop}
                response = web.StreamResponse(status=got.status, headers=kept)
                await response.prepare(request)
                async for part in got.content.iter_any():
                    await response.write(part)
                return response

        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await asyncio.Event().wait()


def main() -> None:
    """Run what the command line asks for."""
    kind, port, *upstreams = sys.argv[1:]
    ports = [int(one) for one in upstreams]
    if kind == "origin":
        uvloop.run(origin(int(port)))
    elif kind == "aiohttp":
        uvloop.run(aiohttp_proxy(int(port), ports))
    else:
        uvloop.run(byte_relay(int(port), ports))


if __name__ == "__main__":
    main()
