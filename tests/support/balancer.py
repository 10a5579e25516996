"""For tests with a balancer: the balancer as a process, and backends that a test scripts."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict, Unpack

from balancer import sockets
from balancer.access_log import AccessLog
from balancer.addresses import Address
from balancer.backend import Backend, State
from balancer.client import AdminClient, wait_listening
from balancer.config import Config, Limits, Network, Timeouts
from balancer.health import HealthPolicy
from balancer.hold_queue import HoldPolicy
from balancer.outlier_detection import OutlierPolicy
from balancer.proxy.connection_pool import ConnectionPool
from balancer.proxy.timing_wheel import TimingWheel
from balancer.proxy.upstream import UpstreamConnection
from balancer.server import Balancer, assembled

# Options for tests: health checks that do not make one wait.
FAST = (
    "--health-path", "/health", "--health-interval", "0.2", "--health-fast-interval", "0.05",
    "--health-timeout", "10",
)  # fmt: skip


GET = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx"
CLOSE = b"Connection: close\r\n"


def closing(data: bytes) -> bytes:
    """The same request, with the connection closed after it."""
    return data.replace(b"Host: t\r\n", b"Host: t\r\n" + CLOSE)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the data plane tells nobody."""
    while not condition():  # noqa: ASYNC110 - there is no event for it, on purpose
        await asyncio.sleep(0.005)


@dataclass(slots=True)
class BalancerProcess:
    """A balancer process that listens.

    Attributes:
        process: the process.
        host: where clients connect.
        port: the same.
        admin: a client of its admin API.
        admin_path: the unix socket of that.
        access_log: its access log.
        errors: what it wrote to its standard error.
    """

    process: asyncio.subprocess.Process
    host: str
    port: int
    admin: AdminClient
    admin_path: Path
    access_log: Path
    errors: Path

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://{self.host}:{self.port}"

    async def attach(self, **backends: "ScriptedBackend") -> None:
        """Attach backends, named as `a_1=...`, and wait until they are up."""
        ids = [name.replace("_", "-") for name in backends]
        for name, one in zip(ids, backends.values(), strict=True):
            version = name.partition("-")[0]
            await self.admin.put_backend(name, address=one.address, version=version, weight=1)
        await self.admin.wait_up(ids)

    async def stop(self) -> int:
        """Ask it to stop; returns its exit status."""
        if self.process.returncode is None:
            self.process.terminate()
        return await self.process.wait()


@asynccontextmanager
async def running_balancer(directory: Path, *options: str) -> AsyncIterator[BalancerProcess]:
    """Run `python -m balancer` on a free port, with its files in `directory`.

    Args:
        directory: an existing one, for its admin socket, access log and standard error.
        options: further options of the command line.
    """
    admin_path, access_log = directory / "admin.sock", directory / "access.ndjson"
    errors = directory / "stderr"
    with errors.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "balancer",
            *(() if "--listen" in options else ("--listen", "127.0.0.1:0")),
            "--admin", f"unix:{admin_path}", "--access-log", str(access_log), *options,
            stdout=asyncio.subprocess.PIPE, stderr=output,
        )  # fmt: skip
    try:
        if process.stdout is None:
            raise RuntimeError("the process was started without a pipe")
        where = await wait_listening(process.stdout)
        host, _, port = where["listen"].rpartition(":")
        async with AdminClient(where["admin"]) as admin:
            yield BalancerProcess(process, host, int(port), admin, admin_path, access_log, errors)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass(slots=True)
class ReceivedRequest:
    """One request, as a backend got it, and the means to answer it.

    Attributes:
        head: the request's head, as it came.
        body: its body, without any chunks.
        connection: the number of the connection that it came by.
        reader: what follows on that connection.
        writer: to answer with.
    """

    head: bytes
    body: bytes
    connection: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def line(self) -> bytes:
        """The request line."""
        return self.head.partition(b"\r\n")[0]

    @property
    def path(self) -> bytes:
        """The request target."""
        return self.line.split(b" ")[1]

    def values(self, name: bytes) -> list[bytes]:
        """The values of a field, in order."""
        fields = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [value.strip() for key, _, value in fields if key.lower() == name.lower()]


