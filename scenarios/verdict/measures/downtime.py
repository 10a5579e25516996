"""Availability and stretches of downtime, in the words of the verdict's model."""

from collections.abc import Iterable, Iterator

from scenarios.verdict.measures.slo import (
    SLOT_SECONDS,
    Ordered,
    Window,
    availability_text,
    count_slots,
    downtime_windows,
    failure_rate_upper,
    merge_gap_ns,
    smallest_detectable_outage,
)
from scenarios.verdict.model import Availability, Downtime, Requests, Slots


def availability_of(requests: Ordered, counts: Requests, replicas: int) -> Availability:
    """How available the service was.

    Args:
        requests: all requests that were sent.
        counts: how many of them succeeded and failed.
        replicas: how many replicas were to serve.
    """
    sent = counts.ok + counts.failed
    slots = count_slots(requests, int(SLOT_SECONDS * 1e9))
    seen = slots.good + slots.bad
    span = requests.span_ns / 1e9
    return Availability(
        text=availability_text(counts.ok, sent),
        request_based=counts.ok / sent if sent else None,
        time_based=slots.good / seen if seen else None,
        failure_rate_upper_95=failure_rate_upper(counts.failed, sent),
        smallest_detectable_outage_seconds=smallest_detectable_outage(sent, span),
        smallest_detectable_outage_one_replica_seconds=smallest_detectable_outage(
            sent, span, share=1 / max(replicas, 1)
        ),
        slots=Slots(seconds=SLOT_SECONDS, good=slots.good, bad=slots.bad, no_data=slots.no_data),
    )


def downtime_of(requests: Ordered, origin_ns: int) -> tuple[Downtime, ...]:
    """The stretches of failures of all requests, by time.

    Args:
        requests: all requests that were sent.
        origin_ns: the instant 0.0 of the run.
    """
    return tuple(_windows(requests, origin_ns))


def downtime_by_endpoint(
    requests: Iterable[tuple[tuple[str, str], Ordered]], origin_ns: int
) -> tuple[Downtime, ...]:
    """The stretches of failures of each endpoint and kind of connection.

    Args:
        requests: those by endpoint and kind of connection.
        origin_ns: the instant 0.0 of the run.
    """
    found = {key: tuple(_windows(mine, origin_ns, *key)) for key, mine in requests}
    return tuple(window for key in sorted(found) for window in found[key])


def _windows(
    requests: Ordered, origin_ns: int, endpoint: str | None = None, connection: str | None = None
) -> Iterator[Downtime]:
    for window in downtime_windows(requests, merge_gap_ns(requests)):
        yield _downtime(window, origin_ns, endpoint, connection)


def _downtime(
    window: Window, origin_ns: int, endpoint: str | None, connection: str | None
) -> Downtime:
    def at(at_ns: int | None) -> float | None:
        return None if at_ns is None else (at_ns - origin_ns) / 1e9

    bounded = window.before_ns is not None and window.after_ns is not None
    return Downtime(
        start=(window.first_ns - origin_ns) / 1e9,
        start_earliest=at(window.before_ns),
        end_lower=(window.last_ns - origin_ns) / 1e9,
        end_upper=at(window.after_ns),
        seconds_lower=(window.last_ns - window.first_ns) / 1e9,
        seconds_upper=((window.after_ns or 0) - (window.before_ns or 0)) / 1e9 if bounded else None,
        peak_error_ratio=window.peak,
        failed=window.failed,
        requests=window.requests,
        endpoint=endpoint,
        connection=connection,
    )
