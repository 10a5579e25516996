"""Lines of a service's own logs that tell of requests, as recorded in `log-lines.ndjson`."""

from typing import Literal

import msgspec

Family = Literal["nginx", "haproxy", "envoy", "traefik", "caddy"]
"""Whose logs are read."""

Confidence = Literal["certain", "likely", "symptom"]

COMPLETE = "complete"
CLIENT_GONE = "client_gone"
UNKNOWN = "unknown"


class ServiceLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one line says of one request.

    Attributes:
        source: the log that has it.
        family: whose format it has.
        tells: `access`: the line of a request; `error`: why one failed.
        at_ns: the stamp of the line: nanoseconds since 1970 as it was read, on the machine's
            monotonic clock as recorded.
        stamped: whether the stamp is that of the request's begin or of its end.
        resolution_ns: how exact the stamp is.
        request_id: the id that hitless gave the request; empty if the line does not have it.
        method: of the request; empty where the line does not name the request.
        path: its target without the query.
        status: of the response; 0 if none was sent, or if the line does not say.
        upstream: whom the proxy asked last, such as `10.0.0.7:9000`.
        upstream_status: what that one answered; absent if it did not, or the line does not say.
        attempts: how many upstreams were asked; absent if the line does not say.
        end: why the exchange ended: `complete`, `client_gone`, an error type of RFC 9209, or
            `unknown`.
        confidence: how sure the line is of `end`.
        reason: the log's own words for a failure.
        connection: what lines about the same request have in common, where they have no id.
        total_ns: how long the exchange took; -1 if the line does not say.
    """

    source: str = ""
    family: Family
    tells: Literal["access", "error"] = "access"
    at_ns: int
    stamped: Literal["begin", "end"] = "end"
    resolution_ns: int
    request_id: str = ""
    method: str = ""
    path: str = ""
    status: int = 0
    upstream: str | None = None
    upstream_status: int | None = None
    attempts: int | None = None
    end: str = COMPLETE
    confidence: Confidence = "certain"
    reason: str | None = None
    connection: str | None = None
    total_ns: int = -1

    @property
    def failed(self) -> bool:
        """Whether it tells of a server error, or of a response that did not come about."""
        return self.end != COMPLETE or self.status >= 500  # noqa: PLR2004 - RFC 9110
