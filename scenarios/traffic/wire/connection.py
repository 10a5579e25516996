"""One connection of the client, and the exchanges that it carries.

It works on a non-blocking socket and the loop's readiness callbacks, so that a stamp is taken next
to the system call that it is about, the order of a response and a reset is known, and a request
costs no task, no future and no timer.
"""

import asyncio
import errno
import socket
import time
from collections.abc import Mapping
from typing import Protocol

from scenarios.traffic.journeys.examination import Answer
from scenarios.traffic.journeys.shapes import Shape
from scenarios.traffic.settings import EventStream, Pace, WebSocket
from scenarios.traffic.wire.cookies import CookieJar
from scenarios.traffic.wire.response import MalformedResponse, ResponseReader


class Browser:
    """What a user who stays has from one visit to the next.

    Attributes:
        user: the user's word.
        cookies: what the answers set.
        connection: one that is kept for the next request, while there is one.
        logged_in: whether the steps of its journey's login have succeeded.
        captured: what these steps captured.
    """

    __slots__ = ("captured", "connection", "cookies", "logged_in", "user")

    def __init__(self, user: str) -> None:
        self.user = user
        self.cookies = CookieJar()
        self.connection: Pooled | None = None
        self.logged_in = False
        self.captured: Mapping[str, str] | None = None


class ClientExchange:
    """One request and what became of it.

    Attributes:
        payload: the request's bytes.
        is_head: whether its method is HEAD.
        close: whether it opens a connection for itself alone.
        pace: how slowly it is sent and read; None for as fast as the kernel takes it.
        timeout_seconds: how long it may take; None for as long as the client gives each.
        lasting: makes it a websocket or a stream of events that stays open, for longer than that.
        keep: whether its answer is wanted.
        browser: whose connection carries it; None for any that is idle.
        answer: the fields and the body of the complete response, if they are.
        sent_ns: when its first byte was written; None if it never was.
        first_byte_ns: when the first byte of the response arrived.
        done_ns: when the outcome was known.
        opened: whether it opened its connection.
        status: the status of the complete response.
        error: why there is none, in the words of `Outcome.error`.
        errno: its number, if the operating system gave one before anything was sent.
        error_detail: the error's own words.
        served_by, proxy_status, sqlstate, problem, set_cookies: what the response says of itself;
            also of one that broke off after its head.
        closed: the code with which the server ended a websocket whose client reconnects; 1006 if
            it broke off.
        shape: what its JSON answer looks like, if anybody looked.
        last_id: the number of the last message that came; None if none did.
        missed: how many messages were missing among those that came.
        http2: whether it was sent over HTTP/2.
        connection, deadline_ns: the client's own notes, while it is under way.
    """

    __slots__ = (
        "answer",
        "browser",
        "close",
        "closed",
        "connection",
        "deadline_ns",
        "done_ns",
        "errno",
        "error",
        "error_detail",
        "first_byte_ns",
        "http2",
        "is_head",
        "keep",
        "last_id",
        "lasting",
        "missed",
        "opened",
        "pace",
        "payload",
        "problem",
        "proxy_status",
        "sent_ns",
        "served_by",
        "set_cookies",
        "shape",
        "sqlstate",
        "status",
        "timeout_seconds",
    )

    def __init__(
        self,
        payload: bytes,
        *,
        is_head: bool,
        close: bool,
        pace: Pace | None = None,
        timeout_seconds: float | None = None,
        lasting: WebSocket | EventStream | None = None,
        keep: bool = False,
        browser: Browser | None = None,
    ) -> None:
        self.payload = payload
        self.is_head = is_head
        self.close = close
        self.pace = pace
        self.timeout_seconds = timeout_seconds
        self.lasting = lasting
        self.keep = keep
        self.browser = browser
        self.answer: Answer | None = None
        self.opened = True
        self.sent_ns: int | None = None
        self.first_byte_ns: int | None = None
        self.done_ns = 0
        self.status: int | None = None
        self.error: str | None = None
        self.errno: int | None = None
        self.error_detail: str | None = None
        self.served_by: str | None = None
        self.proxy_status: str | None = None
        self.sqlstate: str | None = None
        self.problem: str | None = None
        self.set_cookies: tuple[str, ...] = ()
        self.shape: Shape | None = None
        self.closed: int | None = None
        self.last_id: int | None = None
        self.missed = 0
        self.connection: Carrier | None = None
        self.deadline_ns = 0
        self.http2 = False

    def heard(self, number: int) -> None:
        """Take note of a numbered message; a number that is left out was missed."""
        if self.last_id is not None:
            self.missed += max(0, number - self.last_id - 1)
        self.last_id = max(number, self.last_id or number)