Handler = Callable[[ReceivedRequest], Awaitable[None]]


def response(body: bytes = b"ok", *, status: str = "200 OK", fields: bytes = b"") -> bytes:
    """A whole response; `fields` are lines with their line ends."""
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status.encode(), len(body), fields, body,
    )  # fmt: skip


async def answer_ok(call: ReceivedRequest) -> None:
    """Answer 200."""
    call.writer.write(response())


@dataclass
class ScriptedBackend:
    """A backend; it answers `GET /health` by itself and leaves all else to `handler`.

    Attributes:
        handler: answers requests.
        health_status: what `GET /health` is answered with.
        read_body: whether bodies are read before the handler is called.
        calls: the requests so far, without the health checks.
        checks: how many health checks have come so far.
        connections: how many were opened so far.
        address: where it listens.
    """

    handler: Handler = answer_ok
    health_status: str = "200 OK"
    read_body: bool = True
    calls: list[ReceivedRequest] = field(default_factory=list)
    checks: int = 0
    connections: int = 0
    address: str = ""
    _server: asyncio.Server | None = None
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def wait_calls(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.calls) >= count)

    async def start(self, port: int = 0) -> None:
        """Listen on a loopback port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        host, number = self._server.sockets[0].getsockname()
        self.address = f"{host}:{number}"

    async def stop(self) -> None:
        """Stop listening and reset every connection, as a crash would."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        # A peer that goes away, and our own stop, end a connection as they may.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._converse(reader, writer, self.connections)
        self._writers.discard(writer)
        writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        received = 0
        while not writer.is_closing():
            call = ReceivedRequest(await reader.readuntil(b"\r\n\r\n"), b"", number, reader, writer)
            received += 1
            if self.read_body:
                call.body = await read_body(call)
            if call.path == b"/health":
                # The balancer also asks with a body, to see whether that is read.
                self.checks += received == 1 and not call.values(b"Content-Length")
                writer.write(response(status=self.health_status))
                if call.values(b"Connection") == [b"close"]:
                    return
                continue
            self.calls.append(call)
            async with self._arrived:
                self._arrived.notify_all()
            await self.handler(call)
            await writer.drain()


async def read_body(call: ReceivedRequest) -> bytes:
    """Read the body of a request, by its framing."""
    reader = call.reader
    if lengths := call.values(b"content-length"):
        return await reader.readexactly(int(lengths[0]))
    body = b""
    if call.values(b"transfer-encoding"):
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
    return body


@asynccontextmanager
async def backend(
    handler: Handler = answer_ok, *, read_body: bool = True
) -> AsyncIterator[ScriptedBackend]:
    """Run a backend in this event loop."""
    one = ScriptedBackend(handler, read_body=read_body)
    await one.start()
    try:
        yield one
    finally:
        await one.stop()


@dataclass
class Load:
    """Clients that ask as fast as they are answered, each in its own way, until told to stop.

    One third of them keep their connections, one third open one for each request, one third
    send bodies; whatever is not a complete 200 is a failure.

    Attributes:
        host: where they connect.
        port: the same.
        ok: complete answers with status 200.
        failures: all others, in words.
    """

    host: str
    port: int
    ok: int = 0
    failures: list[str] = field(default_factory=list)
    stopping: bool = False
    _progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def more(self, count: int) -> None:
        """Wait until so many further requests have ended."""
        goal = self.ok + len(self.failures) + count
        async with self._progress:
            await self._progress.wait_for(lambda: self.ok + len(self.failures) >= goal)

    async def client(self, number: int) -> None:
        """One client."""
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        sent = 0
        while not self.stopping:
            sent += 1
            keep = number % 3 != 1
            body = b"x" * 100 if number % 3 == 2 else b""
            try:
                if streams is None:
                    streams = await asyncio.open_connection(self.host, self.port)
                streams[1].write(
                    b"%b /%d/%d HTTP/1.1\r\nHost: test\r\n%b%b\r\n%b"
                    % (
                        b"POST" if body else b"GET", number, sent,
                        b"Content-Length: %d\r\n" % len(body) if body else b"",
                        b"" if keep else b"Connection: close\r\n", body,
                    )
                )  # fmt: skip
                head = await streams[0].readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await streams[0].readexactly(int(length))
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                self.failures.append(f"client {number} request {sent}: {error!r}")
                head = b""
            else:
                if head.startswith(b"HTTP/1.1 200 "):
                    self.ok += 1
                else:
                    self.failures.append(f"client {number} request {sent}: {head!r}")
            if streams is not None and (not head or not keep or b"Connection: close" in head):
                streams[1].close()
                streams = None
            async with self._progress:
                self._progress.notify_all()
        if streams is not None:
            streams[1].close()


