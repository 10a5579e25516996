"""A request's head: what the grammar lets through, and what the proxy needs to know of it.

Pure: bytes in, facts out. There are two ways through this file that must agree, which a property
test holds them to: one regular expression that takes a plain request whole, and a reading field by
field for all others.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

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
    any_of,
    plain_lines,
    tokens,
    without,
)

# RFC 3986 path characters. In a query, browsers send some more as they are (WHATWG URL, query
# percent-encode set), and nobody reads them as anything else: [ ] { } | ^ `
_PATH: Final = rb"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*+"
_ORIGIN: Final = _PATH + rb"(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?\[\]{}|^`]*+)?+"
_ORIGIN_FORM: Final = re.compile(_ORIGIN + rb"\Z")
# RFC 9110 section 7.2: uri-host [":" port]; without userinfo, which no Host may have.
_HOST: Final = rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9\-._~!$&'()*+;=%]{1,255})(?::[0-9]{1,5})?"
HOST: Final = re.compile(_HOST + rb"\Z")
_ABSOLUTE_FORM: Final = re.compile(rb"(?i:https?)://(" + _HOST + rb")([/?].*)?\Z")


_HEAD: Final = re.compile(
    rb"([" + TCHAR + rb"]{1,32}+) ([\x21-\x7e]++) HTTP/([0-9]\.[0-9])(\r\n" + FIELDS + rb")\r\n"
)
# What a client may not say about itself, since backends believe it: where it is, by which name or
# path it came (X-Forwarded-* and kin), and the variables of CGI (RFC 3875 section 4.1), which
# some servers read out of fields of these names. Passed on for peers that are trusted.
_CLAIMS: Final = (
    b"auth-type",
    b"cf-(?:connecting-ip(?:v6)?|ipcountry|visitor)", b"client-ip",
    b"document-(?:root|uri)",
    b"fastly-client-ip", b"front-end-https",
    b"gateway-interface",
    b"https",
    b"path-(?:info|translated)", b"proxy-client-ip",
    b"query-string",
    b"remote-(?:addr|host|ident|port|user)", b"request-(?:method|scheme|uri)",
    b"script-(?:filename|name|uri|url)", b"server-(?:addr|name|port|protocol|software)",
    b"true-client-ip",
    b"wl-proxy-client-ip",
    b"x-(?:appengine-user-ip|azure-(?:clientip|socketip)|client-ip|cluster-client-ip)",
    b"x-(?:envoy-external-address|forwarded(?:-[a-z0-9-]+)?|host|original-[a-z0-9-]+)",
    b"x-(?:originating-ip|proxyuser-ip|real-ip|remote-(?:addr|ip|user)|rewrite-[a-z0-9-]+)",
    b"x-(?:scheme|ssl(?:-[a-z0-9-]+)?|url-scheme)",
)  # fmt: skip
# These never pass: CGI turns `Proxy` into the variable HTTP_PROXY, and we write X-Forwarded-*.
_DROPPED: Final = (b"forwarded", b"proxy")
_OTHERS: Final = (
    b"connection", b"content-length", b"cookie", b"expect", b"host", b"http2-settings",
    b"idempotency-key", b"keep-alive", b"max-forwards",
    b"proxy-(?:connection|authorization|authenticate)", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"via", b"x-request-id",
)  # fmt: skip
_SPECIAL: Final = (*_OTHERS, *_DROPPED, *_CLAIMS)
_ODD_NAME: Final = rb"-[^:\r]*+|[^:\r]*?(?:[!#$%&'*+.^_`|~]|--|-(?=:))[^:\r]*+"
_FIELD: Final = re.compile(
    rb"\n((?:" + any_of(_SPECIAL) + rb")(?=:)|" + _ODD_NAME + rb"):[ \t]*+([^\r]*+)\r"
)
_IS_CLAIM: Final = re.compile(rb"(?:" + any_of(_CLAIMS) + rb")\Z")
# Names that some server takes for another one, since it drops or replaces punctuation.
_LOOK_ALIKES: Final = frozenset({
    b"connection", b"contentlength", b"expect", b"host", b"keepalive", b"te", b"trailer",
    b"transferencoding", b"upgrade", b"xforwardedfor", b"xforwardedhost", b"xforwardedport",
    b"xforwardedproto", b"xforwardedserver", b"xrealip", b"xrequestid",
})  # fmt: skip
_PUNCTUATION: Final = re.compile(rb"[" + PUNCTUATION + rb"]++")


def _plain_head(special: Iterable[bytes]) -> re.Pattern[bytes]:
    """A pattern for a head in which only a few fields are of interest, as in most requests."""
    plain = plain_lines(special)
    return re.compile(
        rb"([A-Z]{3,7}+) (" + _ORIGIN + rb") HTTP/1\.1\r\n"
        rb"(" + plain + rb"[hH]ost: ?(" + _HOST + rb")\r\n" + plain + rb")"
        rb"(?:[cC]onnection: ?[kK]eep-[aA]live\r\n)?+(" + plain + rb")"
        rb"(?:[cC]ontent-[lL]ength: ?([0-9]{1,18}+)\r\n(" + plain + rb"))?+"
        rb"(?:([xX]-[rR]equest-[iI][dD]): ?([A-Za-z0-9._~:+/=@-]{1,128}+)\r\n("
        + plain
        + rb"))?+\r\n"
    )


_PLAIN: Final = _plain_head(_SPECIAL)
_PLAIN_WITH_COOKIES: Final = _plain_head(one for one in _SPECIAL if one != b"cookie")
# Tunnels for these only: through one for h2c, requests would pass that nobody has checked.
_UPGRADES: Final = frozenset({b"websocket"})


class RequestHead(msgspec.Struct, gc=False):
    """What the proxy needs to know of a request.

    Attributes:
        method: as it was sent.
        target: in origin form, or `*`.
        minor: 1 for HTTP/1.1, 0 for HTTP/1.0.
        fields: the field lines that pass on, each with its line end.
        size: of the head, in bytes.
        host: the Host field; None only in HTTP/1.0.
        length: bytes of the body, or CHUNKED.
        persistent: whether the client's connection may carry another request.
        request_id: a usable `X-Request-Id`, or None.
        upgrade: the protocol that the client would rather speak, lower case, or None.
        expect: whether the client waits for `100 Continue`.
        claims: the lines that only a trusted peer may have passed on, each with its line end.
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
    size: int
    host: bytes | None = None
    length: int = NO_BODY
    persistent: bool = True
    request_id: bytes | None = None
    upgrade: bytes | None = None
    expect: bool = False
    claims: bytes = b""
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