class Carrier(Protocol):
    """What carries an exchange that is under way."""

    def give_up(self) -> None:
        """The deadline has passed."""

    def hang_up(self) -> None:
        """What could go on for long should end now."""

    def close(self) -> None:
        """Close it, whatever it carries."""


class Pooled(Protocol):
    """A connection that stays open between exchanges.

    Attributes:
        browser: whose it is, for as long as it stands; None: anybody's.
        idle_since_ns: since when it has carried nothing.
    """

    browser: "Browser | None"
    idle_since_ns: int

    def usable(self) -> bool:
        """Whether it can carry another exchange."""

    def carry(self, exchange: "ClientExchange", /) -> None:
        """Send this exchange."""

    def let_go(self) -> None:
        """It gets no more exchanges: close it as soon as what it carries has ended."""

    def close(self) -> None:
        """Close it, whatever it carries."""


class Owner(Protocol):
    """Whom a connection reports to."""

    def finished(self, exchange: ClientExchange, error: str | None, detail: str | None) -> None:
        """The outcome of an exchange is known."""

    def idled(self, connection: Pooled) -> None:
        """The connection can carry another exchange."""

    def dropped(self, connection: Pooled) -> None:
        """The idle connection was closed by its other end."""


class StreamSocket(Protocol):
    """What a connection does with its socket once it stands."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Read."""

    def send(self, data: memoryview, /) -> int:
        """Write."""

    def fileno(self) -> int:
        """Its descriptor."""

    def close(self) -> None:
        """Close it."""


