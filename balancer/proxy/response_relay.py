"""How an exchange relays a response to its client, and accounts for it."""

from functools import partial
from http import HTTPStatus
from time import monotonic_ns as now_ns

from balancer import access_log
from balancer.access_log import AccessRecord
from balancer.backend import Backend
from balancer.proxy import rewriting
from balancer.proxy.backend_search import BackendSearch
from balancer.proxy.framing import chunk, last_chunk
from balancer.proxy.grammar import NO_BODY
from balancer.proxy.response_head import ResponseHead
from balancer.statistics import complete


class ResponseRelay(BackendSearch):
    """The part of an exchange that passes the response on. `Exchange` derives from it."""

    __slots__ = ()

    def whole_response(self, head: ResponseHead, body: bytes, *, reusable: bool) -> None:
        """A response arrived in one piece."""
        self._first_ns = now_ns()
        start = self._start_response(head)
        self._bytes_out = head.length
        self.client.transport.write(start + body if body else start)
        self._complete(self._first_ns, reusable=reusable)

    def response_head(self, head: ResponseHead) -> None:
        """The head of a response arrived; its body follows."""
        self._first_ns = now_ns()
        client = self.client
        client.transport.write(self._start_response(head))
        if client.blocked and self._upstream is not None:
            self._upstream.transport.pause_reading()
        self.arm(self.data_plane.ticks_stream)

    def _start_response(self, head: ResponseHead) -> bytes:
        self.relaying = True
        self._status = head.status
        client, minor = self.client, self.head.minor
        until_end = head.length < 0
        # An early response ends the connection: the rest of the body will not be waited for.
        # So does a body that only the close can end, for an HTTP/1.0 client.
        if not self._body_done or self.data_plane.stopping or (until_end and not minor):
            client.persistent = False
        self._chunked_out = until_end and minor == 1
        added = b""
        backend = self._last
        if backend is not None:
            added = backend.served_by
            affinity = self.data_plane.affinity
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
        self.arm(self.data_plane.ticks_stream)

    def relay_last(self, data: bytes, *, reusable: bool) -> None:
        """The last bytes of the body arrived."""
        self._bytes_out += len(data)
        if self._chunked_out:
            data = chunk([data]) + last_chunk(b"")
        if data:
            self.client.transport.write(data)
        self._complete(now_ns(), reusable=reusable)

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
            self._complete(now_ns(), reusable=reusable)
        else:
            self.arm(self.data_plane.ticks_stream)

    def interim(self, status: int, fields: bytes) -> None:
        """An interim response arrived; HTTP/1.0 has none (RFC 9110 section 15.2)."""
        if self.head.minor:
            known = status in HTTPStatus.__members__.values()
            phrase = HTTPStatus(status).phrase.encode("ascii") if known else b""
            self.client.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, phrase, fields))

    def switch_protocols(self, fields: bytes, upgrade: bytes, rest: bytes) -> None:
        """The backend agreed to speak another protocol: from here on bytes pass as they are."""
        connection, backend = self._upstream, self.backend
        if connection is None or backend is None:
            return
        self._first_ns = now_ns()
        self._status = 101
        self.relaying = True
        self.client.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\n%bConnection: Upgrade\r\nUpgrade: %b\r\n%b\r\n%b"
            % (fields, upgrade, backend.served_by, rest)
        )
        connection.exchange = None
        self._upstream = self.backend = None
        self.data_plane.pool.to_tunnel(backend)
        self.data_plane.in_flight -= 1
        self._ended = True
        self.client.begin_tunnel(connection, partial(self._tunnel_ended, backend))
        self.data_plane.connection_pool.became_tunnel(connection)

    def _tunnel_ended(self, backend: Backend, bytes_out: int) -> None:
        self.data_plane.pool.end_tunnel(backend)
        self._bytes_out = bytes_out
        elapsed = now_ns() - self._at_ns
        opened = self._first_ns - self._at_ns
        complete(self._status, opened, bytes_out, backend.counters, self.data_plane.counters)
        self._log(access_log.TUNNEL_ENDED, elapsed)

    # Accounting

    def _complete(self, now: int, *, reusable: bool) -> None:
        connection = self._upstream
        backend = self.backend
        if connection is None or backend is None:
            return
        self._upstream = self.backend = None
        plane = self.data_plane
        connection.exchange = None
        if self.client.blocked:
            # The last write may have paused it, and nobody would resume it later.
            connection.transport.resume_reading()
        if not (reusable and self._body_done):
            connection.discard()
        elif self.head.length == NO_BODY or plane.may_keep_after_body(backend, now):
            plane.connection_pool.put(connection, now)
        else:
            connection.discard()
        elapsed = now - self._at_ns
        complete(self._status, elapsed, self._bytes_out, backend.counters, plane.counters)
        plane.pool.release(backend)
        self._ended = True
        plane.in_flight -= 1
        if plane.log is not None:
            self._log(access_log.COMPLETE, elapsed)
        self.client.exchange_done(early=not self._body_done)

    def _finish(self, end: str, elapsed: int) -> None:
        self._ended = True
        self.data_plane.in_flight -= 1
        if self.data_plane.log is not None:
            self._log(end, elapsed)

    def _log(self, end: str, elapsed: int) -> None:
        log = self.data_plane.log
        if log is None:
            return
        at_ns = self._at_ns
        backend = self._last
        head = self.head
        log.add(
            AccessRecord(
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
                self.client.peer,
                self._fresh,
            )
        )
