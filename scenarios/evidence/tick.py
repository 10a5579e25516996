"""The load generator's account of itself, a few times a second, as recorded in `ticks.ndjson`.

It feeds the live dashboard, and it is the evidence that the generator itself kept up: a run whose
generator fell behind says nothing about the application.
"""

from collections.abc import Mapping

import msgspec


class Tick(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happened since the previous tick; counts are of this interval only.

    Attributes:
        at_ns: the end of the interval.
        seconds: its length.
        planned: requests whose planned time fell into it.
        ok: requests that succeeded in it.
        failed: requests that failed in it.
        undispatched: requests that could not be sent.
        in_flight: requests under way at its end.
        p50_seconds: the median latency of those that ended, from their planned time.
        p99_seconds: the 99th percentile of the same latencies.
        schedule_lag_p99_seconds: how late requests were sent, 99th percentile.
        cpu: the generator's processor time over wall time: 1.0 is a saturated generator.
        failures: failed requests by their symptom, such as `503 no_backend`.
        served_by: ended requests by the replica that answered.
    """

    at_ns: int
    seconds: float
    planned: int = 0
    ok: int = 0
    failed: int = 0
    undispatched: int = 0
    in_flight: int = 0
    p50_seconds: float | None = None
    p99_seconds: float | None = None
    schedule_lag_p99_seconds: float | None = None
    cpu: float = 0.0
    failures: Mapping[str, int] = msgspec.field(default_factory=dict)
    served_by: Mapping[str, int] = msgspec.field(default_factory=dict)
