"""An HTTP client that reports what happened, and hides nothing of it.

It never retries, never follows, and never waits for a connection: each exchange is sent at once,
on an idle connection or on one of its own. A user who stays has a connection that nobody else
uses; all others share theirs. Every way to fail has its name. One sweep, some times
a second, finds the exchanges that have outlived their deadlines.
"""

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Callable
from itertools import takewhile
from typing import Final, TypeAlias

from scenarios.traffic.settings import EventStream
from scenarios.traffic.wire.connection import (
    Browser,
    ClientExchange,
    Connection,
    Pooled,
    StreamSocket,
    connect_error,
    words,
)
from scenarios.traffic.wire.event_stream import EventStreamConnection
from scenarios.traffic.wire.paced import PacedConnection, limit_receive_buffer
from scenarios.traffic.wire.tls import TakeOver, TlsConnection
from scenarios.traffic.wire.websocket import WebSocketConnection

# How late a deadline may be noticed. The outcome is stamped with the time it was noticed at.
SWEEP_SECONDS: Final = 0.05
# A client that reuses older connections than this races with servers that close idle ones: 5 s is
# the shortest such limit in wide use. A failure of that race would say nothing of a deployment.
IDLE_SECONDS: Final = 4.0

# One read's worth.
_CHUNK: Final = 64 * 1024

# Our own limits, not the server's doing: the request was never sent.
_OURS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)


# What `socket.connect` takes: as many parts as the family has.
Address: TypeAlias = tuple[str | int | bytes, ...]