@asynccontextmanager
async def load(host: str, port: int, clients: int = 6) -> AsyncIterator[Load]:
    """Run clients while the block runs; at its end each completes what it has begun."""
    one = Load(host, port)
    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(one.client(number))
        try:
            yield one
        finally:
            one.stopping = True


class ConfigFields(TypedDict, total=False):
    """The fields of `Config` that a test may set."""

    health: HealthPolicy
    outliers: OutlierPolicy
    hold: HoldPolicy
    limits: Limits
    timeouts: Timeouts
    trust: tuple[Network, ...]
    affinity: str | None
    reuse_post: bool
    retry: bool
    passive_checks: bool
    underscores: bool
    retry_ratio: float
    retry_minimum: int
    replay_bytes: int


class _WatchedTransport(asyncio.Transport):
    """The transport of a connection that is not quiet, since it closes; says when it ends."""

    def __init__(self, aborted: Callable[[], None]) -> None:
        super().__init__()
        self._aborted = aborted

    def is_closing(self) -> bool:
        return True

    def abort(self) -> None:
        self._aborted()


def watched_deadline(wheel: TimingWheel, expired: Callable[[], None]) -> UpstreamConnection:
    """An idle connection to a backend; `expired` is called when its deadline has passed."""
    keeper = ConnectionPool(wheel, reuse=1, head_limit=1)
    connection = UpstreamConnection(keeper, Backend("a-1", "127.0.0.1", 1, "a", 1))
    connection.transport = _WatchedTransport(expired)
    return connection


@dataclass(slots=True)
class LocalBalancer:
    """A balancer within this process, for tests that need many.

    Attributes:
        balancer: its parts.
        host: where clients connect.
        port: the same.
    """

    balancer: Balancer
    host: str
    port: int

    async def attach(self, **backends: ScriptedBackend) -> None:
        """Attach backends, named as `a_1=...`, and wait until they are up."""
        control = self.balancer.control
        for name, one in backends.items():
            backend_id = name.replace("_", "-")
            version = backend_id.partition("-")[0]
            control.put(backend_id, address=one.address, version=version, weight=1)
        await self.wait(lambda: all(one.state is State.UP for one in control.pool.backends))

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for events until the condition holds."""
        events = self.balancer.control.events
        if not condition():
            async for _ in events.follow(events.sequence):
                if condition():
                    return

    async def exchange(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own; returns all that comes back until its end."""
        async with self.connection() as (reader, writer):
            writer.write(data)
            return await reader.read()

    @asynccontextmanager
    async def connection(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A client's connection."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


@asynccontextmanager
async def local_balancer(
    log: AccessLog | None = None, **settings: Unpack[ConfigFields]
) -> AsyncIterator[LocalBalancer]:
    """Run a balancer in this event loop; `settings` are fields of `Config`."""
    place = Address("127.0.0.1", 0)
    health = HealthPolicy(path="/health", interval=0.2, fast_interval=0.05, timeout=30, rise=1)
    config = replace(Config(listen=(place,), health=health), **settings)
    with sockets.listening(place, {}) as listener:
        async with assembled(config, log=log) as balancer:
            server = await balancer.open(listener)
            host, _, port = listener.name.rpartition(":")
            try:
                yield LocalBalancer(balancer, host, int(port))
            finally:
                server.close()
