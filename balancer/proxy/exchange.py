"""One request and its response: sending the request, sending it again, ending the exchange.

An exchange is one object in three files. `balancer.proxy.backend_search` finds a backend,
`balancer.proxy.response_relay` passes the response on, and this file does the rest.

Everything here is synchronous. Only opening a connection takes a task. The rules for retries are
those of `docs/behaviour.md`, by their numbers.
"""

from time import monotonic_ns as now_ns

from balancer import access_log
from balancer.backend import Backend
from balancer.proxy import error_responses, rewriting
from balancer.proxy.error_responses import ErrorResponse
from balancer.proxy.framing import chunk, last_chunk
from balancer.proxy.grammar import CHUNKED, NO_BODY
from balancer.proxy.response_relay import ResponseRelay
from balancer.proxy.upstream import UpstreamConnection
from balancer.statistics import complete


class Exchange(ResponseRelay):
    """From the end of a request's head to the end of its response."""

    __slots__ = ()

    # The request

    def _send(self, connection: UpstreamConnection, now: int, *, reused: bool) -> None:
        connection.claim(self, now)
        self._upstream = connection
        self._reused = reused
        self._sent = True
        request = self.head
        head = rewriting.request_head(
            request,
            address=connection.backend.address if request.host is None else "",
            forwarded=self.client.forwarding.fields(request),
            request_id=self._request_id,
        )
        kept = self._kept
        if not self._idempotent or self._kept_size > self.data_plane.replay_bytes:
            self._kept = None
        if not self._body_done:
            # Before the write, which may find that the backend reads slowly and pause again.
            self.resume_client()
        connection.transport.write(b"".join((head, *kept)) if kept else head)
        self.arm(self.data_plane.ticks_first_byte if self._body_done else self._ticks_body())

    def body(self, pieces: list[bytes], *, end: bool, trailers: bytes = b"") -> None:
        """Take the next bytes of the request's body."""
        if self.head.length == CHUNKED:
            data = chunk(pieces)
            if end:
                data += last_chunk(trailers)
        else:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._body_done = end
        self._body_bytes += len(data)
        kept = self._kept
        if kept is not None and data:
            self._kept_size += len(data)
            if self._sent and self._kept_size > self.data_plane.replay_bytes:
                self._kept = None
            else:
                kept.append(data)
        if self._sent:
            connection = self._upstream
            if connection is not None and data:
                connection.transport.write(data)
            if not self.relaying:
                self.arm(self.data_plane.ticks_first_byte if end else self._ticks_body())
        elif not end and (self._held or self._kept_size >= self.data_plane.replay_bytes):
            self.pause_client()

    # Failures and retries

    def upstream_failed(
        self, response: ErrorResponse, *, silent: bool, reset: bool = False
    ) -> None:
        """No complete response will arrive: send the request again where that is safe, or say so.

        Args:
            response: what to tell the client, if it can still be told.
            silent: whether not one byte of the response arrived.
            reset: whether the connection ended with a reset.
        """
        connection, backend = self._upstream, self.backend
        if connection is None or backend is None:
            return
        self._upstream = None
        connection.discard()
        if self.relaying:
            self._count_failure(backend, reset=reset)
            self._give_back()
            self._break_off(response.error)
            return
        retry = self.data_plane.retry
        complete_request = self._kept is not None or self.head.length == NO_BODY
        again = retry and self._idempotent and complete_request
        if self._reused and silent:
            if again:
                # The backend closed an idle connection while we took it: nobody's failure.
                self._give_back()
                self._retry()
                return
            if not (retry and self._idempotent):
                backend.reuse.request_lost()
                self.data_plane.reuse_losses += 1
                backend.counters.abort()
                self._give_back()
                self.refuse(response)
                return
        self._count_failure(backend, reset=reset)
        self._give_back()
        if again and not self._second and self.data_plane.may_retry():
            self._second = True
            self._tried = (*self._tried, backend)
            self._retry()
            return
        self.refuse(response)

    def _count_failure(
        self, backend: Backend, *, reset: bool = False, certain: bool = False
    ) -> None:
        """Count a failed attempt, but not against a backend if the client may be its cause.

        A client causes it if it was still sending its request, or took its response so slowly
        that the backend had to wait. A reset after a request with a body is what a backend does
        that refuses the body.
        """
        refused_body = reset and self.head.length != NO_BODY
        if certain or (self._body_done and not self._client_slow and not refused_body):
            self.data_plane.count_failure(backend)
        else:
            backend.counters.abort()

    def _retry(self) -> None:
        self.data_plane.retries += 1
        self._fresh = True
        self._sent = self._reused = False
        self._choose(now_ns())

    def refuse(self, response: ErrorResponse) -> None:
        """Answer in the backend's place."""
        self._abandon()
        elapsed = now_ns() - self._at_ns
        self._status = response.status
        complete(response.status, elapsed, 0, self.data_plane.counters)
        self._finish(response.error, elapsed)
        self.client.answer(
            response,
            request_id=self._request_id,
            unread=not self._body_done,
            method=self.head.method,
        )

    def _break_off(self, end: str) -> None:
        """End a response that has begun and cannot be completed: never with a clean close."""
        self.data_plane.counters.fail()
        self._finish(end, now_ns() - self._at_ns)
        self.client.abort()

    def _abandon(self) -> None:
        """Let go of everything on the side of the backend."""
        self._stop_searching()
        if self._upstream is not None:
            self._upstream.discard()
            self._upstream = None
        self._give_back()

    def client_gone(self, end: str = access_log.CLIENT_GONE) -> None:
        """The client's connection is lost, or its request turned out malformed half way."""
        if self._ended:
            return
        if self.backend is not None:
            self.backend.counters.abort()
        self._abandon()
        self.data_plane.counters.abort()
        self._finish(end, now_ns() - self._at_ns)

    def reject(self, response: ErrorResponse) -> None:
        """The request's body breaks a rule: whatever was sent of it must not count."""
        if self.backend is not None:
            self.backend.counters.abort()
        if self.relaying:
            self._abandon()
            self._break_off(response.error)
        else:
            self.refuse(response)

    def cut(self) -> bool:
        """The backend is taken away now; returns whether that made the exchange fail."""
        self.upstream_failed(error_responses.CUT, silent=False)
        return self._ended

    # Deadlines and backpressure

    def expired(self) -> None:
        """The deadline of the present phase has passed."""
        plane = self.data_plane
        if plane.wheel.now >= self._due:
            self._timed_out(error_responses.TOTAL)
        elif self._held:
            self.refuse(error_responses.HOLD_OVER)
        elif self._connecting is not None:
            self._connect_timed_out()
        elif not self._sent:
            return
        elif self.client.paused and not self._body_done:
            # The backend takes the body too slowly, or not at all.
            self._timed_out(error_responses.FIRST_BYTE, certain=True)
        elif self.relaying or self._body_done:
            self._timed_out(error_responses.FIRST_BYTE)
        else:
            self.reject(error_responses.SLOW_BODY)

    def _timed_out(self, response: ErrorResponse, *, certain: bool = False) -> None:
        if self.backend is not None:
            self._count_failure(self.backend, certain=certain)
        if self.relaying:
            self._abandon()
            self._break_off(response.error)
        else:
            self.refuse(response)

    def _ticks_body(self) -> int:
        """How long the next bytes of the body may take: a stall, or too low a rate, ends it."""
        plane = self.data_plane
        waited = plane.wheel.now - self._body_since
        earned = int(self._body_bytes * plane.ticks_per_body_byte)
        return max(1, min(plane.ticks_body, plane.ticks_body + earned - waited))

    def pause_client(self) -> None:
        """The backend reads slowly: stop reading from the client."""
        self._pauses = True
        self.client.pause_reading()

    def resume_client(self) -> None:
        """The backend reads on: read from the client again, whose rate is measured anew."""
        self._body_since = self.data_plane.wheel.now
        self._body_bytes = 0
        self._pauses = False
        self.client.resume_reading()

    def pause_upstream(self) -> None:
        """The client reads slowly: stop reading the response."""
        self._client_slow = True
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume_upstream(self) -> None:
        """The client has caught up."""
        if self._upstream is not None:
            self._upstream.transport.resume_reading()
            if self.relaying:
                self.arm(self.data_plane.ticks_stream)

    @property
    def keeps_paused(self) -> bool:
        """Whether nothing more of the body may be read for now: the backend has not caught up."""
        return self.client.paused and not self._body_done and self._pauses

    @property
    def waits_for_client(self) -> bool:
        """Whether only the client can bring it forward now, by reading its response."""
        return self.relaying and self.client.blocked and self.data_plane.wheel.now < self._due

    def client_stalled(self) -> None:
        """The client has taken no byte of its response for too long."""
        self._abandon()
        self.data_plane.counters.abort()
        self._finish(access_log.CLIENT_TIMEOUT, now_ns() - self._at_ns)
        self.client.abort()
