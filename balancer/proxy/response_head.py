"""A response's head: what the grammar lets through, and what the proxy needs to know of it.

Pure: bytes in, facts out. As for requests, a plain head is taken whole by one regular expression,
and any other field by field; a property test holds the two to the same result.
"""

import re
from typing import Final

from balancer.errors import MessageError
from balancer.proxy.grammar import (
    CHUNKED,
    DIGITS,
    FIELDS,
    NO_BODY,
    PUNCTUATION,
    UNTIL_CLOSE,
    any_of,
    plain_lines,
    tokens,
    without,
)

# RFC 9112 section 4; the space before an empty reason is often left out.
_HEAD: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*+))?+(\r\n" + FIELDS + rb")\r\n"
)
# What stands between the words of a name that some client takes for another name.
_BETWEEN: Final = rb"[" + PUNCTUATION + rb"]*+"
_SPECIAL: Final[tuple[bytes, ...]] = (
    b"connection", b"content" + _BETWEEN + b"length", b"keep-alive",
    b"proxy-(?:connection|authenticate|status)", b"transfer" + _BETWEEN + b"encoding", b"trailer",
    b"upgrade", b"x-served-by",
)  # fmt: skip
_FIELD: Final = re.compile(rb"\n(" + any_of(_SPECIAL) + rb"):[ \t]*+([^\r]*+)\r")
_LINES: Final = plain_lines(_SPECIAL)
_TIMEOUT: Final = re.compile(rb"(?i:timeout)[ \t]*=[ \t]*\"?([0-9]{1,9})")
# A final response with a Content-Length and nothing else that needs a look: most are like that.
_PLAIN: Final = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*+)\r\n"
    rb"(" + _LINES + rb")"
    # As Node writes it.
    rb"(?:Connection: keep-alive\r\nKeep-Alive: timeout=([0-9]{1,9})\r\n)?+"
    rb"(" + _LINES + rb")[cC]ontent-[lL]ength: ?([0-9]{1,18}+)\r\n(" + _LINES + rb")\r\n"
)
_BODILESS: Final = frozenset({204, 304})
_PASS: Final = frozenset({b"trailer", b"proxy-status"})


class ResponseHead:
    """What the proxy needs to know of a response.

    Attributes:
        status: from 100 to 599.
        reason: its phrase, as it was sent.
        fields: the field lines that pass on, each with its line end.
        size: of the head, in bytes.
        length: bytes of the body, CHUNKED or UNTIL_CLOSE.
        persistent: whether the backend's connection may carry another request.
        upgrade: the Upgrade field of a 101 response.
        keep_alive: the seconds that `Keep-Alive: timeout` announced, or None.
        declared: the Content-Length that was sent, also where no body follows (HEAD, 304).
    """

    __slots__ = (
        "declared",
        "fields",
        "keep_alive",
        "length",
        "persistent",
        "reason",
        "size",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, reason: bytes, fields: bytes, size: int, length: int) -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.size = size
        self.length = length
        self.persistent = True
        self.upgrade: bytes | None = None
        self.declared: int | None = None
        self.keep_alive: int | None = None


def read_response(data: bytes, method: bytes) -> ResponseHead | None:
    """Read the head that `data` begins with; None if there is none, or not all of it.

    Args:
        data: what has come so far.
        method: of the request that it answers.

    Raises:
        MessageError: the head breaks a rule.
    """
    match = _PLAIN.match(data)
    if match is None:
        return read_any_response(data, method)
    status, reason, fields, timeout, middle, digits, more = match.groups()
    length = int(digits)
    if middle:
        fields += middle
    head = ResponseHead(int(status), reason, fields + more, match.end(), length)
    head.declared = length
    if timeout is not None:
        head.keep_alive = int(timeout)
    if method == b"HEAD" or head.status in _BODILESS:
        head.length = NO_BODY
    return head


def read_any_response(data: bytes, method: bytes) -> ResponseHead | None:  # noqa: C901
    """The same, field by field."""
    match = _HEAD.match(data)
    if match is None:
        return None
    minor, digits, reason, block = match.groups()
    head = ResponseHead(int(digits), reason or b"", block, match.end(), UNTIL_CLOSE)
    head.persistent = minor == b"1"
    kept: list[bytes] = []
    named: list[bytes] = []
    start = 2  # the block begins with the line end of the status line
    chunked = False
    for field in _FIELD.finditer(block):
        name: bytes = field[1].lower()
        if name in _PASS:
            continue
        kept.append(block[start : field.start() + 1])
        start = field.end() + 1
        value: bytes = field[2].rstrip(b" \t")
        if name == b"content-length":
            _declare(head, value)
        elif name == b"transfer-encoding":
            chunked = _check_coding(value, fit=minor == b"1" and not chunked)
        elif name == b"connection":
            named += tokens(value)
        elif name == b"upgrade":
            head.upgrade = value
        elif name == b"keep-alive":
            announced = _TIMEOUT.search(value)
            head.keep_alive = int(announced[1]) if announced else None
        elif name.startswith((b"content", b"transfer")):
            raise MessageError(502, "a field name that some read as another field")
    kept.append(block[start:])
    head.fields = b"".join(kept)
    if named:
        head.persistent = b"close" not in named and (head.persistent or b"keep-alive" in named)
        head.fields = without(head.fields, named)
    _frame(head, method, chunked=chunked)
    return head


def _check_coding(value: bytes, *, fit: bool) -> bool:
    if not fit or value.lower() != b"chunked":
        raise MessageError(502, "the only transfer coding is chunked, once, in HTTP/1.1")
    return True


def _declare(head: ResponseHead, value: bytes) -> None:
    if head.declared is not None or not DIGITS.match(value):
        raise MessageError(502, "malformed or repeated Content-Length")
    head.declared = int(value)


def _frame(head: ResponseHead, method: bytes, *, chunked: bool) -> None:
    """Find the length of a response's body: RFC 9112 section 6.3, in its order."""
    if chunked and head.declared is not None:
        raise MessageError(502, "Content-Length and Transfer-Encoding contradict each other")
    status = head.status
    if method == b"HEAD" or status in _BODILESS or status < 200:  # noqa: PLR2004 - RFC 9110
        head.length = NO_BODY
    elif chunked:
        head.length = CHUNKED
    elif head.declared is not None:
        head.length = head.declared
    else:
        head.persistent = False
