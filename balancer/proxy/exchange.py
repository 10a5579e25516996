"""One request and its response: choosing a backend, sending, trying again, relaying.

Everything here is synchronous; the one thing that takes a task is opening a connection. The retry
rules are those of `docs/behaviour.md`, by their numbers.
"""

import asyncio
from functools import partial
from http import HTTPStatus
from time import monotonic_ns as now_ns

import msgspec

from balancer.access_log import Access
from balancer.pool import Backend
from balancer.proxy import answers, rewriting
from balancer.proxy.answers import Refusal
from balancer.proxy.framing import chunk, last_chunk
from balancer.proxy.grammar import CHUNKED, NO_BODY
from balancer.proxy.plane import Plane
from balancer.proxy.ports import Client
from balancer.proxy.request_head import RequestHead
from balancer.proxy.response_head import ResponseHead
from balancer.proxy.upstream import Upstream
from balancer.statistics import complete

# RFC 9110 section 9.2.2.
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
_BACKOFF_FIRST = 0.025
_BACKOFF_LONGEST = 0.25


class Exchange(msgspec.Struct, eq=False):
    """From the end of a request's head to the end of its response.

    Attributes:
        plane: what all exchanges share.
        client: the connection that it came by.
        head: the request's.
        backend: the one that is claimed now.
        relaying: whether a byte of the final response has gone to the client.
    """

    plane: Plane
    client: Client
    head: RequestHead
    _at_ns: int
    backend: Backend | None = None
    relaying: bool = False
    _request_id: bytes = b""
    _idempotent: bool = True
    _line: Upstream | None = None
    _tried: tuple[Backend, ...] = ()
    _attempts: int = 0
    _body_done: bool = True
    _kept: list[bytes] | None = None
    _kept_size: int = 0
    _sent: bool = False
    _reused: bool = False
    _fresh: bool = False
    _second: bool = False
    _held: bool = False
    _ended: bool = False
    _connecting: asyncio.Task[None] | None = None
    _pause: asyncio.TimerHandle | None = None
    _backoff: float = _BACKOFF_FIRST
    _last_refusal: Refusal | None = None
    _chunked_out: bool = False
    _bytes_out: int = 0
    _status: int = 0
    _chosen_ns: int = 0
    _connect_ns: int = -1
    _first_ns: int = 0
    _version: str | None = None
    _last: Backend | None = None
    _due: int = 0

    @property
    def is_held(self) -> bool:
        """Whether it waits for a backend."""
        return self._held

    @property
    def peer(self) -> Client:
        """The client's connection."""
        return self.client

    # Choosing and connecting

    def begin(self) -> None:
        """Take its place in the balancer's books; called once, when the head is accepted."""
        plane, head = self.plane, self.head
        plane.in_flight += 1
        plane.arrived += 1
        self._due = plane.wheel.now + plane.ticks_total
        self._request_id = head.request_id or plane.new_request_id()
        if head.length != NO_BODY:
            self._body_done = False
            self._kept = []
        if head.method not in _IDEMPOTENT and not head.idempotency_key:
            self._idempotent = False
            self._fresh = True

    def start(self) -> None:
        """Look for a backend."""
        affinity = self.plane.affinity
        if affinity is not None:
            self._version = affinity.version(self.head.cookie)
        self._choose(self._at_ns)

    def resume(self) -> None:
        """Go on after waiting: there may be a backend now."""
        self._held = False
        self._choose(now_ns())

    def _choose(self, now: int) -> None:
        plane = self.plane
        backend = plane.pool.acquire(self._tried, self._version)
        if backend is None:
            self._none_left(now)
            return
        self.backend = self._last = backend
        self._attempts += 1
        self._chosen_ns = now
        if not self._fresh:
            line = plane.lines.take(backend, now)
            if line is not None:
                self._connect_ns = 0
                self._send(line, reused=True)
                return
        self._arm(plane.ticks_connect)
        self._connecting = plane.tasks.create_task(plane.lines.open(backend, self))

    def _none_left(self, now: int) -> None:
        plane = self.plane
        if not plane.pool.ring:
            self._tried = ()
            self._hold()
        elif now - self._at_ns > plane.connect_ns:
            self.refuse(self._last_refusal or answers.NO_BACKEND)
        else:
            # Every backend was tried. The probes that a refusal sets off settle in a moment
            # which of them are really down.
            delay = self._backoff * (0.5 + plane.random.random() / 2)
            self._backoff = min(2 * self._backoff, _BACKOFF_LONGEST)
            self._tried = ()
            self._pause = plane.loop.call_later(delay, self._choose_again)

    def _choose_again(self) -> None:
        self._pause = None
        self._choose(now_ns())

    def _hold(self) -> None:
        plane = self.plane
        size = len(self.head.fields) + len(self.head.target) + self._kept_size
        if not plane.hold.enter(self, size):
            full = plane.hold.policy.seconds > 0
            self.refuse(answers.HOLD_FULL if full else answers.NO_BACKEND)
            return
        self._held = True
        if not self._body_done:
            self.client.pause_reading()
        self._arm(plane.ticks_hold)

    def connected(self, line: Upstream) -> None:
        """A connection was opened for this exchange."""
        self._connecting = None
        backend = line.backend
        if self._ended or backend is not self.backend:
            line.discard()
            return
        if not backend.routable:
            # Between the choice and now it began to drain: nothing was sent, so choose again.
            line.discard()
            self._give_back()
            self._choose(now_ns())
            return
        self._connect_ns = now_ns() - self._chosen_ns
        self._send(line, reused=False)

    def connect_failed(self, *, refused: bool) -> None:
        """No connection could be opened; nothing was sent, so any request may go elsewhere."""
        self._connecting = None
        backend = self.backend
        if self._ended or backend is None:
            return
        if refused:
            self.plane.refused(backend)
        self._go_elsewhere(backend, answers.REFUSED if refused else answers.UNREACHABLE)

    def _connect_timed_out(self) -> None:
        backend = self.backend
        if self._connecting is not None and backend is not None:
            self._connecting.cancel()
            self._connecting = None
            self._go_elsewhere(backend, answers.CONNECT_TIMEOUT)

    def _go_elsewhere(self, backend: Backend, refusal: Refusal) -> None:
        self.plane.count_failure(backend)
        self._tried = (*self._tried, backend)
        self._last_refusal = refusal
        self._give_back()
        self._choose(now_ns())

    def _give_back(self) -> None:
        if self.backend is not None:
            backend, self.backend = self.backend, None
            self.plane.pool.release(backend)

    # The request

    def _send(self, line: Upstream, *, reused: bool) -> None:
        line.claim(self)
        self._line = line
        self._reused = reused
        self._sent = True
        request = self.head
        head = rewriting.request_head(
            request,
            address=line.backend.address if request.host is None else "",
            forwarded=self.client.forwarded_fields(request),
            request_id=self._request_id,
        )
        kept = self._kept
        if not self._idempotent or self._kept_size > self.plane.replay_bytes:
            self._kept = None
        if not self._body_done:
            # Before the write, which may find that the backend reads slowly and pause again.
            self.client.resume_reading()
        line.transport.write(b"".join((head, *kept)) if kept else head)
        self._arm(self.plane.ticks_first_byte if self._body_done else self.plane.ticks_body)

    def body(self, pieces: list[bytes], *, end: bool, trailers: bytes = b"") -> None:
        """Take the next bytes of the request's body."""
        if self.head.length == CHUNKED:
            data = chunk(pieces)
            if end:
                data += last_chunk(trailers)
        else:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._body_done = end
        kept = self._kept
        if kept is not None and data:
            self._kept_size += len(data)
            if self._sent and self._kept_size > self.plane.replay_bytes:
                self._kept = None
            else:
                kept.append(data)
        if self._sent:
            line = self._line
            if line is not None and data:
                line.transport.write(data)
            if not self.relaying:
                self._arm(self.plane.ticks_first_byte if end else self.plane.ticks_body)
        elif not end and (self._held or self._kept_size >= self.plane.replay_bytes):
            self.client.pause_reading()

    # The response

    def whole_response(self, head: ResponseHead, body: bytes, *, reusable: bool) -> None:
        """A response arrived in one piece."""
        self._first_ns = now_ns()
        start = self._start_response(head)
        self._bytes_out = head.length
        self.client.transport.write(start + body if body else start)
        self._complete(reusable=reusable)

    def response_head(self, head: ResponseHead) -> None:
        """The head of a response arrived; its body follows."""
        self._first_ns = now_ns()
        client = self.client
        client.transport.write(self._start_response(head))
        if client.blocked and self._line is not None:
            self._line.transport.pause_reading()
        self._arm(self.plane.ticks_stream)

    def _start_response(self, head: ResponseHead) -> bytes:
        self.relaying = True
        self._status = head.status
        client, minor = self.client, self.head.minor
        until_end = head.length < 0
        # An early response ends the connection: the rest of the body will not be waited for.
        # So does a body that only the close can end, for an HTTP/1.0 client.
        if not self._body_done or self.plane.stopping or (until_end and not minor):
            client.persistent = False
        self._chunked_out = until_end and minor == 1
        added = b""
        backend = self._last
        if backend is not None:
            added = backend.served_by
            affinity = self.plane.affinity
            if affinity is not None and backend.version != self._version:
                added += affinity.set_cookie(backend.version)
        return rewriting.response_head(
            head,
            minor=minor,
            chunked=self._chunked_out,
            persistent=client.persistent,
            added=added,
        )

    def relay(self, data: bytes) -> None:
        """Bytes of the body arrived."""
        self._bytes_out += len(data)
        transport = self.client.transport
        if self._chunked_out:
            transport.write(chunk([data]))
        else:
            transport.write(data)
        self._arm(self.plane.ticks_stream)

    def relay_last(self, data: bytes, *, reusable: bool) -> None:
        """The last bytes of the body arrived."""
        self._bytes_out += len(data)
        if self._chunked_out:
            data = chunk([data]) + last_chunk(b"")
        if data:
            self.client.transport.write(data)
        self._complete(reusable=reusable)

    def relay_pieces(
        self,
        pieces: list[bytes],
        *,
        trailers: bytes = b"",
        last: bool = False,
        reusable: bool = False,
    ) -> None:
        """Bytes of a chunked body arrived, perhaps the last."""
        self._bytes_out += sum(map(len, pieces))
        if self._chunked_out:
            data = chunk(pieces)
            if last:
                data += last_chunk(trailers)
        else:
            data = b"".join(pieces)
        if data:
            self.client.transport.write(data)
        if last:
            self._complete(reusable=reusable)
        else:
            self._arm(self.plane.ticks_stream)

    def interim(self, status: int, fields: bytes) -> None:
        """An interim response arrived; HTTP/1.0 has none (RFC 9110 section 15.2)."""
        if self.head.minor:
            known = status in HTTPStatus.__members__.values()
            phrase = HTTPStatus(status).phrase.encode("ascii") if known else b""
            self.client.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, phrase, fields))

    def switch_protocols(self, fields: bytes, upgrade: bytes, rest: bytes) -> None:
        """The backend agreed to speak another protocol: from here on bytes pass as they are."""
        line, backend = self._line, self.backend
        if line is None or backend is None:
            return
        self._first_ns = now_ns()
        self._status = 101
        self.relaying = True
        self.client.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\n%bConnection: Upgrade\r\nUpgrade: %b\r\n%b\r\n%b"
            % (fields, upgrade, backend.served_by, rest)
        )
        line.exchange = None
        self._line = self.backend = None
        self.plane.pool.to_tunnel(backend)
        self.plane.in_flight -= 1
        self._ended = True
        self.client.begin_tunnel(line, partial(self._tunnel_ended, backend))

    def _tunnel_ended(self, backend: Backend, bytes_out: int) -> None:
        self.plane.pool.end_tunnel(backend)
        self._bytes_out = bytes_out
        elapsed = now_ns() - self._at_ns
        opened = self._first_ns - self._at_ns
        complete(self._status, opened, bytes_out, backend.counters, self.plane.counters)
        self._log(answers.TUNNEL_ENDED, elapsed)

    # The end

    def _complete(self, *, reusable: bool) -> None:
        line = self._line
        backend = self.backend
        if line is None or backend is None:
            return
        self._line = self.backend = None
        plane = self.plane
        line.exchange = None
        if self.client.blocked:
            # The last write may have paused it, and nobody would resume it later.
            line.transport.resume_reading()
        now = now_ns()
        if reusable and self._body_done:
            plane.lines.put(line, now)
        else:
            line.discard()
        elapsed = now - self._at_ns
        complete(self._status, elapsed, self._bytes_out, backend.counters, plane.counters)
        plane.pool.release(backend)
        self._ended = True
        plane.in_flight -= 1
        if plane.log is not None:
            self._log(answers.COMPLETE, elapsed)
        self.client.exchange_done(early=not self._body_done)

    def _finish(self, end: str, elapsed: int) -> None:
        self._ended = True
        self.plane.in_flight -= 1
        if self.plane.log is not None:
            self._log(end, elapsed)

    def _log(self, end: str, elapsed: int) -> None:
        log = self.plane.log
        if log is None:
            return
        at_ns = self._at_ns
        backend = self._last
        head = self.head
        log.add(
            Access(
                at_ns,
                self._request_id.decode("ascii"),
                head.method.decode("ascii"),
                head.target.partition(b"?")[0].decode("ascii"),
                self._status,
                None if backend is None else backend.id,
                None if backend is None else backend.version,
                self._chosen_ns - at_ns if self._chosen_ns else -1,
                self._connect_ns,
                self._first_ns - at_ns if self._first_ns else -1,
                elapsed,
                self._reused,
                self._attempts,
                self._bytes_out,
                end,
                self.client.kind,
            )
        )

    def upstream_failed(self, refusal: Refusal, *, silent: bool) -> None:
        """No complete response will arrive: try again where that is safe, else say so."""
        line, backend = self._line, self.backend
        if line is None or backend is None:
            return
        self._line = None
        line.discard()
        if self.relaying:
            self.plane.count_failure(backend)
            self._give_back()
            self._break_off(refusal.error)
            return
        again = self._idempotent and (self._kept is not None or self.head.length == NO_BODY)
        if again and self._reused and silent:
            # The backend closed an idle connection while we took it: nobody's failure.
            self._give_back()
            self._retry()
            return
        self.plane.count_failure(backend)
        self._give_back()
        if again and not self._second and self.plane.may_retry():
            self._second = True
            self._tried = (*self._tried, backend)
            self._retry()
            return
        self.refuse(refusal)

    def _retry(self) -> None:
        self.plane.retries += 1
        self._fresh = True
        self._sent = self._reused = False
        self._choose(now_ns())

    def refuse(self, refusal: Refusal) -> None:
        """Answer in the backend's place."""
        self._abandon()
        elapsed = now_ns() - self._at_ns
        self._status = refusal.status
        complete(refusal.status, elapsed, 0, self.plane.counters)
        self._finish(refusal.error, elapsed)
        self.client.answer(
            refusal,
            request_id=self._request_id,
            unread=not self._body_done,
            method=self.head.method,
        )

    def _break_off(self, end: str) -> None:
        """End a response that has begun and cannot be completed: never with a clean close."""
        self.plane.counters.fail()
        self._finish(end, now_ns() - self._at_ns)
        self.client.abort()

    def _abandon(self) -> None:
        """Let go of everything on the backend's side."""
        if self._held:
            self.plane.hold.leave(self)
            self._held = False
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._line is not None:
            self._line.discard()
            self._line = None
        self._give_back()

    def client_gone(self, end: str = answers.CLIENT_GONE) -> None:
        """The client's connection is lost, or its request turned out malformed half way."""
        if self._ended:
            return
        if self.backend is not None:
            self.backend.counters.abort()
        self._abandon()
        self.plane.counters.abort()
        self._finish(end, now_ns() - self._at_ns)

    def reject(self, refusal: Refusal) -> None:
        """The request's body breaks a rule: whatever was sent of it must not count."""
        if self.backend is not None:
            self.backend.counters.abort()
        if self.relaying:
            self._abandon()
            self._break_off(refusal.error)
        else:
            self.refuse(refusal)

    def cut(self) -> bool:
        """The backend is taken away now; returns whether that made the exchange fail."""
        self.upstream_failed(answers.CUT, silent=False)
        return self._ended

    # Time and flow

    def _arm(self, count: int) -> None:
        wheel = self.plane.wheel
        wheel.arm(self.client, min(count, self._due - wheel.now))

    def expired(self) -> None:
        """The deadline of the present phase has passed."""
        plane = self.plane
        if plane.wheel.now >= self._due:
            self._timed_out(answers.TOTAL)
        elif self._held:
            self.refuse(answers.HOLD_OVER)
        elif self._connecting is not None:
            self._connect_timed_out()
        elif not self._sent:
            return
        elif self.relaying and self.client.blocked:
            self._client_stalled()
        elif self.relaying or self._body_done or self.client.paused:
            self._timed_out(answers.FIRST_BYTE)
        else:
            self.reject(answers.SLOW_BODY)

    def _client_stalled(self) -> None:
        """The client took no byte of its response for too long."""
        self._abandon()
        self.plane.counters.abort()
        self._finish(answers.CLIENT_TIMEOUT, now_ns() - self._at_ns)
        self.client.abort()

    def _timed_out(self, refusal: Refusal) -> None:
        if self.backend is not None:
            self.plane.count_failure(self.backend)
        if self.relaying:
            self._abandon()
            self._break_off(refusal.error)
        else:
            self.refuse(refusal)

    def pause_upstream(self) -> None:
        """The client reads slowly: stop reading the response."""
        if self._line is not None:
            self._line.transport.pause_reading()

    def resume_upstream(self) -> None:
        """The client has caught up."""
        if self._line is not None:
            self._line.transport.resume_reading()
            if self.relaying:
                self._arm(self.plane.ticks_stream)
