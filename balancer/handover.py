"""A restart without a lost connection: the listening sockets pass from the old process to the new.

Old and new speak over a unix socket. The sockets themselves are handed on (SCM_RIGHTS, unix(7)), so
the kernel's queue of connections that wait to be accepted is one and the same throughout; what was
started with SO_REUSEPORT alone would lose those of the old queue.

1. The new process connects. The old one sends its sockets and its state: backends with their
   states, counters, the number of the last event.
2. The new one serves, and says `ready`. If it dies before that, the old one goes on as if nothing
   had been.
3. The old one accepts nothing more. Each further response on its connections closes them, so the
   clients come back to the new one. It follows the new one's decisions on backends, and reports
   what it still has under way, so that a drain asked of the new one waits for that as well.
4. It ends with its last connection, or when its time to stop is over.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from balancer.backend import Backend, State
from balancer.containment import contained
from balancer.control_plane import ControlPlane
from balancer.errors import StartError
from balancer.sockets import Listener
from balancer.statistics import Counters

_MAX_SOCKETS = 64
_TIMEOUT = 30.0
_REPORT_SECONDS = 0.05
_RETRY_SECONDS = 1.0
_log = logging.getLogger("balancer")
_MAX_LINE = 16 * 1024 * 1024


class BackendState(msgspec.Struct, frozen=True, kw_only=True):
    """One backend, as the old process describes it to the new one."""

    id: str
    host: str
    port: int
    version: str
    weight: float
    state: str
    ejected: bool
    counters: dict[str, Any]

    @classmethod
    def of(cls, one: Backend) -> "BackendState":
        """Describe a backend."""
        return cls(
            id=one.id, host=one.host, port=one.port, version=one.version, weight=one.weight,
            state=one.state.value, ejected=one.ejected, counters=one.counters.as_dict(),
        )  # fmt: skip

    def restore(self) -> Backend:
        """Make a backend from this description."""
        return Backend(
            self.id, self.host, self.port, self.version, self.weight, State(self.state),
            ejected=self.ejected, counters=Counters.from_dict(self.counters),
        )  # fmt: skip


class HandoverState(msgspec.Struct, frozen=True, kw_only=True):
    """What a successor needs to know besides the sockets.

    Attributes:
        places: the address that the command line gave for each socket, in their order.
        sequence: the number of the last event.
        backends: all of them.
        retired: the counters of removed backends, by version.
        counters: what clients saw.
    """

    places: tuple[str, ...]
    sequence: int
    backends: tuple[BackendState, ...]
    retired: dict[str, dict[str, Any]]
    counters: dict[str, Any]


class BackendUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """From the successor: the backends as they are now."""

    revision: int
    backends: tuple[BackendState, ...]


class InFlightReport(msgspec.Struct, frozen=True, kw_only=True):
    """From the predecessor: its exchanges under way, once it has applied update `revision`."""

    revision: int
    in_flight: dict[str, int]


class Takeover:
    """The sockets and the state that a predecessor handed over, and the connection to it.

    Attributes:
        sequence: the number of its last event.
        sockets: its listening sockets, by the address that its command line gave.
    """

    def __init__(
        self,
        state: HandoverState,
        sockets: Mapping[str, socket.socket],
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.sockets = sockets
        self.sequence = state.sequence
        self._backends = [one.restore() for one in state.backends]
        self._retired = {name: Counters.from_dict(one) for name, one in state.retired.items()}
        self._counters = Counters.from_dict(state.counters)
        self._reader, self._writer = streams
        self._revision = 0

    def apply(self, control: ControlPlane) -> None:
        """Begin with the state of the predecessor."""
        control.adopt(self._backends, self._retired)
        control.data_plane.counters = self._counters

    def close_unused(self) -> None:
        """Close the sockets that the new configuration has no use for, and those in use."""
        for one in self.sockets.values():
            one.close()

    async def follow(self, control: ControlPlane) -> None:
        """Tell the predecessor that we serve, then keep it informed until it ends."""
        self._writer.write(b"ready\n")
        self._push(control)
        control.on_change = lambda: self._push(control)
        try:
            while line := await self._reader.readline():
                report = msgspec.json.decode(line, type=InFlightReport)
                if report.revision == self._revision:
                    control.pool.inherit(report.in_flight)
        except (OSError, ValueError):
            pass  # it is gone, one way or the other
        finally:
            control.on_change = None
            control.pool.inherit({})
            self._writer.close()

    def _push(self, control: ControlPlane) -> None:
        self._revision += 1
        for one in control.pool.backends:
            # Until the predecessor has heard of it, it may still choose this backend.
            if one.state is State.DRAINING and not one.inherited:
                one.inherited = 1
        views = tuple(BackendState.of(one) for one in control.pool.backends)
        self._writer.write(
            msgspec.json.encode(BackendUpdate(revision=self._revision, backends=views)) + b"\n"
        )


async def take_over(path: Path) -> Takeover | None:
    """Ask the process that serves `path` for its sockets; None if there is none.

    Raises:
        StartError: there is one, but it does not hand over.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(sock, str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except OSError as error:
        sock.close()
        raise StartError(f"--handover {path}: {error.strerror}") from error
    try:
        async with asyncio.timeout(_TIMEOUT):
            descriptors = await _receive(sock)
            streams = await asyncio.open_unix_connection(sock=sock, limit=_MAX_LINE)
            line = await streams[0].readline()
        state = msgspec.json.decode(line, type=HandoverState)
        inherited = {
            place: socket.socket(fileno=number)
            for place, number in zip(state.places, descriptors, strict=True)
        }
        return Takeover(state, inherited, streams)
    except (OSError, ValueError, TypeError, KeyError, TimeoutError) as error:
        raise StartError(
            f"--handover {path}: the balancer there does not hand over ({type(error).__name__})"
        ) from error


async def _receive(sock: socket.socket) -> list[int]:
    """Receive the message of one byte that carries the sockets."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sock.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock.fileno())
    data, descriptors, _, _ = socket.recv_fds(sock, 1, _MAX_SOCKETS)
    if not data:
        raise ConnectionResetError("closed before it sent anything")
    return descriptors


class Handover:
    """The side of the old process.

    Args:
        control: whose state it hands on.
        listeners: whose sockets it hands on, itself included.
        done: called when a successor serves.
    """

    def __init__(
        self, control: ControlPlane, listeners: Sequence[Listener], done: Callable[[], None]
    ) -> None:
        self._control = control
        self._listeners = listeners
        self._done = done
        self._successor: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def is_done(self) -> bool:
        """Whether a successor serves now."""
        return self._successor is not None

    async def wait(self, listener: Listener) -> None:
        """Serve the handover socket until a successor is ready."""
        loop = asyncio.get_running_loop()
        listener.sock.setblocking(False)
        while self._successor is None:
            try:
                sock, _ = await loop.sock_accept(listener.sock)
            except OSError as error:
                # Such as too many open files, which passes.
                _log.warning("the handover socket: %s", error.strerror)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            await contained("the handover", partial(self._offer_in_time, sock))
            if self._successor is None:
                sock.close()
                self._control.thaw()
        for one in self._listeners:
            one.handed_over = True
        self._control.hand_over()
        self._done()

    async def _offer_in_time(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(_TIMEOUT):
                await self._offer(sock)

    async def _offer(self, sock: socket.socket) -> None:
        control = self._control
        plane = control.data_plane
        control.freeze()
        socket.send_fds(sock, [b"H"], [one.sock.fileno() for one in self._listeners])
        state = HandoverState(
            places=tuple(str(one.place) for one in self._listeners),
            sequence=control.events.sequence,
            backends=tuple(BackendState.of(one) for one in control.pool.backends),
            retired={name: one.as_dict() for name, one in control.pool.retired.items()},
            counters=plane.counters.as_dict(),
        )
        sock.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=_MAX_LINE)
        writer.write(msgspec.json.encode(state) + b"\n")
        if await reader.readline() == b"ready\n":
            self._successor = (reader, writer)
        else:
            writer.close()

    @asynccontextmanager
    async def following(self, tasks: asyncio.TaskGroup) -> AsyncIterator[None]:
        """Follow the successor's decisions and report to it while the block runs."""
        if self._successor is None:
            yield
            return
        reader, writer = self._successor
        state = _Following(self._control, writer)
        workers = [
            tasks.create_task(contained("following the successor", work))
            for work in (partial(state.listen, reader), state.report)
        ]
        try:
            yield
        finally:
            for one in workers:
                one.cancel()
            writer.close()


class _Following:
    def __init__(self, control: ControlPlane, writer: asyncio.StreamWriter) -> None:
        self._control = control
        self._writer = writer
        self._revision = 0

    async def listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                follow = msgspec.json.decode(line, type=BackendUpdate)
                self._control.pool.mirror([one.restore() for one in follow.backends])
                self._revision = follow.revision
                self._send()

    async def report(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            if self._revision:
                self._send()

    def _send(self) -> None:
        counts = {one.id: one.in_flight for one in self._control.pool.backends if one.in_flight}
        report = InFlightReport(revision=self._revision, in_flight=counts)
        self._writer.write(msgspec.json.encode(report) + b"\n")
