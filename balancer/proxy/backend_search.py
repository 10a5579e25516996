"""How an exchange reaches a backend: choosing one, connecting to it, waiting for one."""

import asyncio
from time import monotonic_ns as now_ns
from typing import Final

from balancer.backend import Backend
from balancer.proxy import error_responses
from balancer.proxy.data_plane import DataPlane
from balancer.proxy.error_responses import ErrorResponse
from balancer.proxy.grammar import NO_BODY
from balancer.proxy.interfaces import ClientConnection, ResponseReceiver
from balancer.proxy.request_head import RequestHead
from balancer.proxy.upstream import UpstreamConnection

# RFC 9110 section 9.2.2.
_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
_BACKOFF_FIRST: Final = 0.025
_BACKOFF_LONGEST: Final = 0.25


class BackendSearch(ResponseReceiver):
    """The part of an exchange that finds a backend. `Exchange` derives from it.

    The state of the whole exchange is declared here, since an object is laid out once.

    Attributes:
        data_plane: what all exchanges share.
        client: the connection that the request came by.
        head: the head of the request.
        backend: the backend that this exchange has claimed now.
        relaying: whether a byte of the final response was sent to the client.
    """

    __slots__ = (
        "_at_ns",
        "_attempts",
        "_backoff",
        "_body_bytes",
        "_body_done",
        "_body_since",
        "_bytes_out",
        "_chosen_ns",
        "_chunked_out",
        "_client_slow",
        "_connect_ns",
        "_connecting",
        "_due",
        "_ended",
        "_first_ns",
        "_fresh",
        "_held",
        "_idempotent",
        "_kept",
        "_kept_size",
        "_last",
        "_last_error",
        "_pause",
        "_pauses",
        "_request_id",
        "_reused",
        "_second",
        "_sent",
        "_status",
        "_tried",
        "_upstream",
        "_version",
        "backend",
        "data_plane",
        "relaying",
    )

    def __init__(
        self, data_plane: DataPlane, client: ClientConnection, head: RequestHead, at_ns: int
    ) -> None:
        self.data_plane = data_plane
        self.client = client
        self.head = head
        self._at_ns = at_ns
        self._request_id = head.request_id or data_plane.new_request_id()
        self._idempotent = head.method in _IDEMPOTENT or head.idempotency_key
        now = data_plane.wheel.now
        self._due = now + data_plane.ticks_total
        self._body_done = head.length == NO_BODY
        self._body_since = now
        self._kept: list[bytes] | None = None if self._body_done else []
        self.backend: Backend | None = None
        self.relaying = False
        self._upstream: UpstreamConnection | None = None
        self._tried: tuple[Backend, ...] = ()
        self._attempts = 0
        self._kept_size = 0
        self._sent = False
        self._reused = False
        self._fresh = False
        self._second = False
        self._held = False
        self._ended = False
        self._connecting: asyncio.Task[None] | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._backoff = _BACKOFF_FIRST
        self._last_error: ErrorResponse | None = None
        self._chunked_out = False
        self._bytes_out = 0
        self._status = 0
        self._chosen_ns = 0
        self._connect_ns = -1
        self._first_ns = 0
        self._version: str | None = None
        self._last: Backend | None = None
        self._client_slow = False
        self._pauses = False
        self._body_bytes = 0

    @property
    def is_held(self) -> bool:
        """Whether this request waits for a backend."""
        return self._held

    def refuse(self, response: ErrorResponse) -> None:
        """Answer the client in the place of a backend."""
        raise NotImplementedError

    def _send(self, connection: UpstreamConnection, now: int, *, reused: bool) -> None:
        """Send the request on this connection."""
        raise NotImplementedError

    def start(self) -> None:
        """Look for a backend."""
        affinity = self.data_plane.affinity
        if affinity is not None:
            self._version = affinity.version(self.head.cookie)
        self._choose(self._at_ns)

    def resume(self) -> None:
        """Try again after a wait: there may be a backend now."""
        self._held = False
        self._choose(now_ns())

    def _choose(self, now: int) -> None:
        plane = self.data_plane
        backend = plane.pool.acquire(self._tried, self._version, fresh=self._fresh)
        if backend is None:
            self._none_left(now)
            return
        self.backend = backend
        connection = None
        if not self._fresh:
            pool = plane.connection_pool
            if self._idempotent:
                connection = pool.take(backend, now)
            else:
                connection = pool.take_for_once(backend, now)
        if connection is None and backend.keeps_idle:
            # It gets no new connection, and none of the idle ones may carry this request.
            self._tried = (*self._tried, backend)
            self._give_back()
            self._choose(now)
            return
        self._last = backend
        self._attempts += 1
        self._chosen_ns = now
        if connection is not None:
            self._connect_ns = 0
            self._send(connection, now, reused=True)
            return
        self.arm(plane.ticks_connect)
        self._connecting = plane.tasks.create_task(plane.connection_pool.open(backend, self))

    def _none_left(self, now: int) -> None:
        plane = self.data_plane
        if not plane.pool.ring:
            self._tried = ()
            self._hold()
        elif now - self._at_ns > plane.connect_ns:
            self.refuse(self._last_error or error_responses.ALL_BUSY)
        else:
            # Every backend was tried, or has as many requests as it may. The probes that a refusal
            # sets off settle in a moment which of them are really down.
            delay = self._backoff * (0.5 + plane.random.random() / 2)
            self._backoff = min(2 * self._backoff, _BACKOFF_LONGEST)
            self._tried = ()
            self._pause = plane.loop.call_later(delay, self._choose_again)

    def _choose_again(self) -> None:
        self._pause = None
        self._choose(now_ns())

    def _hold(self) -> None:
        plane = self.data_plane
        size = len(self.head.fields) + len(self.head.target) + self._kept_size
        if not plane.hold.enter(self, size):
            full = plane.hold.policy.seconds > 0
            self.refuse(error_responses.HOLD_FULL if full else error_responses.NO_BACKEND)
            return
        self._held = True
        if not self._body_done:
            self._pauses = True
            self.client.pause_reading()
        self.arm(plane.ticks_hold)

    def connected(self, connection: UpstreamConnection) -> None:
        """A connection was opened for this exchange."""
        self._connecting = None
        backend = connection.backend
        if self._ended or backend is not self.backend:
            connection.discard()
            return
        if not backend.routable:
            # Between the choice and now it began to drain: nothing was sent, so choose again.
            connection.discard()
            self._give_back()
            self._choose(now_ns())
            return
        now = now_ns()
        self._connect_ns = now - self._chosen_ns
        self._send(connection, now, reused=False)

    def connect_failed(self, *, refused: bool) -> None:
        """No connection could be opened; nothing was sent, so any request can go elsewhere."""
        self._connecting = None
        backend = self.backend
        if self._ended or backend is None:
            return
        if refused:
            self.data_plane.refused(backend)
        self._go_elsewhere(
            backend, error_responses.REFUSED if refused else error_responses.UNREACHABLE
        )

    def _connect_timed_out(self) -> None:
        backend = self.backend
        if self._connecting is not None and backend is not None:
            self._connecting.cancel()
            self._connecting = None
            self._go_elsewhere(backend, error_responses.CONNECT_TIMEOUT)

    def _go_elsewhere(self, backend: Backend, response: ErrorResponse) -> None:
        self.data_plane.count_failure(backend)
        self._give_back()
        if not self.data_plane.retry:
            self.refuse(response)
            return
        self._tried = (*self._tried, backend)
        self._last_error = response
        self._choose(now_ns())

    def _give_back(self) -> None:
        if self.backend is not None:
            backend, self.backend = self.backend, None
            self.data_plane.pool.release(backend)

    def _stop_searching(self) -> None:
        """Leave the queue, and cancel a pause or an attempt to connect."""
        if self._held:
            self.data_plane.hold.leave(self)
            self._held = False
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None

    def arm(self, count: int) -> None:
        """Set the deadline of the present phase, in ticks from now."""
        wheel = self.data_plane.wheel
        left = self._due - wheel.now
        wheel.arm(self.client, min(left, count))
