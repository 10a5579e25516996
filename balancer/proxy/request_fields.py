"""Reads the head of a request field by field. Pure: bytes in, facts out."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from balancer.errors import MessageError
from balancer.proxy.grammar import (
    CHUNKED,
    DIGITS,
    FIELDS,
    NO_BODY,
    PUNCTUATION,
    REQUEST_ID,
    TCHAR,
    TOKEN,
    tokens,
    without,
)
from balancer.proxy.request_grammar import ABSOLUTE_FORM, HOST, IS_CLAIM, ORIGIN_FORM, SPECIAL_FIELD
from balancer.proxy.request_head import RequestHead

_HEAD: Final = re.compile(
    rb"([" + TCHAR + rb"]{1,32}+) ([\x21-\x7e]++) HTTP/([0-9]\.[0-9])(\r\n" + FIELDS + rb")\r\n"
)
# Names that some server takes for another one, since it drops or replaces punctuation.
_LOOK_ALIKES: Final = frozenset({
    b"connection", b"contentlength", b"expect", b"host", b"keepalive", b"te", b"trailer",
    b"transferencoding", b"upgrade", b"xforwardedfor", b"xforwardedhost", b"xforwardedport",
    b"xforwardedproto", b"xforwardedserver", b"xrealip", b"xrequestid",
})  # fmt: skip
_PUNCTUATION: Final = re.compile(rb"[" + PUNCTUATION + rb"]++")
# Tunnels for these only: through one for h2c, requests would pass that nobody has checked.
_UPGRADES: Final = frozenset({b"websocket"})


def read_any_request(data: bytes, *, underscores: bool = False) -> RequestHead | None:
    """Read the head that `data` begins with; None if there is none, or not all of it.

    Args:
        data: what has come so far.
        underscores: whether fields with `_` in their name pass on; else they are dropped.

    Raises:
        MessageError: the head breaks a rule; the error says which and which status it earns.
    """
    match = _HEAD.match(data)
    if match is None:
        return None
    method, target, version, block = match.groups()
    if version not in (b"1.1", b"1.0"):
        raise MessageError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
    head = RequestHead(method, target, block, match.end(), None, None)
    if version == b"1.0":
        head.minor = 0
        head.persistent = False
    _RequestFields(head, underscores=underscores).read(block)
    if head.host is None and head.minor:
        raise MessageError(400, "Host is absent")
    _to_origin_form(head)
    if method == b"CONNECT":
        raise MessageError(501, "CONNECT is not supported")
    return head


def _to_origin_form(head: RequestHead) -> None:
    """Check the target, and bring it into origin form (RFC 9112 section 3.2).

    A target in absolute form also names the host, for HTTP/1.0 requests without a Host field.

    Raises:
        MessageError: the method may not have such a target, or it contradicts Host.
    """
    target = head.target
    if ORIGIN_FORM.match(target):
        return
    if target == b"*":
        if head.method == b"OPTIONS":
            return
        raise MessageError(400, "target * is for OPTIONS alone")
    absolute = ABSOLUTE_FORM.match(target)
    if absolute is None:
        raise MessageError(400, "malformed request target")
    if head.host is None:
        head.host = absolute[1]
        head.fields = b"Host: %b\r\n%b" % (absolute[1], head.fields)
    elif absolute[1].lower() != head.host.lower():
        raise MessageError(400, "request target and Host name different hosts")
    rest: bytes = absolute[2] or b""
    if not rest and head.method == b"OPTIONS":
        head.target = b"*"
        return
    path = rest if rest.startswith(b"/") else b"/" + rest
    if not ORIGIN_FORM.match(path):
        raise MessageError(400, "malformed request target")
    head.target = path


class _RequestFields:
    """Reads the fields that matter, and keeps the lines that pass on."""

    def __init__(self, head: RequestHead, *, underscores: bool) -> None:
        self._head = head
        self._underscores = underscores
        self._codings: list[bytes] = []
        self._length: bytes | None = None
        self._connection: list[bytes] = []

    def read(self, block: bytes) -> None:
        head = self._head
        kept: list[bytes] = []
        start = 2  # the block begins with the line end of the request line
        for match in SPECIAL_FIELD.finditer(block):
            name: bytes = match[1].lower()
            value: bytes = match[2].rstrip(b" \t")
            if self._take(name, value):
                continue
            kept.append(block[start : match.start() + 1])
            start = match.end() + 1
            if name not in _READERS and IS_CLAIM.match(name):
                head.claims += b"%b: %b\r\n" % (match[1], value)
        kept.append(block[start:])
        head.fields = b"".join(kept) if len(kept) > 1 else kept[0]
        self._settle()

    def _take(self, name: bytes, value: bytes) -> bool:
        """Note one field; returns whether its line passes on as it is."""
        reader = _READERS.get(name)
        if reader is not None:
            return reader(self, value)
        if IS_CLAIM.match(name):
            return False
        if name in _UNREAD:
            return False
        if _PUNCTUATION.sub(b"", name) in _LOOK_ALIKES:
            raise MessageError(400, "a field name that some read as another field")
        if b"_" in name:
            # CGI turns `-` into `_`, so that this name would stand for two fields.
            return self._underscores and not IS_CLAIM.match(name.replace(b"_", b"-"))
        return True

    def host(self, value: bytes) -> bool:
        """RFC 9110 section 7.2: Host stands once, and is well formed."""
        if self._head.host is not None:
            raise MessageError(400, "Host is repeated")
        if not HOST.match(value):
            raise MessageError(400, "malformed Host")
        self._head.host = value
        return True

    def request_id(self, value: bytes) -> bool:
        """Pass the first usable one on."""
        if self._head.request_id is not None or not REQUEST_ID.match(value):
            return False
        self._head.request_id = value
        return True

    def cookie(self, value: bytes) -> bool:
        """Look for the affinity cookie later."""
        known = self._head.cookie
        self._head.cookie = value if known is None else known + b"; " + value
        return True

    def trailer(self, value: bytes) -> bool:
        """Trailer announces trailer fields, and passes on."""
        del value
        return True

    def content_length(self, value: bytes) -> bool:
        """RFC 9110 section 8.6: Content-Length stands once, in digits."""
        if self._length is not None:
            raise MessageError(400, "Content-Length is repeated")
        if not DIGITS.match(value):
            raise MessageError(400, "malformed Content-Length")
        self._length = value
        self._head.declared = True
        self._head.length = int(value)
        return False

    def transfer_encoding(self, value: bytes) -> bool:
        """RFC 9112 section 6.1: the codings, of which only chunked is supported."""
        self._codings += [part.strip(b" \t").lower() for part in value.split(b",", 8)]
        return False

    def connection_field(self, value: bytes) -> bool:
        """RFC 9110 section 7.6.1: options for this connection alone."""
        self._connection += tokens(value)
        return False

    def upgrade(self, value: bytes) -> bool:
        """RFC 9110 section 7.8."""
        if self._head.upgrade is not None:
            value = self._head.upgrade + b"," + value
        self._head.upgrade = value.lower()
        return False

    def expect(self, value: bytes) -> bool:
        """RFC 9110 section 10.1.1."""
        if value.lower() != b"100-continue":
            raise MessageError(417, "the only expectation is 100-continue")
        self._head.expect = True
        return False

    def forwarded_for(self, value: bytes) -> bool:
        """The chain of clients, according to the peer."""
        head = self._head
        known = head.forwarded_for
        head.forwarded_for = value if known is None else known + b", " + value
        return False

    def forwarded_proto(self, value: bytes) -> bool:
        """The scheme of the first request, according to the peer."""
        self._head.forwarded_proto = value if value in (b"http", b"https") else None
        return False

    def forwarded_host(self, value: bytes) -> bool:
        """The host of the first request, according to the peer."""
        self._head.forwarded_host = value if HOST.match(value) else None
        return False

    def via(self, value: bytes) -> bool:
        """RFC 9110 section 7.6.3."""
        known = self._head.via
        self._head.via = value if known is None else known + b", " + value
        return False

    def idempotency_key(self, value: bytes) -> bool:
        """The client says that the request may be sent twice."""
        self._head.idempotency_key = bool(value)
        return True

    def max_forwards(self, value: bytes) -> bool:
        """RFC 9110 section 7.6.2."""
        if not DIGITS.match(value):
            raise MessageError(400, "malformed Max-Forwards")
        self._head.max_forwards = int(value)
        return False

    def te(self, value: bytes) -> bool:
        """RFC 9110 section 10.1.4; weights and other codings are of no use to us."""
        codings = [part.strip(b" \t").lower() for part in value.split(b",")]
        self._head.trailers = self._head.trailers or b"trailers" in codings
        return False

    def _check_codings(self, codings: list[bytes]) -> None:
        if self._length is not None:
            raise MessageError(400, "Content-Length and Transfer-Encoding contradict each other")
        if not self._head.minor:
            raise MessageError(400, "HTTP/1.0 has no Transfer-Encoding")
        if codings != [b"chunked"]:
            # RFC 9112 section 6.1: 501 for a coding that is not understood; section 6.3: 400 if
            # the end of the body cannot be told.
            if codings[-1] != b"chunked" or not all(map(TOKEN.match, codings)):
                raise MessageError(400, "the last transfer coding must be chunked")
            if b"chunked" in codings[:-1]:
                raise MessageError(400, "the transfer coding chunked is repeated")
            raise MessageError(501, "the only supported transfer coding is chunked")
        self._head.length = CHUNKED

    def _settle(self) -> None:
        """Check what depends on several fields."""
        head = self._head
        if self._codings:
            self._check_codings(self._codings)
        if head.method == b"TRACE" and head.length != NO_BODY:
            raise MessageError(400, "TRACE has no body")
        named = self._connection
        if head.upgrade is not None and (
            head.upgrade not in _UPGRADES
            or b"upgrade" not in named
            or not head.minor
            or head.length != NO_BODY
        ):
            head.upgrade = None
        if head.expect and (not head.minor or head.length == NO_BODY):
            head.expect = False
        head.plain = not (
            head.expect or head.trailers or head.upgrade or head.max_forwards is not None
        )
        if named:
            if b"close" in named:
                head.persistent = False
            elif b"keep-alive" in named:
                head.persistent = True
            head.fields = without(head.fields, named)


_READERS: Final[Mapping[bytes, Callable[[_RequestFields, bytes], bool]]] = {
    b"host": _RequestFields.host,
    b"x-request-id": _RequestFields.request_id,
    b"cookie": _RequestFields.cookie,
    b"trailer": _RequestFields.trailer,
    b"content-length": _RequestFields.content_length,
    b"transfer-encoding": _RequestFields.transfer_encoding,
    b"connection": _RequestFields.connection_field,
    b"upgrade": _RequestFields.upgrade,
    b"expect": _RequestFields.expect,
    b"x-forwarded-for": _RequestFields.forwarded_for,
    b"x-forwarded-proto": _RequestFields.forwarded_proto,
    b"x-forwarded-host": _RequestFields.forwarded_host,
    b"via": _RequestFields.via,
    b"idempotency-key": _RequestFields.idempotency_key,
    b"max-forwards": _RequestFields.max_forwards,
    b"te": _RequestFields.te,
}
# Fields that concern nobody behind us, and of which nothing is read.
_UNREAD: Final = frozenset({
    b"forwarded", b"http2-settings", b"keep-alive", b"proxy", b"proxy-connection",
    b"proxy-authorization", b"proxy-authenticate",
})  # fmt: skip