def _to_origin_form(head: RequestHead) -> None:
    """Check the target, and bring it into origin form (RFC 9112 section 3.2).

    A target in absolute form also names the host, for HTTP/1.0 requests without a Host field.

    Raises:
        MessageError: the method may not have such a target, or it contradicts Host.
    """
    target = head.target
    if _ORIGIN_FORM.match(target):
        return
    if target == b"*":
        if head.method == b"OPTIONS":
            return
        raise MessageError(400, "target * is for OPTIONS alone")
    absolute = _ABSOLUTE_FORM.match(target)
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
    if not _ORIGIN_FORM.match(path):
        raise MessageError(400, "malformed request target")
    head.target = path


def read_request(data: bytes, *, cookies: bool, underscores: bool = False) -> RequestHead | None:
    """Read the head that `data` begins with; None if there is none, or not all of it.

    Args:
        data: what has come so far.
        cookies: whether the Cookie field is of interest.
        underscores: whether fields with `_` in their name pass on; else they are dropped.

    Raises:
        MessageError: the head breaks a rule; the error says which and which status it earns.
    """
    match = (_PLAIN if cookies else _PLAIN_WITH_COOKIES).match(data)
    if match is None:
        return read_any_request(data, underscores=underscores)
    method, target, fields, host, further, digits, more, name, request_id, last = match.groups()
    if further:
        fields += further
    if more:
        fields += more
    if name:
        fields = b"%b%b: %b\r\n%b" % (fields, name, request_id, last)
    if method == b"CONNECT":
        raise MessageError(501, "CONNECT is not supported")
    if digits is None:
        return RequestHead(method, target, 1, fields, match.end(), host, request_id=request_id)
    length = int(digits)
    if length and method == b"TRACE":
        raise MessageError(400, "TRACE has no body")
    return RequestHead(
        method, target, 1, fields, match.end(), host, length, request_id=request_id, declared=True
    )


def read_any_request(data: bytes, *, underscores: bool = False) -> RequestHead | None:
    """The same, field by field."""
    match = _HEAD.match(data)
    if match is None:
        return None
    method, target, version, block = match.groups()
    if version not in (b"1.1", b"1.0"):
        raise MessageError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
    head = RequestHead(method, target, 1, block, match.end())
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
        for match in _FIELD.finditer(block):
            name: bytes = match[1].lower()
            value: bytes = match[2].rstrip(b" \t")
            if self._take(name, value):
                continue
            kept.append(block[start : match.start() + 1])
            start = match.end() + 1
            if name not in _READERS and _IS_CLAIM.match(name):
                head.claims += b"%b: %b\r\n" % (match[1], value)
        kept.append(block[start:])
        head.fields = b"".join(kept) if len(kept) > 1 else kept[0]
        self._settle()

    def _take(self, name: bytes, value: bytes) -> bool:
        """Note one field; returns whether its line passes on as it is."""
        reader = _READERS.get(name)
        if reader is not None:
            return reader(self, value)
        if _IS_CLAIM.match(name):
            return False
        if name in _UNREAD:
            return False
        if _PUNCTUATION.sub(b"", name) in _LOOK_ALIKES:
            raise MessageError(400, "a field name that some read as another field")
        if b"_" in name:
            # CGI turns `-` into `_`, so that this name would stand for two fields.
            return self._underscores and not _IS_CLAIM.match(name.replace(b"_", b"-"))
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
