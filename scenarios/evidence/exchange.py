"""One line of the balancer's access log, `balancer.ndjson`, as far as a verdict uses it."""

import msgspec


class ExchangeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
