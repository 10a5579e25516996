"""One line of the router's access log, `balancer.ndjson`, as far as a verdict uses it.

Our own balancer writes it; the log of any other router is translated into it.
"""

from typing import Literal

import msgspec


class ExchangeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One exchange in the log of the balancer; further fields of the log are ignored.

    Attributes:
        at_ns: when the request arrived, on the machine's monotonic clock.
        request_id: the id of the request, which the client's evidence has, too.
        status: the status of the response to the client.
        backend: the last replica that the request was sent to.
        version: the version of that replica.
        attempts: how many replicas the request was sent to.
        end: why the exchange ended.
        wait_ns: how long it waited for a replica; -1 if not known, as for all durations.
        connect_ns: how long the connection to the replica took.
        first_byte_ns: how long the replica took until its first byte.
        total_ns: how long the whole exchange took.
        reused: whether the connection to the replica was a reused one.
        resent: whether it was sent again, because a replica closed the connection under it.
        reason: why the exchange was not complete, in the words of another router's log.
        confidence: how certain `end` is, with another router.
        resolution_ns: the resolution of the stamps in another router's log; 0 with our balancer.
        upstream_status: what the replica answered, where the log of a watched service says it.
        joined: how the lines of a watched service's logs were found: by the request's `id`, or by
            `time`, method, path and status; absent in a run of our own.
    """

    at_ns: int
    request_id: str
    status: int | None = None
    backend: str | None = None
    version: str | None = None
    attempts: int = 0
    end: str | None = None
    wait_ns: int = -1
    connect_ns: int = -1
    first_byte_ns: int = -1
    total_ns: int = -1
    reused: bool = False
    resent: bool = False
    reason: str | None = None
    confidence: Literal["certain", "likely", "symptom"] = "certain"
    resolution_ns: int = 0
    upstream_status: int | None = None
    joined: Literal["id", "time"] | None = None

    @property
    def foreign(self) -> bool:
        """Whether it comes from the log of a router that is not ours."""
        return self.resolution_ns > 0
