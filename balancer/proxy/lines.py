"""The connections to the backends: opening, keeping idle ones, closing."""

import asyncio
from typing import Protocol

from balancer.pool import Backend, State
from balancer.proxy.ports import Line
from balancer.proxy.upstream import Upstream
from balancer.proxy.wheel import Wheel, ticks

# Idle connections kept for each backend; `reuse` bounds them in time.
_MAX_IDLE = 1024


class Connecting(Protocol):
    """Whoever asked for a connection."""

    def connected(self, line: Upstream) -> None:
        """Here it is."""

    def connect_failed(self, *, refused: bool) -> None:
        """There is none; `refused` when that proves that nobody listens."""


class Lines:
    """All connections to the backends, by the id of the backend.

    Args:
        wheel: ends those that are idle for too long.
        reuse: for how many seconds an idle connection may be used again.
        head_limit: bytes of a response's head.
    """

    __slots__ = ("_idle", "_open", "_reuse_ns", "_reuse_ticks", "head_limit", "wheel")

    def __init__(self, wheel: Wheel, *, reuse: float, head_limit: int) -> None:
        self.wheel = wheel
        self.head_limit = head_limit
        self._reuse_ns = round(reuse * 1e9)
        self._reuse_ticks = ticks(reuse)
        # The order of a dict is that of a stack: the last one in is the first one out.
        self._idle: dict[str, dict[Line, Upstream]] = {}
        self._open: dict[str, set[Line]] = {}

    def take(self, backend: Backend, now_ns: int) -> Upstream | None:
        """Take the connection that was idle for the shortest time, if one is fit for use.

        Fit is one that is open, idle for less than `reuse`, and has nothing to read: neither
        bytes nor an end that the event loop has not seen yet.
        """
        idle = self._idle.get(backend.id)
        oldest = now_ns - self._reuse_ns
        while idle:
            _, line = idle.popitem()
            if line.idle_since_ns > oldest and line.is_quiet():
                return line
            line.discard()
        return None

    def put(self, line: Upstream, now_ns: int) -> None:
        """Keep a connection for reuse, or close it when its backend is no longer up."""
        backend = line.backend
        idle = self._idle.get(backend.id)
        if idle is None:
            idle = self._idle[backend.id] = {}
        if backend.state is not State.UP or len(idle) >= _MAX_IDLE:
            line.discard()
            return
        line.idle_since_ns = now_ns
        self.wheel.arm(line, self._reuse_ticks)
        idle[line] = line

    def opened(self, line: Line) -> None:
        """Note an open connection."""
        self._open.setdefault(line.backend.id, set()).add(line)

    def closed(self, line: Line) -> None:
        """Forget a connection."""
        backend_id = line.backend.id
        idle = self._idle.get(backend_id)
        if idle:
            idle.pop(line, None)
        lines = self._open.get(backend_id)
        if lines is not None:
            lines.discard(line)
            if not lines:
                del self._open[backend_id]
                self._idle.pop(backend_id, None)

    def of(self, backend: Backend) -> tuple[Upstream, ...]:
        """All open connections to a backend."""
        return tuple(one for one in self._open.get(backend.id, ()) if isinstance(one, Upstream))

    def close_idle(self, backend: Backend) -> None:
        """Close the connections to a backend that no exchange uses."""
        for line in self._idle.pop(backend.id, {}).values():
            line.discard()

    def close_all(self) -> None:
        """Close every connection; the last act of a stop."""
        for lines in list(self._open.values()):
            for line in list(lines):
                line.discard()

    async def open(self, backend: Backend, exchange: Connecting) -> None:
        """Connect, and hand the outcome to the exchange; never raises."""
        loop = asyncio.get_running_loop()
        try:
            _, line = await loop.create_connection(
                lambda: Upstream(self, backend), backend.host, backend.port
            )
        except OSError as error:
            exchange.connect_failed(refused=isinstance(error, ConnectionRefusedError))
        else:
            exchange.connected(line)
