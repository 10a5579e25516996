"""One request's outcome: what was sent, what came back, and when.

The load generator writes one line of `requests.ndjson` for each request that the schedule
planned, also for those that it could not send. Everything that the verdict says about requests is
computed from these lines.

All stamps are `time.monotonic_ns()` of the machine, so that they compare with the stamps of every
other process of the run.
"""

import msgspec


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The outcome of one planned request.

    Attributes:
        request_id: sent as `X-Request-Id`; joins this line with the evidence of the balancer, the
            application and the database.
        journey: the name of the request's journey, such as `subscribe`.
        endpoint: method and path without the query, such as `GET /subscriptions/confirm`.
        connection: `new` when the request opened its connection, `reused` otherwise.
        planned_ns: when the schedule wanted it sent; latency counts from here, so that a stalled
            generator or a stalled system cannot hide (no coordinated omission).
        sent_ns: when its first byte was written; absent if it never was.
        first_byte_ns: when the first byte of the response arrived; absent if none did.
        done_ns: when the outcome was known.
        status: the status of the complete response; absent if none arrived.
        expected: the statuses that count as success for this request.
        error: why there is no complete response: `connect_refused`, `connect_timeout`, `reset`,
            `eof` (closed without a complete response), `timeout`, `malformed`, `tls` (no
            encrypted connection came about), `unprocessed` (HTTP/2: the server says that it has
            not processed it, so that it is safe to retry), `undispatched` (the generator never sent
            it). Absent when there is a complete response.
        errno: the number of the generator's own error, such as 24 (EMFILE), if it had one.
        error_detail: the message of the error.
        served_by: the replica named by `X-Served-By`.
        proxy_status: the `Proxy-Status` field (RFC 9209): why the balancer answered, not a replica.
        sqlstate: the code of the database's error, from the `application/problem+json` body.
        problem: the `title` of that body.
        mismatch: how the response differs from the expected one, although its status fits.
        subject: what the request was about, such as the email address, so that the final state
            can be checked against it.
        cause_id: the `request_id` of the request that led to this one, such as the subscription
            whose mail was clicked.
        user: the user who sent it, if that user stays for the whole run; absent for arrivals.
        paced: whether the user made it slow (a throttled upload or download, a websocket); its
            duration then says nothing about the service.
        closed: the close code with which the server ended a websocket whose client reconnects;
            1006 if it broke off. Absent if the client closed it.
        reopens: whether the client reconnected with it; `cause_id` is the request before.
        missed: how many messages its client missed, by their numbers.
        http2: whether it was sent over HTTP/2.
        value: what the request sent as the value of its subject, so that the stored one can be
            compared with it.
        shape: what the JSON answer looks like: the name of a list of paths and types. Not every
            answer is looked at.
        shape_values: that list, as `path type`; it is in the first outcome of each shape of each
            process of the load generator.
    """

    request_id: str
    journey: str
    endpoint: str
    connection: str
    planned_ns: int
    done_ns: int
    expected: tuple[int, ...]
    sent_ns: int | None = None
    first_byte_ns: int | None = None
    status: int | None = None
    error: str | None = None
    error_detail: str | None = None
    served_by: str | None = None
    proxy_status: str | None = None
    sqlstate: str | None = None
    problem: str | None = None
    mismatch: str | None = None
    subject: str | None = None
    cause_id: str | None = None
    user: str | None = None
    paced: bool = False
    errno: int | None = None
    closed: int | None = None
    reopens: bool = False
    missed: int = 0
    http2: bool = False
    value: str | None = None
    shape: str | None = None
    shape_values: tuple[str, ...] | None = None

    @property
    def ok(self) -> bool:
        """Whether a complete response with an expected status arrived, and no check failed."""
        return self.error is None and self.status in self.expected and self.mismatch is None

    @property
    def latency_seconds(self) -> float:
        """Seconds from the planned time until the outcome was known."""
        return (self.done_ns - self.planned_ns) / 1e9

    def slower_than(self, seconds: float) -> bool:
        """Whether it took longer than that, and it was not its user who wanted it so."""
        return not self.paced and self.latency_seconds > seconds

    @property
    def dispatched(self) -> bool:
        """Whether the generator got to send it."""
        return self.error != "undispatched"