class Connection:
    """One socket: connecting, then exchange after exchange, idle between them, closed once."""

    __slots__ = (
        "_buffer",
        "_closed",
        "_connected",
        "_exchange",
        "_fd",
        "_loop",
        "_owner",
        "_plain_sock",
        "_reader",
        "_sock",
        "_unsent",
        "_waits_to_write",
        "browser",
        "idle_since_ns",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: StreamSocket,
        *,
        buffer: memoryview,
        owner: Owner,
    ) -> None:
        self._loop = loop
        self._buffer = buffer
        self._owner = owner
        self._sock: StreamSocket = sock
        # One that is encrypted cannot be looked into, and is not kept for another exchange.
        self._plain_sock = sock if isinstance(sock, socket.socket) else None
        self._fd = sock.fileno()
        self._reader = ResponseReader()
        self._exchange: ClientExchange | None = None
        self._unsent: memoryview | None = None
        self._waits_to_write = False
        self._connected = False
        self._closed = False
        self.browser: Browser | None = None  # whose it is, for as long as it stands
        self.idle_since_ns = 0

    def usable(self) -> bool:
        """Whether the other end has neither closed it nor sent what nobody asked for."""
        if self._plain_sock is None:
            return False
        try:
            self._plain_sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def carry(self, exchange: ClientExchange) -> None:
        """Send this exchange, now or as soon as the connection stands."""
        self._exchange = exchange
        exchange.connection = self
        self._reader.begin(is_head=exchange.is_head, keep=exchange.keep)
        self._unsent = memoryview(exchange.payload)
        # On loopback a connection stands as soon as it was asked for, so that writing at once
        # saves a turn of the loop; where it does not, the kernel says EAGAIN.
        self._write()

    def give_up(self) -> None:
        """The deadline has passed."""
        if self._connected:
            self._fail("timeout", "no complete response in time")
        else:
            self._fail("connect_timeout", "no connection in time")

    def hang_up(self) -> None:
        """What could go on for long should end now; an ordinary exchange ends by itself."""

    def let_go(self) -> None:
        """Close it: an idle connection carries nothing."""
        self.close()

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._sock.close()
        self._reader.close()

    def _write(self) -> None:
        """Write as much as the kernel takes; called again when it takes more."""
        exchange = self._exchange
        if exchange is None or self._unsent is None:
            self._stop_writing()
            return
        now = time.monotonic_ns()
        try:
            written = self._sock.send(self._piece(self._unsent))
        except BlockingIOError:
            self._write_later()
            return
        except OSError as error:
            self._write_failed(error)
            return
        if exchange.sent_ns is None:
            exchange.sent_ns = now
        if not self._connected:
            self._connected = True
            self._loop.add_reader(self._fd, self._read_all)
        if written < len(self._unsent):
            self._unsent = self._unsent[written:]
            self._write_more(written)
        else:
            self._stop_writing()

    def _piece(self, unsent: memoryview) -> memoryview:
        """What to hand to the kernel next."""
        return unsent

    def _write_more(self, written: int) -> None:
        """See to the rest after some bytes were written."""
        del written
        self._write_later()

    def _write_later(self) -> None:
        if not self._waits_to_write:
            self._waits_to_write = True
            self._loop.add_writer(self._fd, self._write)

    def _stop_writing(self) -> None:
        self._unsent = None
        self._pause_writing()

    def _pause_writing(self) -> None:
        if self._waits_to_write:
            self._waits_to_write = False
            self._loop.remove_writer(self._fd)

    def _write_failed(self, error: OSError) -> None:
        if not self._connected:
            self._fail(connect_error(error), words(error))
            return
        # A server may answer before it has read everything, and close. Its answer counts.
        self._stop_writing()
        while self._read():
            pass
        if self._exchange is not None:
            self._fail(stream_error(error), words(error))

    def _read_all(self) -> None:
        """Take in all that has arrived: the kernel does not tell of what `ssl` keeps."""
        while self._read() and self._has_pending():
            pass

    def _has_pending(self) -> bool:
        """Whether bytes were read from the kernel and not yet from the socket."""
        pending = getattr(self._sock, "pending", None)
        return pending is not None and not self._closed and pending() > 0

    def _read(self) -> bool:
        """Take in what has arrived; returns whether the exchange goes on and there may be more."""
        try:
            size = self._sock.recv_into(self._buffer)
        except BlockingIOError:
            return False
        except OSError as error:
            self._ended(stream_error(error), words(error))
            return False
        if size == 0:
            self._ended("eof", "closed without a complete response")
        elif self._exchange is None:
            self._drop_idle()  # an answer that nobody asked for, such as a 408
        else:
            self._take_in(self._exchange, self._buffer[:size])
        return self._exchange is not None

    def _take_in(self, exchange: ClientExchange, data: memoryview) -> None:
        if exchange.first_byte_ns is None:
            exchange.first_byte_ns = time.monotonic_ns()
        try:
            self._reader.feed(data)
        except MalformedResponse as error:
            self._fail("malformed", str(error))
            return
        if self._reader.complete:
            self._succeed(exchange)

    def _ended(self, error: str, detail: str) -> None:
        """The other end has closed or reset the connection."""
        exchange = self._exchange
        if exchange is None:
            self._drop_idle()
            return
        if error == "eof":
            self._reader.end()
            if self._reader.complete:
                self._succeed(exchange)
                return
        self._fail(error, detail)

    def _drop_idle(self) -> None:
        self._owner.dropped(self)
        self.close()

    def _succeed(self, exchange: ClientExchange) -> None:
        reader = self._reader
        exchange.status = reader.status
        keep_response(exchange, reader)
        self._exchange = None
        # A request that is not all sent leaves its rest on the connection.
        if reader.keep_alive and not exchange.close and self._unsent is None:
            self.idle_since_ns = time.monotonic_ns()
            self._owner.idled(self)
        else:
            self.close()
        self._owner.finished(exchange, None, None)

    def _fail(self, error: str, detail: str) -> None:
        exchange = self._exchange
        if exchange is None:
            raise RuntimeError("an idle connection has no exchange that could fail")
        keep_head(exchange, self._reader)
        self._exchange = None
        self.close()
        self._owner.finished(exchange, error, detail)


def keep_response(exchange: ClientExchange, reader: ResponseReader) -> None:
    """Take from a complete response what is recorded of it."""
    keep_head(exchange, reader)
    problem = reader.problem()
    exchange.problem = problem.title
    exchange.sqlstate = problem.sqlstate
    if exchange.keep:
        exchange.answer = reader.answer()


def keep_head(exchange: ClientExchange, reader: ResponseReader) -> None:
    """Take from the head of a response what is recorded of it, even if it then broke off."""
    exchange.served_by = reader.served_by
    exchange.proxy_status = reader.proxy_status
    exchange.set_cookies = reader.set_cookies


def connect_error(error: OSError) -> str:
    """The name of an error before anything was sent, in the words of `Outcome.error`."""
    if error.errno == errno.ETIMEDOUT:
        return "connect_timeout"
    if error.errno in (errno.ECONNRESET, errno.EPIPE):
        return "reset"
    # Also an unreachable host: the request has certainly not arrived.
    return "connect_refused"


def stream_error(error: OSError) -> str:
    """The name of an error of a connection that stood, in the words of `Outcome.error`."""
    return "timeout" if error.errno == errno.ETIMEDOUT else "reset"


def words(error: OSError) -> str:
    """The error's own words, without its number."""
    return error.strerror or type(error).__name__
