"""Servers with planted behaviours, and a client whose outcomes can be awaited."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from scenarios.traffic.settings import EventStream, Pace, WebSocket
from scenarios.traffic.wire.client import Client
from scenarios.traffic.wire.connection import Browser, ClientExchange

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


CERTIFICATE = Path(__file__).parent / "tls" / "localhost.pem"
"""A certificate of `localhost` and 127.0.0.1 that nobody trusts, valid for a hundred years."""


def encrypted() -> ssl.SSLContext:
    """What a server with that certificate needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_suffix(".key"))
    return context


class Server:
    """A TCP server that does to each connection what a test wants done."""

    def __init__(self, behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self._behaviour = behaviour
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.port = 0

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._behaviour(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Server"]:
        listener = await asyncio.start_server(self._handle, "127.0.0.1", 0, ssl=self._tls)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            await asyncio.sleep(0)  # lets a connection that was just accepted have its task
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await listener.wait_closed()


def serving(
    behaviour: Behaviour, tls: ssl.SSLContext | None = None
) -> contextlib.AbstractAsyncContextManager[Server]:
    return Server(behaviour, tls).running()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request, head and body; raises IncompleteReadError at the end of the connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return head + await reader.readexactly(int(value))
    return head


def answer(response: bytes) -> Behaviour:
    """Every request gets this response, on a connection that stays open."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(response)
            await writer.drain()

    return behave


def reset(writer: asyncio.StreamWriter) -> None:
    """Let the connection end with a RST."""
    sock = writer.get_extra_info("socket")
    # struct linger: on, for no time.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()


class Asker:
    """A client, and a way to wait for each outcome."""

    def __init__(
        self,
        port: int,
        *,
        timeout_seconds: float = 30.0,
        tls: ssl.SSLContext | None = None,
        server_name: str = "localhost",
        tls_http2: ssl.SSLContext | None = None,
    ) -> None:
        self._waiting: dict[ClientExchange, asyncio.Future[ClientExchange]] = {}
        self.client = Client(
            asyncio.get_running_loop(),
            family=socket.AF_INET,
            address=("127.0.0.1", port),
            timeout_seconds=timeout_seconds,
            on_done=lambda exchange: self._waiting.pop(exchange).set_result(exchange),
            tls=tls,
            server_name=server_name,
            tls_http2=tls_http2,
        )

    def send(
        self,
        payload: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        *,
        is_head: bool = False,
        close: bool = False,
        pace: Pace | None = None,
        timeout_seconds: float | None = None,
        websocket: WebSocket | EventStream | None = None,
        browser: Browser | None = None,
    ) -> asyncio.Future[ClientExchange]:
        exchange = ClientExchange(
            payload,
            is_head=is_head,
            close=close,
            pace=pace,
            timeout_seconds=timeout_seconds,
            lasting=websocket,
            browser=browser,
        )
        future: asyncio.Future[ClientExchange] = asyncio.get_running_loop().create_future()
        self._waiting[exchange] = future
        self.client.send(exchange)
        return future


class Site:
    """Answers every request with this response; remembers them, and can be waited for."""

    def __init__(self, response: bytes) -> None:
        self.response = response
        self.requests: list[bytes] = []
        self._heard = asyncio.Condition()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            async with self._heard:
                self.requests.append(request)
                self._heard.notify_all()
            await self.respond(request, writer)

    async def respond(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        del request
        writer.write(self.response)

    async def until(self, count: int) -> None:
        """Wait until this many requests have come."""
        async with self._heard:
            await self._heard.wait_for(lambda: len(self.requests) >= count)

    def count(self, method: bytes) -> int:
        return sum(request.startswith(method) for request in self.requests)
