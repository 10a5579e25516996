"""The fields that tell a backend about its client: X-Forwarded-For, -Proto, -Host, and Via."""

from balancer.proxy.request_head import RequestHead


class ForwardedFields:
    """Writes these fields for the requests of one client connection.

    Args:
        peer: the IP address of the client.
        trusted: whether to believe what the client says about those before it.
    """

    __slots__ = ("_last", "_last_host", "_peer", "_trusted", "_untrusted_part")

    def __init__(self, peer: str, *, trusted: bool) -> None:
        self._peer = peer.encode("ascii")
        self._trusted = trusted
        self._untrusted_part = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\n" % self._peer
        self._last = b""
        self._last_host: bytes | None = None

    def fields(self, head: RequestHead) -> bytes:
        """The field lines for one request, each with its line end."""
        if head.host == self._last_host and head.via is None and head.minor and self._last:
            return self._last  # most clients name the same host again and again
        via = b"1.1 hitless" if head.minor else b"1.0 hitless"
        if head.via is not None:
            via = head.via + b", " + via
        if self._trusted:
            return self._extended(head, via)
        host = head.host
        if host is None:
            return b"%bVia: %b\r\n" % (self._untrusted_part, via)
        lines = b"%bX-Forwarded-Host: %b\r\nVia: %b\r\n" % (self._untrusted_part, host, via)
        if head.via is None and head.minor:
            self._last_host, self._last = host, lines
        return lines

    def _extended(self, head: RequestHead, via: bytes) -> bytes:
        """Keep what a trusted peer said, and add that peer to the chain."""
        chain = head.forwarded_for
        host = head.forwarded_host or head.host
        return b"%bX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n%bVia: %b\r\n" % (
            head.claims,
            self._peer if chain is None else chain + b", " + self._peer,
            head.forwarded_proto or b"http",
            b"" if host is None else b"X-Forwarded-Host: %b\r\n" % host,
            via,
        )
