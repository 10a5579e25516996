"""Reading one HTTP/1.1 response, without a socket: bytes in, facts out.

httptools finds the fields and the frame. What it leaves to its user is done here: a response to
HEAD has no body, a body without a length ends with the connection, interim responses are not the
answer, trailers are not header fields, and impossible versions and statuses are refused.
"""

from collections.abc import Callable

import httptools
import msgspec

from scenarios.traffic.journeys.examination import Answer

# More than any server of ours or others sends; beyond it, memory would be the server's to spend.
_MAX_HEAD = 64 * 1024
# RFC 9110, section 15: the classes of statuses, and those that change the framing.
_STATUSES = range(100, 600)
_INTERIM = range(100, 200)
_SWITCHING = 101
_BODILESS = frozenset({101, 204, 304})
# Of a body only a problem document is kept, and only this much of it; or what somebody asked for.
_MAX_PROBLEM = 16 * 1024
_MAX_BODY = 4 * 1024 * 1024


class MalformedResponse(Exception):  # noqa: N818 - it says what the response is
    """What arrived is not an HTTP/1.1 response; the message says why."""


class Problem(msgspec.Struct, frozen=True):
    """What is read of an `application/problem+json` body (RFC 9457).

    Attributes:
        title: its short summary.
        sqlstate: the extension member that names the database's error.
    """

    title: str | None = None
    sqlstate: str | None = None


_PROBLEM = msgspec.json.Decoder(Problem)
_NO_PROBLEM = Problem()


class ResponseReader:
    """Reads the responses of one connection, one after the other.

    Call `begin` before each request, `feed` with what arrives until `complete`, and `end` when the
    connection has ended.

    Attributes:
        complete: whether the whole response has arrived.
        status: the status of the response, from the end of its head on.
        keep_alive: whether the connection can carry another exchange; valid once complete.
        served_by: `X-Served-By`.
        proxy_status: `Proxy-Status`; several fields are joined with commas (RFC 9110, 5.3).
        set_cookies: `Set-Cookie`, field by field: their commas are their own.
        accept: `Sec-WebSocket-Accept`.
        rest: what came after a 101, which is no longer HTTP.
    """

    __slots__ = (
        "_body",
        "_fields",
        "_framed",
        "_head_done",
        "_head_size",
        "_is_head",
        "_is_problem",
        "_keep",
        "_parser",
        "accept",
        "complete",
        "keep_alive",
        "listener",
        "proxy_status",
        "rest",
        "served_by",
        "set_cookies",
        "status",
    )

    _head_done: bool
    _head_size: int

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.begin(is_head=False)

    def begin(self, *, is_head: bool, keep: bool = False) -> None:
        """Get ready for the response to a request that is a HEAD or is not.

        Args:
            is_head: whether it is.
            keep: whether `answer` will be asked for.
        """
        self._is_head = is_head
        self._keep = keep
        self.listener: Callable[[bytes], None] | None = None
        self.complete = False
        self.keep_alive = False
        self._reset()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take in what has arrived.

        Raises:
            MalformedResponse: it is not an HTTP/1.1 response.
        """
        if self._parser is None:
            raise MalformedResponse("data after the end of the connection")
        if not self._head_done:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # What follows a 101 is another protocol's.
            self.rest = bytes(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, MalformedResponse):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            # What comes after a complete answer spoils the connection, not the answer.
            if not self.complete:
                raise MalformedResponse(str(error)) from error
            self.keep_alive = False
        if not self._head_done and self._head_size > _MAX_HEAD:
            raise MalformedResponse(f"the head is longer than {_MAX_HEAD} bytes")

    def end(self) -> None:
        """The connection has ended: a body without a length is complete now (RFC 9112, 6.3)."""
        self.keep_alive = False
        if self._head_done and not self._framed:
            self.complete = True

    def close(self) -> None:
        """Let go of the parser, which refers back to this object."""
        self._parser = None

    def answer(self) -> Answer:
        """The response's fields and body, if `begin` was told to keep them."""
        return Answer(tuple(self._fields or ()), self._body)

    def problem(self) -> Problem:
        """What the problem document in the body says; empty when there is none to read."""
        if not self._is_problem:
            return _NO_PROBLEM
        try:
            return _PROBLEM.decode(self._body)
        except msgspec.DecodeError:
            return _NO_PROBLEM  # the status is still there to tell

    def _reset(self) -> None:
        self.status = 0
        self.served_by: str | None = None
        self.proxy_status: str | None = None
        self.set_cookies: tuple[str, ...] = ()
        self.accept: str | None = None
        self.rest = b""
        self._framed = False
        self._head_done = False
        self._head_size = 0
        self._is_problem = False
        self._body = b""
        self._fields: list[tuple[str, str]] | None = [] if self._keep else None

    # What httptools calls.

    def on_message_begin(self) -> None:
        """A message begins."""
        if self.complete:
            # A second answer to one request: whose it is nobody can say.
            self.keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailer."""
        if self._head_done or self.complete:
            return  # a trailer (RFC 9110, 6.5.1), or a field of an answer that nobody asked for
        if self._fields is not None:
            self._fields.append((name.decode("latin-1"), value.decode("latin-1")))
        match name.lower():
            case b"x-served-by":
                self.served_by = value.decode("latin-1")
            case b"proxy-status":
                text = value.decode("latin-1")
                self.proxy_status = f"{self.proxy_status}, {text}" if self.proxy_status else text
            case b"set-cookie":
                self.set_cookies += (value.decode("latin-1"),)
            case b"sec-websocket-accept":
                self.accept = value.decode("latin-1")
            case b"content-length" | b"transfer-encoding":
                self._framed = True
            case b"content-type":
                kind = value.partition(b";")[0].strip().lower()
                self._is_problem = kind == b"application/problem+json"

    def on_headers_complete(self) -> None:
        """The head is complete."""
        if self.complete or self._parser is None:
            return
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise MalformedResponse(f"HTTP/{version} is not HTTP/1.1")
        status = self._parser.get_status_code()
        if status not in _STATUSES:
            raise MalformedResponse(f"{status} is not a status")
        if status in _INTERIM and status != _SWITCHING:
            return
        self.status = status
        self._head_done = True
        if self._is_head or status in _BODILESS:
            self._framed = True
        if self._is_head:
            # The parser would take the next response for this one's body: no more of it.
            self.complete = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self.listener is not None:
            self.listener(body)
        if self.complete or not (self._is_problem or self._keep):
            return
        if len(self._body) < (_MAX_BODY if self._keep else _MAX_PROBLEM):
            self._body += body

    def on_message_complete(self) -> None:
        """A message is complete, an interim one too."""
        if self.complete or self._parser is None:
            return
        if self.status == 0:
            self._reset()  # an interim response (RFC 9110, 15.2): the answer is still to come
            return
        self.complete = True
        self.keep_alive = self.status != _SWITCHING and self._parser.should_keep_alive()
