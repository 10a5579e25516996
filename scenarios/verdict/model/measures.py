"""What was measured: counts, availability, latency and downtime."""

import msgspec


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the planned requests: `planned = ok + failed + undispatched`.

    Attributes:
        planned: how many requests were planned.
        ok: how many got a complete response with an expected status.
        failed: how many were sent and got no such response.
        slow: how many are ok but took longer than the latency objective. Requests that the user
            makes slow (a throttled upload or download, a websocket) do not count.
        undispatched: how many the generator could not send.
        unknown: how many failed but may have taken effect, such as a POST that timed out.
    """

    planned: int = 0
    ok: int = 0
    failed: int = 0
    slow: int = 0
    undispatched: int = 0
    unknown: int = 0


class Slots(msgspec.Struct, frozen=True, kw_only=True):
    """The run, divided into time slots of equal length.

    Attributes:
        seconds: the length of a slot.
        good: how many slots have requests that all succeeded.
        bad: how many slots have a failed request.
        no_data: how many slots have no request; they are neither good nor bad.
    """

    seconds: float
    good: int
    bad: int
    no_data: int


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """How available the service was, and how much of that is known.

    Attributes:
        text: the availability in words; they never say 100 %.
        request_based: ok / (ok + failed); absent without requests.
        time_based: good slots / (good + bad slots); absent without requests.
        failure_rate_upper_95: the exact one-sided 95 % upper bound of the failure rate.
        smallest_detectable_outage_seconds: an outage of every replica of this length meets a
            request with 95 % probability; a shorter one may have gone undetected.
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
        request_id: its id.
        endpoint: its method and path.
        at: its planned time.
        seconds: its latency, counted from its planned time.
        ok: whether it succeeded in the end.
        replica: the replica that answered it, if that is known.
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
    """Exact percentiles (nearest rank) of the requests that were sent, from their planned times.

    Requests that the user makes slow (a throttled upload or download, a websocket) do not count,
    since their duration says nothing about the service. `slowest` does not list them, either.
    """

    p50: float | None
    p99: float | None
    p999: float | None
    max: float | None
    slowest: tuple[SlowRequest, ...] = ()


class Downtime(msgspec.Struct, frozen=True, kw_only=True):
    """A period of failures, by the planned times of the requests.

    It lasted at least from `start` to `end_lower`, and at most from `start_earliest` to
    `end_upper`.

    Attributes:
        start: the time of the first failed request.
        start_earliest: the time of the last success before it; absent if there was none.
        end_lower: the time of the last failed request.
        end_upper: the time of the first success after it; absent if there was none.
        seconds_lower: `end_lower - start`.
        seconds_upper: `end_upper - start_earliest`; absent if one of them is absent.
        peak_error_ratio: the highest share of failures among ten requests in a row: 1.0 is a full
            outage.
        failed: how many requests failed from `start` to `end_lower`.
        requests: how many requests were planned from `start` to `end_lower`.
        endpoint: the endpoint whose requests are meant; absent if all of the run are meant.
        connection: the kind of connection that is meant; absent likewise.
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
