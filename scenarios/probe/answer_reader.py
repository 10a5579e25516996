"""PURE: what the bytes of a server say, fed in pieces of any size.

HTTP/1.1 (RFC 9112) is read by llhttp, through httptools. Of a WebSocket (RFC 6455) only the frames'
borders and the close frame's code matter here.
"""

from dataclasses import dataclass, field

import httptools

_INTERIM = 100  # 1xx answers come before the one that counts
_SWITCHING = 101
_MEDIUM, _LARGE = 126, 127  # lengths of frames that are followed by a longer one
_CLOSE = 8


@dataclass(slots=True)
class RawAnswer:
    """One answer, as far as it has come.

    Attributes:
        status: its status code; 0 while its first line has not come.
        headers: by lower-case name; the last one of a name counts.
        body: its body.
        chunks: how many chunks have come whole, where it is chunked.
        complete: whether it has come whole, by its own framing.
        until_end: whether it lasts until the connection ends (RFC 9112, section 6.3, rule 8).
        version: the version of HTTP that it is in, such as `1.1`.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunks: int = 0
    complete: bool = False
    until_end: bool = False
    version: str = "1.1"

    @property
    def connection(self) -> str | None:
        """What it says about the connection: `close`, `keep-alive`, or nothing."""
        said = self.headers.get("connection")
        return said.lower() if said is not None else None

    @property
    def closes(self) -> bool:
        """Whether the connection ends with it (RFC 9112, section 9.3)."""
        if self.connection == "close" or self.until_end:
            return True
        return self.version == "1.0" and self.connection != "keep-alive"


class AnswerReader:
    """Reads the answers that come on one connection.

    Attributes:
        answers: the final ones, in order; the last one may be incomplete.
        continued: whether `100 Continue` has come.
        malformed: whether the bytes stopped being HTTP.
        close_code: the code of a WebSocket's close frame; 1005 when the frame has none.
        upgraded: whether the connection became a WebSocket.
    """

    def __init__(self) -> None:
        self.answers: list[RawAnswer] = []
        self.continued = False
        self.malformed = False
        self.upgraded = False
        self.close_code: int | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._current = RawAnswer()
        self._frames = b""

    def feed(self, data: bytes) -> None:
        """Take the bytes that came next."""
        if self.upgraded:
            self._read_frames(data)
        elif not self.malformed:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as border:
                self.upgraded = True
                self._read_frames(data[border.args[0] :])
            except httptools.HttpParserError:
                self.malformed = True

    def end(self) -> None:
        """The connection ended in order (FIN), which completes what lasted until then."""
        if self.answers and self.answers[-1].until_end:
            self.answers[-1].complete = True

    @property
    def complete(self) -> int:
        """How many answers have come whole."""
        return sum(answer.complete for answer in self.answers)

    # What httptools calls.

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._current = RawAnswer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        self._current.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """All header lines have come."""
        answer = self._current
        answer.status = self._parser.get_status_code()
        answer.version = self._parser.get_http_version()
        if answer.status == _INTERIM:
            self.continued = True
        if answer.status < 200 and answer.status != _SWITCHING:  # noqa: PLR2004 - RFC 9110, 15.2
            return
        framed = "content-length" in answer.headers or "transfer-encoding" in answer.headers
        answer.until_end = not framed and answer.status not in (_SWITCHING, 204, 304)
        self.answers.append(answer)

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self._current.body += body

    def on_chunk_complete(self) -> None:
        """A chunk has come whole; the last one, which is empty, does not count."""
        self._current.chunks += 1

    def on_message_complete(self) -> None:
        """An answer has come whole."""
        self._current.complete = True
        if "chunked" in self._current.headers.get("transfer-encoding", ""):
            self._current.chunks -= 1

    def _read_frames(self, data: bytes) -> None:
        self._frames += data
        while (frame := _first_frame(self._frames)) is not None:
            code, payload, length = frame
            self._frames = self._frames[length:]
            if code == _CLOSE and self.close_code is None:
                self.close_code = int.from_bytes(payload[:2]) if len(payload) > 1 else 1005


def _first_frame(data: bytes) -> tuple[int, bytes, int] | None:
    """The first frame's opcode, payload and whole length; None while it has not come whole.

    A server does not mask its frames (RFC 6455, section 5.1).
    """
    if len(data) < 2:  # noqa: PLR2004 - the shortest frame
        return None
    size, head = data[1] & 0x7F, 2
    if size >= _MEDIUM:
        extra = 2 if size == _MEDIUM else 8
        if len(data) < head + extra:
            return None
        size, head = int.from_bytes(data[head : head + extra]), head + extra
    if len(data) < head + size:
        return None
    return data[0] & 0x0F, data[head : head + size], head + size
