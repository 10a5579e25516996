"""The connections to the backends: opening, keeping idle ones, closing."""

import asyncio
from typing import Protocol

from balancer.backend_pool import Backend, State
from balancer.proxy.interfaces import BackendConnection
from balancer.proxy.timing_wheel import TimingWheel, ticks
from balancer.proxy.upstream import UpstreamConnection

# Idle connections kept for each backend; `reuse` bounds them in time.
_MAX_IDLE = 1024


class ConnectionRequester(Protocol):
    """An exchange that asked for a connection."""

    def connected(self, connection: UpstreamConnection) -> None:
        """The connection is open."""

    def connect_failed(self, *, refused: bool) -> None:
        """No connection could be opened; `refused` proves that nobody listens."""


class ConnectionPool:
    """All connections to the backends, by the id of the backend.

    Args:
        wheel: ends those that are idle for too long.
        reuse: for how many seconds an idle connection may be used again.
        head_limit: bytes of a response's head.
    """

    __slots__ = ("_idle", "_open", "_reuse_ns", "_reuse_ticks", "head_limit", "wheel")

    def __init__(self, wheel: TimingWheel, *, reuse: float, head_limit: int) -> None:
        self.wheel = wheel
        self.head_limit = head_limit
        self._reuse_ns = round(reuse * 1e9)
        self._reuse_ticks = ticks(reuse)
        # The order of a dict is that of a stack: the last one in is the first one out.
        self._idle: dict[str, dict[BackendConnection, UpstreamConnection]] = {}
        self._open: dict[str, set[BackendConnection]] = {}

    def take(self, backend: Backend, now_ns: int) -> UpstreamConnection | None:
        """Take the connection that was idle for the shortest time, if one can be reused.

        A connection can be reused if it is open, was idle for less than `reuse`, and has nothing
        to read: neither bytes nor an end that the event loop has not seen yet.
        """
        idle = self._idle.get(backend.id)
        oldest = now_ns - self._reuse_ns
        while idle:
            _, connection = idle.popitem()
            if connection.idle_since_ns > oldest and connection.is_quiet():
                return connection
            connection.discard()
        return None

    def put(self, connection: UpstreamConnection, now_ns: int) -> None:
        """Keep a connection for reuse, or close it when its backend is no longer up."""
        backend = connection.backend
        idle = self._idle.get(backend.id)
        if idle is None:
            idle = self._idle[backend.id] = {}
        if backend.state is not State.UP or len(idle) >= _MAX_IDLE:
            connection.discard()
            return
        connection.idle_since_ns = now_ns
        self.wheel.arm(connection, self._reuse_ticks)
        idle[connection] = connection

    def opened(self, connection: BackendConnection) -> None:
        """Note an open connection."""
        self._open.setdefault(connection.backend.id, set()).add(connection)

    def closed(self, connection: BackendConnection) -> None:
        """Forget a connection."""
        backend_id = connection.backend.id
        idle = self._idle.get(backend_id)
        if idle:
            idle.pop(connection, None)
        connections = self._open.get(backend_id)
        if connections is not None:
            connections.discard(connection)
            if not connections:
                del self._open[backend_id]
                self._idle.pop(backend_id, None)

    def of(self, backend: Backend) -> tuple[UpstreamConnection, ...]:
        """All open connections to a backend."""
        return tuple(
            one for one in self._open.get(backend.id, ()) if isinstance(one, UpstreamConnection)
        )

    def close_idle(self, backend: Backend) -> None:
        """Close the connections to a backend that no exchange uses."""
        for connection in self._idle.pop(backend.id, {}).values():
            connection.discard()

    def close_all(self) -> None:
        """Close every connection; the last act of a stop."""
        for connections in list(self._open.values()):
            for connection in list(connections):
                connection.discard()

    async def open(self, backend: Backend, exchange: ConnectionRequester) -> None:
        """Connect, and hand the outcome to the exchange; never raises."""
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: UpstreamConnection(self, backend), backend.host, backend.port
            )
        except OSError as error:
            exchange.connect_failed(refused=isinstance(error, ConnectionRefusedError))
        else:
            exchange.connected(connection)
