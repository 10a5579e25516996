"""The connections to the backends: opening them, keeping idle ones, closing them."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from balancer.backend import UP, Backend
from balancer.connection_reuse import ANSWERED_NS
from balancer.containment import contained
from balancer.dialing import addresses
from balancer.proxy.interfaces import BackendConnection
from balancer.proxy.timing_wheel import TimingWheel, ticks
from balancer.proxy.upstream import UpstreamConnection

_log = logging.getLogger("balancer")
# Idle connections kept for each backend; `reuse` bounds them in time.
_MAX_IDLE: Final = 1024


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
        reuse_always: treat a request that must not be sent twice like any other.
        last_closed: told when a draining backend whose idle connections take requests has no
            connection left, tunnels apart.
    """

    __slots__ = (
        "_connections",
        "_idle",
        "_last_closed",
        "_reuse_always",
        "_reuse_ns",
        "_reuse_ticks",
        "head_limit",
        "wheel",
    )

    def __init__(
        self,
        wheel: TimingWheel,
        *,
        reuse: float,
        head_limit: int,
        reuse_always: bool = False,
        last_closed: Callable[[Backend], None] = lambda _backend: None,
    ) -> None:
        self.wheel = wheel
        self.head_limit = head_limit
        self._reuse_always = reuse_always
        self._last_closed = last_closed
        self._reuse_ns = round(reuse * 1e9)
        self._reuse_ticks = ticks(reuse)
        # The order of a dict is that of a stack: the last one in is the first one out.
        self._idle: dict[str, dict[BackendConnection, UpstreamConnection]] = {}
        self._connections: dict[str, set[BackendConnection]] = {}

    def take(self, backend: Backend, now_ns: int) -> UpstreamConnection | None:
        """Take the connection that was idle for the shortest time, if one can be reused.

        A connection can be reused if it is open, was idle for less than `reuse`, and has nothing
        to read: neither bytes nor an end that the event loop has not seen yet.
        """
        idle = self._idle.get(backend.id)
        oldest = now_ns - self._reuse_ns
        while idle:
            _, connection = idle.popitem()
            since = connection.idle_since_ns
            if since > oldest and connection.is_quiet():
                if now_ns - since > backend.reuse.proven_ns:
                    backend.reuse.stayed_open(now_ns - since)
                return connection
            self._close_unquiet(connection, now_ns)
        return None

    def take_for_once(self, backend: Backend, now_ns: int) -> UpstreamConnection | None:
        """Take a connection for a request that must not be sent twice, if one is safe.

        It is safe if it can be reused, was answered on a moment ago, and carried its last request
        no longer ago than the backend is known to keep connections open (see `ReuseRecord`).
        """
        if self._reuse_always:
            return self.take(backend, now_ns)
        if backend.keeps_idle:
            return None  # it leaves, and may close its connections at any moment
        safe_ns = backend.reuse.safe_ns
        idle = self._idle.get(backend.id)
        if not safe_ns or not idle:
            return None
        connection = next(reversed(idle))
        newest = idle[connection]
        if now_ns - newest.idle_since_ns > ANSWERED_NS or now_ns - newest.sent_ns > safe_ns:
            return None  # and neither is any other: this one was put aside last
        del idle[connection]
        if newest.is_quiet():
            return newest
        self._close_unquiet(newest, now_ns)
        return None

    def put(self, connection: UpstreamConnection, now_ns: int) -> None:
        """Keep a connection for reuse, or close it when its backend may get no more requests."""
        backend = connection.backend
        idle = self._idle.get(backend.id)
        if idle is None:
            idle = self._idle[backend.id] = {}
        wanted = backend.state is UP or backend.keeps_idle
        if not wanted or len(idle) >= _MAX_IDLE:
            connection.discard()
            return
        connection.idle_since_ns = now_ns
        self.wheel.arm(connection, self._reuse_ticks)
        idle[connection] = connection

    def may_keep_after_body(self, backend: Backend) -> bool:
        """Whether a connection that carried the body of a request may be kept."""
        return self._reuse_always or bool(backend.reuse.reads_bodies)

    def _close_unquiet(self, connection: UpstreamConnection, now_ns: int) -> None:
        """Close an idle connection, and learn from it if its backend has closed it already."""
        if connection.has_ended():
            connection.backend.reuse.closed(now_ns - connection.idle_since_ns)
        connection.discard()

    def opened(self, connection: BackendConnection) -> None:
        """Note an open connection."""
        self._connections.setdefault(connection.backend.id, set()).add(connection)

    def closed(self, connection: BackendConnection) -> None:
        """Forget a connection."""
        backend_id = connection.backend.id
        idle = self._idle.get(backend_id)
        if idle:
            idle.pop(connection, None)
        connections = self._connections.get(backend_id)
        if connections is not None:
            connections.discard(connection)
            if not connections:
                del self._connections[backend_id]
                self._idle.pop(backend_id, None)
        self._tell_if_last(connection.backend)

    def became_tunnel(self, connection: UpstreamConnection) -> None:
        """Note that a connection will carry no further request."""
        self._tell_if_last(connection.backend)

    def _tell_if_last(self, backend: Backend) -> None:
        if backend.keeps_idle and not self.has_any(backend):
            self._last_closed(backend)

    def has_idle(self, backend: Backend) -> bool:
        """Whether there is an idle connection to a backend."""
        return bool(self._idle.get(backend.id))

    def has_any(self, backend: Backend) -> bool:
        """Whether there is a connection to a backend, tunnels apart."""
        return any(one.tunnel is None for one in self.of(backend))

    def of(self, backend: Backend) -> tuple[UpstreamConnection, ...]:
        """All open connections to a backend."""
        return tuple(
            one
            for one in self._connections.get(backend.id, ())
            if isinstance(one, UpstreamConnection)
        )

    def close_idle(self, backend: Backend) -> None:
        """Close the connections to a backend that no exchange uses."""
        for connection in self._idle.pop(backend.id, {}).values():
            connection.discard()

    def close_all(self) -> None:
        """Close every connection; the last act of a stop."""
        for connections in list(self._connections.values()):
            for connection in list(connections):
                connection.discard()

    async def open(self, backend: Backend, exchange: ConnectionRequester) -> None:
        """Connect, and tell the exchange the outcome; never raises."""
        await contained("a new connection", partial(self._open, backend, exchange))

    async def _open(self, backend: Backend, exchange: ConnectionRequester) -> None:
        try:
            connection = await self._connect(backend)
        except OSError as error:
            exchange.connect_failed(refused=isinstance(error, ConnectionRefusedError))
        except Exception:  # noqa: BLE001 - logged; it must not end the rest
            _log.exception("connecting to backend %s failed unexpectedly", backend.id)
            exchange.connect_failed(refused=False)
        else:
            exchange.connected(connection)

    async def _connect(self, backend: Backend) -> UpstreamConnection:
        """Try the addresses of a backend in their order.

        Raises:
            OSError: the look-up failed, or the last attempt.
        """
        loop = asyncio.get_running_loop()
        failure = OSError("the look-up found no address")
        for host, port in await addresses(backend.host, backend.port):
            try:
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self, backend), host, port
                )
            except OSError as error:
                failure = error
            else:
                return connection
        raise failure
