"""What a message's head may look like. Pure: bytes in, facts out.

The grammar is RFC 9110's and 9112's, written as regular expressions over the raw bytes: what does
not match is refused. It is narrower than the RFCs where two parsers are known to read the same
bytes differently. For requests, llhttp (through httptools) has to agree as well: see
`balancer.proxy.witness`.

All quantifiers that could backtrack are possessive, so matching is linear in the input.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from balancer.errors import MessageError

_TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
# RFC 9112 section 5: no space before the colon, no folding, no control bytes but tab.
_FIELDS = rb"(?:[" + _TCHAR + rb"]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+"
REQUEST_HEAD = re.compile(
    rb"([" + _TCHAR + rb"]{1,32}+) ([\x21-\x7e]++) HTTP/([0-9]\.[0-9])(\r\n" + _FIELDS + rb")\r\n"
)
# RFC 9112 section 4; the space before an empty reason is often left out.
RESPONSE_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*+))?(\r\n" + _FIELDS + rb")\r\n"
)
FIELD_LINE = re.compile(rb"([" + _TCHAR + rb"]++):[ \t]*+([\t\x20-\x7e\x80-\xff]*+)\r\n")
# What no head can contain, wherever it is cut: seen early, it need not be waited for.
HOPELESS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")

TOKEN = re.compile(rb"[" + _TCHAR + rb"]++\Z")
_TOKENS = re.compile(rb"[ \t]*+(?:([" + _TCHAR + rb"]++)[ \t]*+)?(?:,|\Z)")
_DIGITS = re.compile(rb"[0-9]{1,18}\Z")  # less than 2^63, whatever integers the peers use
REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:+/=@-]{1,128}\Z")

# RFC 3986 path characters. In a query, browsers send some more as they are (WHATWG URL, query
# percent-encode set), and nobody reads them as anything else: [ ] { } | ^ `
_PATH = rb"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*+"
_ORIGIN_FORM = re.compile(_PATH + rb"(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?\[\]{}|^`]*+)?\Z")
# RFC 9110 section 7.2: uri-host [":" port]; without userinfo, which no Host may have.
_HOST = rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9\-._~!$&'()*+;=%]{1,255})(?::[0-9]{1,5})?"
HOST = re.compile(_HOST + rb"\Z")
_ABSOLUTE_FORM = re.compile(rb"(?i:https?)://(" + _HOST + rb")([/?].*)?\Z")

# Fields that need a look, found by the newline before them. One alternative for each first
# letter keeps the search from trying every name at every line.
_REQUEST_FIELD = re.compile(
    rb"\n("
    rb"[cC](?i:onnection|ontent[-_]length|ookie)|"
    rb"[eE](?i:xpect)|"
    rb"[fF](?i:orwarded)|"
    rb"[hH](?i:ost|ttp2-settings)|"
    rb"[iI](?i:dempotency-key)|"
    rb"[kK](?i:eep[-_]alive)|"
    rb"[mM](?i:ax-forwards)|"
    rb"[pP](?i:roxy-connection|roxy-authorization|roxy-authenticate)|"
    rb"[tT](?i:e|railer|ransfer[-_]encoding)|"
    rb"[uU](?i:pgrade)|"
    rb"[vV](?i:ia)|"
    rb"[xX][-_](?i:request[-_]id|forwarded[-_](?:for|proto|host|port|server)|real[-_]ip)"
    rb"):[ \t]*+([^\r]*+)\r"
)
_RESPONSE_FIELD = re.compile(
    rb"\n("
    rb"[cC](?i:onnection|ontent[-_]length)|"
    rb"[kK](?i:eep-alive)|"
    rb"[pP](?i:roxy-connection|roxy-authenticate|roxy-status)|"
    rb"[tT](?i:ransfer[-_]encoding|railer)|"
    rb"[uU](?i:pgrade)|"
    rb"[xX](?i:-served-by)"
    rb"):[ \t]*+([^\r]*+)\r"
)
_LOOK_ALIKES = frozenset({
    b"content_length", b"transfer_encoding", b"keep_alive", b"x_request_id", b"x-request_id",
    b"x_request-id", b"x_forwarded_for", b"x_forwarded_proto", b"x_forwarded_host",
    b"x_forwarded_port", b"x_forwarded_server", b"x_real_ip",
})  # fmt: skip
# RFC 9110 section 7.6.1, and fields that only ever speak to the next hop.
_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate",
    b"proxy-authorization", b"te", b"transfer-encoding", b"upgrade", b"http2-settings",
})  # fmt: skip
# RFC 9110 section 6.5.1: fields that frame, route, or authenticate make no sense in a trailer.
FORBIDDEN_TRAILERS = _HOP_BY_HOP | frozenset({
    b"authorization", b"cache-control", b"content-encoding", b"content-length", b"content-range",
    b"content-type", b"cookie", b"expect", b"forwarded", b"host", b"max-forwards", b"pragma",
    b"proxy-status", b"range", b"set-cookie", b"trailer", b"via", b"www-authenticate",
    b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-request-id",
    b"x-served-by", b"x-real-ip",
})  # fmt: skip

# Tunnels for these only: through one for h2c, requests would pass that nobody has checked.
_UPGRADES = frozenset({b"websocket"})

NO_BODY = 0
CHUNKED = -1
UNTIL_CLOSE = -2


@dataclass(slots=True)
class RequestHead:
    """What the proxy needs to know of a request.

    Attributes:
        method: as it was sent.
        target: in origin form, or `*`.
        minor: 1 for HTTP/1.1, 0 for HTTP/1.0.
        fields: the field lines that pass on, each with its line end.
        host: the Host field; None only in HTTP/1.0.
        length: bytes of the body, or CHUNKED.
        persistent: whether the client's connection may carry another request.
        request_id: a usable `X-Request-Id`, or None.
        upgrade: the protocol that the client would rather speak, lower case, or None.
        expect: whether the client waits for `100 Continue`.
        forwarded_for: the chain that the client's side named, joined; believed only from peers
            that are trusted; the same for the next two.
        forwarded_proto: see above.
        forwarded_host: see above.
        via: the Via fields so far, joined.
        cookie: the Cookie field, as it is.
        idempotency_key: whether there is an `Idempotency-Key`.
        max_forwards: that field's value, or None.
        trailers: whether the client accepts trailer fields.
        declared: whether there was a Content-Length.
        plain: whether none of the rarer fields has to be written for the backend.
    """

    method: bytes
    target: bytes
    minor: int
    fields: bytes
    host: bytes | None = None
    length: int = NO_BODY
    persistent: bool = True
    request_id: bytes | None = None
    upgrade: bytes | None = None
    expect: bool = False
    forwarded_for: bytes | None = None
    forwarded_proto: bytes | None = None
    forwarded_host: bytes | None = None
    via: bytes | None = None
    cookie: bytes | None = None
    idempotency_key: bool = False
    max_forwards: int | None = None
    trailers: bool = False
    declared: bool = False
    plain: bool = True


@dataclass(slots=True)
class ResponseHead:
    """What the proxy needs to know of a response.

    Attributes:
        status: from 100 to 599.
        reason: its phrase, as it was sent.
        fields: the field lines that pass on, each with its line end.
        length: bytes of the body, CHUNKED or UNTIL_CLOSE.
        persistent: whether the backend's connection may carry another request.
        upgrade: the Upgrade field of a 101 response.
        declared: the Content-Length that was sent, also where no body follows (HEAD, 304).
    """

    status: int
    reason: bytes
    fields: bytes
    length: int = UNTIL_CLOSE
    persistent: bool = True
    upgrade: bytes | None = None
    declared: int | None = None


def tokens(value: bytes) -> list[bytes]:
    """Split a list of tokens (RFC 9110 section 5.6.1), lower case.

    Raises:
        MessageError: it is no such list.
    """
    found: list[bytes] = []
    place = 0
    while place < len(value):
        match = _TOKENS.match(value, place)
        if match is None:
            raise MessageError(400, "malformed list of tokens")
        if match[1]:
            found.append(match[1].lower())
        place = match.end()
    return found


def origin_form(method: bytes, target: bytes, host: bytes | None) -> bytes:
    """Check the request target and bring it into origin form (RFC 9112 section 3.2).

    Raises:
        MessageError: it is none that this method may have, or contradicts Host.
    """
    if _ORIGIN_FORM.match(target):
        return target
    if target == b"*":
        if method == b"OPTIONS":
            return target
        raise MessageError(400, "target * is for OPTIONS alone")
    absolute = _ABSOLUTE_FORM.match(target)
    if absolute is None:
        raise MessageError(400, "malformed request target")
    if host is not None and absolute[1].lower() != host.lower():
        raise MessageError(400, "request target and Host name different hosts")
    rest: bytes = absolute[2] or b""
    if not rest and method == b"OPTIONS":
        return b"*"
    path = rest if rest.startswith(b"/") else b"/" + rest
    if not _ORIGIN_FORM.match(path):
        raise MessageError(400, "malformed request target")
    return path


def parse_request(match: re.Match[bytes]) -> RequestHead:
    """Read a head that `REQUEST_HEAD` has matched.

    Raises:
        MessageError: the head breaks a rule; the error says which and which status it earns.
    """
    method, target, version, block = match.groups()
    if version == b"1.1":
        head = RequestHead(method, target, 1, block)
    elif version == b"1.0":
        head = RequestHead(method, target, 0, block, persistent=False)
    elif version[0:1] in b"01":
        raise MessageError(400, "malformed HTTP version")
    else:
        raise MessageError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    _RequestFields(head).read(block)
    if head.host is None and head.minor:
        raise MessageError(400, "Host is absent")
    head.target = origin_form(method, target, head.host)
    if method == b"CONNECT":
        raise MessageError(501, "CONNECT is not offered")
    return head


class _RequestFields:
    """Collects the fields that matter, and the stretches between those that do not pass on."""

    def __init__(self, head: RequestHead) -> None:
        self._head = head
        self._coding: bytes | None = None
        self._length: bytes | None = None
        self._connection: list[bytes] = []

    def read(self, block: bytes) -> None:
        head = self._head
        kept: list[bytes] = []
        start = 1  # the block begins with the line end of the request line; skip its CR ...
        start += 1  # ... and its LF
        for match in _REQUEST_FIELD.finditer(block):
            name: bytes = match[1].lower()
            if self._take(name, match[2].rstrip(b" \t")):
                continue
            kept.append(block[start : match.start() + 1])
            start = match.end() + 1
        kept.append(block[start:])
        head.fields = b"".join(kept) if len(kept) > 1 else kept[0]
        self._settle()

    def _take(self, name: bytes, value: bytes) -> bool:
        """Note one field; returns whether its line passes on as it is."""
        reader = _READERS.get(name)
        if reader is not None:
            return reader(self, value)
        if name in _LOOK_ALIKES:
            raise MessageError(400, "a field name with _ that some read as another field")
        return False

    def host(self, value: bytes) -> bool:
        """RFC 9110 section 7.2: once, and well formed."""
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
        """An announcement, for whoever reads the trailer."""
        del value
        return True

    def content_length(self, value: bytes) -> bool:
        """RFC 9110 section 8.6: digits, once."""
        if self._length is not None:
            raise MessageError(400, "Content-Length is repeated")
        if not _DIGITS.match(value):
            raise MessageError(400, "malformed Content-Length")
        self._length = value
        self._head.declared = True
        self._head.length = int(value)
        return False

    def transfer_encoding(self, value: bytes) -> bool:
        """RFC 9112 section 6.1: chunked, once."""
        if self._coding is not None:
            raise MessageError(400, "Transfer-Encoding is repeated")
        if value.lower() != b"chunked":
            raise MessageError(400, "the only transfer coding is chunked")
        self._coding = value
        self._head.length = CHUNKED
        return False

    def connection_field(self, value: bytes) -> bool:
        """RFC 9110 section 7.6.1: what concerns this hop."""
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
        """Who asked, as far as the peer is believed."""
        head = self._head
        known = head.forwarded_for
        head.forwarded_for = value if known is None else known + b", " + value
        return False

    def forwarded_proto(self, value: bytes) -> bool:
        """By which scheme, as far as the peer is believed."""
        self._head.forwarded_proto = value if value in (b"http", b"https") else None
        return False

    def forwarded_host(self, value: bytes) -> bool:
        """For which host, as far as the peer is believed."""
        self._head.forwarded_host = value if HOST.match(value) else None
        return False

    def via(self, value: bytes) -> bool:
        """RFC 9110 section 7.6.3."""
        known = self._head.via
        self._head.via = value if known is None else known + b", " + value
        return False

    def idempotency_key(self, value: bytes) -> bool:
        """The client says that it may be sent twice."""
        self._head.idempotency_key = bool(value)
        return True

    def max_forwards(self, value: bytes) -> bool:
        """RFC 9110 section 7.6.2."""
        if not _DIGITS.match(value):
            raise MessageError(400, "malformed Max-Forwards")
        self._head.max_forwards = int(value)
        return False

    def te(self, value: bytes) -> bool:
        """RFC 9110 section 10.1.4; weights and other codings are of no use to us."""
        codings = [part.strip(b" \t").lower() for part in value.split(b",")]
        self._head.trailers = self._head.trailers or b"trailers" in codings
        return False

    def _settle(self) -> None:
        """Judge what only all fields together can say."""
        head = self._head
        if self._coding is not None:
            if self._length is not None:
                raise MessageError(
                    400, "Content-Length and Transfer-Encoding contradict each other"
                )
            if not head.minor:
                raise MessageError(400, "HTTP/1.0 has no Transfer-Encoding")
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


_READERS: Mapping[bytes, Callable[[_RequestFields, bytes], bool]] = {
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
_RESPONSE_PASS = frozenset({b"trailer", b"proxy-status"})
# A client cannot have these taken away by naming them in Connection: they are end to end, and
# what is left without them would mean something else.
_KEPT = frozenset(
    {b"host", b"close", b"keep-alive", b"x-request-id", b"idempotency-key", b"cookie"}
)


def without(fields: bytes, named: list[bytes]) -> bytes:
    """Take the fields out that Connection names (RFC 9110 section 7.6.1)."""
    doomed = {name for name in named if name not in _KEPT}
    if not doomed:
        return fields
    lines = fields.split(b"\r\n")[:-1]
    kept = [line for line in lines if line.partition(b":")[0].lower() not in doomed]
    return b"".join(line + b"\r\n" for line in kept)


def parse_response(match: re.Match[bytes], method: bytes) -> ResponseHead:
    """Read a head that `RESPONSE_HEAD` has matched, to a request by `method`.

    Raises:
        MessageError: the head breaks a rule.
    """
    minor, digits, reason, block = match.groups()
    head = ResponseHead(int(digits), reason or b"", block, persistent=minor == b"1")
    kept: list[bytes] = []
    named: list[bytes] = []
    start = 2  # the block begins with the line end of the status line
    chunked = False
    for field in _RESPONSE_FIELD.finditer(block):
        name: bytes = field[1].lower()
        if name in _RESPONSE_PASS:
            continue
        kept.append(block[start : field.start() + 1])
        start = field.end() + 1
        value: bytes = field[2].rstrip(b" \t")
        if name == b"content-length":
            _declare(head, value)
        elif name == b"transfer-encoding":
            if chunked or minor != b"1" or value.lower() != b"chunked":
                raise MessageError(502, "the only transfer coding is chunked, once, in HTTP/1.1")
            chunked = True
        elif name == b"connection":
            named += tokens(value)
        elif name == b"upgrade":
            head.upgrade = value
        elif b"_" in name:
            raise MessageError(502, "a field name with _ that some read as another field")
    kept.append(block[start:])
    head.fields = b"".join(kept)
    if named:
        head.persistent = b"close" not in named and (head.persistent or b"keep-alive" in named)
        head.fields = without(head.fields, named)
    _frame(head, method, chunked=chunked)
    return head


def _declare(head: ResponseHead, value: bytes) -> None:
    if head.declared is not None or not _DIGITS.match(value):
        raise MessageError(502, "malformed or repeated Content-Length")
    head.declared = int(value)


def _frame(head: ResponseHead, method: bytes, *, chunked: bool) -> None:
    """Find the length of a response's body: RFC 9112 section 6.3, in its order."""
    if chunked and head.declared is not None:
        raise MessageError(502, "Content-Length and Transfer-Encoding contradict each other")
    status = head.status
    if method == b"HEAD" or status in (204, 304) or status < 200:  # noqa: PLR2004 - RFC 9110
        head.length = NO_BODY
    elif chunked:
        head.length = CHUNKED
    elif head.declared is not None:
        head.length = head.declared
    else:
        head.persistent = False
