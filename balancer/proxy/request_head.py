"""What the proxy needs to know of a request. `balancer.proxy.request_parser` reads it."""

from balancer.proxy.grammar import NO_BODY


class RequestHead:
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

    __slots__ = (
        "claims",
        "cookie",
        "declared",
        "expect",
        "fields",
        "forwarded_for",
        "forwarded_host",
        "forwarded_proto",
        "host",
        "idempotency_key",
        "length",
        "max_forwards",
        "method",
        "minor",
        "persistent",
        "plain",
        "request_id",
        "size",
        "target",
        "trailers",
        "upgrade",
        "via",
    )

    def __init__(  # noqa: PLR0917 - names of arguments would cost something with every request
        self,
        method: bytes,
        target: bytes,
        fields: bytes,
        size: int,
        host: bytes | None,
        request_id: bytes | None,
    ) -> None:
        self.method = method
        self.target = target
        self.minor = 1
        self.fields = fields
        self.size = size
        self.host = host
        self.length = NO_BODY
        self.persistent = True
        self.request_id = request_id
        self.upgrade: bytes | None = None
        self.expect = False
        self.claims = b""
        self.forwarded_for: bytes | None = None
        self.forwarded_proto: bytes | None = None
        self.forwarded_host: bytes | None = None
        self.via: bytes | None = None
        self.cookie: bytes | None = None
        self.idempotency_key = False
        self.max_forwards: int | None = None
        self.trailers = False
        self.declared = False
        self.plain = True
