"""One line of the router's access log, `balancer.ndjson`, as far as a verdict uses it.

Our own balancer writes it; the log of any other router is translated into it.
"""

from typing import Literal

import msgspec


class ExchangeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One exchange as the balancer saw it; fields that it also logs are ignored here.

    Attributes:
        at_ns: when the request arrived, on the machine's monotonic clock.
        request_id: joins it with the client's evidence.
        status: of the response that the client was sent.
        backend: the replica that was asked last.
        version: of that replica.
        attempts: how many replicas were asked.
        end: why the exchange ended.
        wait_ns: how long it waited for a replica; -1 where absent, as for all timers.
        connect_ns: how long the connection to the replica took.
        first_byte_ns: how long the replica took until its first byte.
        total_ns: how long all of it took.
        reused: whether the connection to the replica was a reused one.
        reason: another router's own words for an exchange that was not complete.
        confidence: how sure that router's log is of `end`.
        resolution_ns: how exact that log's stamps are; 0 of our own balancer's.
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
    reason: str | None = None
    confidence: Literal["certain", "likely", "symptom"] = "certain"
    resolution_ns: int = 0

    @property
    def foreign(self) -> bool:
        """Whether it comes from the log of a router that is not ours."""
        return self.resolution_ns > 0
