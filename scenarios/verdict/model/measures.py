"""What was measured: counts, availability, latency and downtime."""

import msgspec


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the planned requests: `planned = ok + failed + undispatched`.

    Attributes:
        planned: what the schedule wanted.
        ok: those that got a complete response with an expected status.
        failed: those that were sent and did not.
        slow: those that are ok but took longer than the latency objective; none over which its user
            took its time, by sending or reading slowly or by staying connected.
        undispatched: those that the generator could not send.
        unknown: failed ones that may have taken effect, such as a POST that timed out.
    """

    planned: int = 0
    ok: int = 0
    failed: int = 0
    slow: int = 0
    undispatched: int = 0
    unknown: int = 0


class Slots(msgspec.Struct, frozen=True, kw_only=True):
    """The run cut into equal slots of time.

    Attributes:
        seconds: the length of one.
        good: slots in which every request succeeded.
        bad: slots in which one did not.
        no_data: slots without any request: neither good nor bad.
    """

    seconds: float
    good: int
    bad: int
    no_data: int


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """How available the service was, and how much of that is known.

    Attributes:
        text: the same for people; never says 100 %.
        request_based: ok / (ok + failed); absent without requests.
        time_based: good slots / (good + bad slots); absent without requests.
        failure_rate_upper_95: the exact one-sided 95 % upper bound of the failure rate.
        smallest_detectable_outage_seconds: an outage of every replica this long meets a request
            with 95 % probability; a shorter one may have gone unseen.
        smallest_detectable_outage_one_replica_seconds: the same for one replica of the set.
        slots: what `time_based` is computed from.
    """

    text: str
    request_based: float | None
    time_based: float | None
    failure_rate_upper_95: float
    smallest_detectable_outage_seconds: float | None
    smallest_detectable_outage_one_replica_seconds: float | None
    slots: Slots


class SlowRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One of the slowest requests.

    Attributes:
        request_id: which.
        endpoint: what it asked for.
        at: its planned time.
        seconds: its latency from that time.
        ok: whether it succeeded in the end.
        replica: who answered, when known.
        step: what the rollout was doing when it was planned.
    """

    request_id: str
    endpoint: str
    at: float
    seconds: float
    ok: bool
    replica: str | None
    step: str


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Exact percentiles, by nearest rank, of the requests that were sent, from their planned times.

    Without those over which their users took their time: how long they took says nothing of the
    service. They are none of the slowest, either.
    """

    p50: float | None
    p99: float | None
    p999: float | None
    max: float | None
    slowest: tuple[SlowRequest, ...] = ()


class Downtime(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of failures, by the planned times of the requests.

    What is known: it lasted from `start` to `end_lower`. What is possible: from `start_earliest`
    to `end_upper`.

    Attributes:
        start: the first failed request.
        start_earliest: the last good one before; absent when there was none.
        end_lower: the last failed request.
        end_upper: the first good one after; absent when there was none.
        seconds_lower: `end_lower - start`.
        seconds_upper: `end_upper - start_earliest`; absent when either is.
        peak_error_ratio: the highest share of failures among ten requests in a row: 1.0 is a full
            outage.
        failed: failed requests in it.
        requests: all requests from `start` to `end_lower`.
        endpoint: of which requests; absent when all of the run's are meant.
        connection: the same for the kind of connection.
    """

    start: float
    start_earliest: float | None
    end_lower: float
    end_upper: float | None
    seconds_lower: float
    seconds_upper: float | None
    peak_error_ratio: float
    failed: int
    requests: int
    endpoint: str | None = None
    connection: str | None = None