class Client:
    """Sends exchanges to one address.

    Args:
        loop: the running loop.
        family: of the address, such as `socket.AF_INET`.
        address: what a socket of that family connects to.
        timeout_seconds: how long an exchange may take from its sending.
        on_done: called once for each exchange, when its outcome is known; also from within `send`.
        tls: encrypts each connection; None: none is.
        server_name: the name that the server's certificate must have.
        tls_http2: the same with HTTP/2 offered, for exchanges that need no HTTP/1.1; None: it is
            never offered.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        family: int,
        address: Address,
        timeout_seconds: float,
        on_done: Callable[[ClientExchange], None],
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
        tls_http2: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self._tls_http2 = tls_http2
        self._server_name = server_name
        self._loop = loop
        self._family = family
        self._address = address
        self._timeout_ns = round(timeout_seconds * 1e9)
        self._on_done = on_done
        # By the time that they are given: each group is in the order of its deadlines.
        self._under_way: dict[int, dict[ClientExchange, None]] = {self._timeout_ns: {}}
        self._in_flight = 0
        self._idle: dict[Pooled, None] = {}  # in the order in which they became idle
        self._kept: dict[Pooled, None] = {}  # the same of those that belong to a browser
        # Shared by all connections, since nothing of it is kept after a callback.
        self._buffer = memoryview(bytearray(_CHUNK))
        self._closed = False
        self._timer = loop.call_later(SWEEP_SECONDS, self._sweep)

    @property
    def in_flight(self) -> int:
        """How many exchanges have no outcome yet."""
        return self._in_flight

    @property
    def idle(self) -> int:
        """How many connections wait for an exchange."""
        return len(self._idle) + len(self._kept)

    def send(self, exchange: ClientExchange) -> None:
        """Send it now."""
        if self._closed:
            raise RuntimeError("the client is closed")
        self._in_flight += 1
        timeout_ns = self._timeout_of(exchange)
        exchange.deadline_ns = time.monotonic_ns() + timeout_ns
        self._under_way.setdefault(timeout_ns, {})[exchange] = None
        connection = None if exchange.close else self._take_idle(exchange.browser)
        if connection is None:
            try:
                connection = self._open(exchange)
            except OSError as error:
                self._fail_to_open(exchange, error)
                return
        else:
            exchange.opened = False
        connection.carry(exchange)
        self._share(connection)

    def hang_up(self) -> None:
        """End what would stay open for long, in order; its outcomes follow."""
        for group in self._under_way.values():
            for exchange in list(group):
                if exchange.connection is not None:
                    exchange.connection.hang_up()

    def close(self) -> None:
        """Drop every connection. Exchanges under way get no outcome: `on_done` is not called."""
        self._closed = True
        self._timer.cancel()
        for group in self._under_way.values():
            for exchange in group:
                if exchange.connection is not None:
                    exchange.connection.close()
        self._under_way.clear()
        for connection in (*self._idle, *self._kept):
            connection.close()
        self._idle.clear()
        self._kept.clear()

    def _share(self, connection: Pooled) -> None:
        """Keep a connection for others that can carry several exchanges at a time."""
        # HTTP/1.1 carries one at a time. Importing the package costs more than asking so.
        if self._tls_http2 is not None and getattr(connection, "takes_more", False):
            self.idled(connection)

    def _take_idle(self, browser: Browser | None) -> Pooled | None:
        """The connection that was used last and still can be: a browser's own, or any other."""
        if browser is not None:
            kept, browser.connection = browser.connection, None
            if kept is None:
                return None
            del self._kept[kept]
            if kept.usable():
                return kept
            kept.let_go()
            return None
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable():
                return connection
            connection.let_go()
        return None

    def _timeout_of(self, exchange: ClientExchange) -> int:
        timeout_ns = self._timeout_ns
        if exchange.timeout_seconds is not None:
            timeout_ns = round(exchange.timeout_seconds * 1e9)
        if exchange.lasting is not None:
            timeout_ns += round(exchange.lasting.seconds * 1e9)
        return timeout_ns

    def _open(self, exchange: ClientExchange) -> Connection:
        """A connection whose connecting has begun.

        Raises:
            OSError: it could not be begun, or it failed at once.
        """
        connection = self._connect(exchange)
        connection.browser = exchange.browser
        return connection

    def _connect(self, exchange: ClientExchange) -> Connection:
        sock = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if exchange.pace is not None:
                limit_receive_buffer(sock, exchange.pace)
            sock.connect(self._address)
        except BlockingIOError:
            pass  # it is under way
        except OSError:
            sock.close()
            raise
        if self._tls is not None:
            ordinary = exchange.pace is None and exchange.lasting is None
            both = self._tls_http2 if ordinary else None
            return TlsConnection(
                self._loop,
                sock,
                buffer=self._buffer,
                owner=self,
                context=both or self._tls,
                server_name=self._server_name,
                successor=self._after_handshake if ordinary else lambda _: self._go_on,
            )
        return self._of_kind(sock, exchange)

    def _of_kind(self, sock: StreamSocket, exchange: ClientExchange) -> Connection:
        """The kind of connection that an exchange needs."""
        if exchange.pace is not None:
            return PacedConnection(self._loop, sock, owner=self, pace=exchange.pace)
        if isinstance(exchange.lasting, EventStream):
            return EventStreamConnection(
                self._loop, sock, buffer=self._buffer, owner=self, stream=exchange.lasting
            )
        if exchange.lasting is not None:
            return WebSocketConnection(
                self._loop,
                sock,
                buffer=self._buffer,
                owner=self,
                websocket=exchange.lasting,
                timeout_seconds=exchange.timeout_seconds or self._timeout_ns / 1e9,
            )
        return Connection(self._loop, sock, buffer=self._buffer, owner=self)

    def _after_handshake(self, agreed: str | None) -> TakeOver | None:
        return self._begin_http2 if agreed == "h2" else None

    def _go_on(self, sock: StreamSocket, exchange: ClientExchange) -> None:
        """Go on with a slow or lasting exchange, now that its connection is encrypted."""
        connection = self._of_kind(sock, exchange)
        connection.browser = exchange.browser
        connection.carry(exchange)

    def _begin_http2(self, sock: StreamSocket, exchange: ClientExchange) -> None:
        """Go on with a connection on which both ends have agreed on HTTP/2."""
        # Only now, since most runs never need the package.
        from scenarios.traffic.wire.http2 import Http2Connection  # noqa: PLC0415

        connection = Http2Connection(
            self._loop,
            sock,
            buffer=self._buffer,
            owner=self,
            browser=exchange.browser,
            alone=exchange.close,
        )
        connection.carry(exchange)
        self._share(connection)

    def _fail_to_open(self, exchange: ClientExchange, error: OSError) -> None:
        exchange.errno = error.errno
        if error.errno in _OURS:
            self.finished(exchange, "undispatched", f"{error.strerror} in this generator")
        else:
            self.finished(exchange, connect_error(error), words(error))

    def finished(self, exchange: ClientExchange, error: str | None, detail: str | None) -> None:
        """A connection reports that the outcome of an exchange is known."""
        exchange.done_ns = time.monotonic_ns()
        exchange.error = error
        exchange.error_detail = detail
        exchange.connection = None
        del self._under_way[self._timeout_of(exchange)][exchange]
        self._in_flight -= 1
        self._on_done(exchange)

    def idled(self, connection: Pooled) -> None:
        """A connection reports that it can carry another exchange."""
        browser = connection.browser
        if browser is None:
            self._idle[connection] = None
        elif browser.connection in (None, connection):
            browser.connection = connection
            self._kept[connection] = None
        else:
            connection.let_go()  # visits overlapped, and one connection is enough

    def dropped(self, connection: Pooled) -> None:
        """An idle connection reports that its other end has closed it."""
        self._forget(connection)

    def _forget(self, connection: Pooled) -> None:
        browser = connection.browser
        if browser is None:
            self._idle.pop(connection, None)
        elif browser.connection is connection:
            browser.connection = None
            del self._kept[connection]

    def _sweep(self) -> None:
        now = time.monotonic_ns()
        overdue = [
            exchange
            for group in self._under_way.values()
            for exchange in takewhile(lambda each: each.deadline_ns <= now, group)
        ]
        for exchange in overdue:
            if exchange.connection is not None:  # else it has ended in the meantime
                exchange.connection.give_up()
        oldest = now - round(IDLE_SECONDS * 1e9)
        for idle in (self._idle, self._kept):
            # One that carries several exchanges may be busy, and stands between idle ones.
            for connection in [each for each in idle if each.idle_since_ns <= oldest]:
                self._forget(connection)
                connection.close()
        self._timer = self._loop.call_later(SWEEP_SECONDS, self._sweep)
