"""Counting what happened between two ticks. Pure: it is told everything, the time included."""

import re
from collections import Counter
from collections.abc import Sequence

import msgspec

from scenarios.evidence.outcome import Outcome
from scenarios.evidence.tick import Tick
from scenarios.traffic.histogram import Histogram

# RFC 9209, section 2.1.1: the parameter that names what the proxy saw.
_PROXY_ERROR = re.compile(r";\s*error=\"?([a-z_]+)")


def first_sight(outcome: Outcome) -> str:
    """The cause of a failed request as far as its own line tells, as a cause id."""
    if outcome.error is not None:
        return f"transport:{outcome.error}"
    if outcome.proxy_status is not None:
        match = _PROXY_ERROR.search(outcome.proxy_status)
        if match is not None:
            error = match[1]
            return "no_backend" if error == "destination_unavailable" else f"balancer:{error}"
    if outcome.sqlstate is not None:
        return f"sqlstate:{outcome.sqlstate}"
    if outcome.mismatch is not None:
        return "unexpected_answer"
    return f"status:{outcome.status}"


class Interval(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="interval"):
    """A tick, and the durations behind its quantiles, so that ticks can be merged.

    Attributes:
        tick: what is printed and recorded.
        latencies: of the requests that ended, from their planned times, without those over which
            their users took their time.
        lags: how late requests were sent.
    """

    tick: Tick
    latencies: Histogram
    lags: Histogram


def merge(intervals: Sequence[Interval], *, at_ns: int, seconds: float, in_flight: int) -> Interval:
    """The intervals of several processes, or several of one, as one.

    Args:
        intervals: what each of them counted.
        at_ns: the end of the whole.
        seconds: its length.
        in_flight: requests under way at its end.
    """
    latencies, lags = Histogram(), Histogram()
    failures: Counter[str] = Counter()
    served_by: Counter[str] = Counter()
    for interval in intervals:
        latencies.add(interval.latencies)
        lags.add(interval.lags)
        failures.update(interval.tick.failures)
        served_by.update(interval.tick.served_by)
    ticks = [interval.tick for interval in intervals]
    tick = Tick(
        at_ns=at_ns,
        seconds=seconds,
        planned=sum(tick.planned for tick in ticks),
        ok=sum(tick.ok for tick in ticks),
        failed=sum(tick.failed for tick in ticks),
        undispatched=sum(tick.undispatched for tick in ticks),
        in_flight=in_flight,
        p50_seconds=latencies.quantile(0.5),
        p99_seconds=latencies.quantile(0.99),
        schedule_lag_p99_seconds=lags.quantile(0.99),
        # One process that has no processor left is late, whatever the others do.
        cpu=max((tick.cpu for tick in ticks), default=0.0),
        failures=dict(failures),
        served_by=dict(served_by),
    )
    return Interval(tick=tick, latencies=latencies, lags=lags)


class IntervalCounter:
    """Counts until the next tick; memory is that of the distinct durations of one interval."""

    def __init__(self, *, at_ns: int, cpu_ns: int) -> None:
        self._since_ns = at_ns
        self._cpu_ns = cpu_ns
        self._clear()

    def planned(self, lag_ns: int | None) -> None:
        """A request's time has come; `lag_ns` is how late it is sent, None if it is not."""
        self._planned += 1
        if lag_ns is not None:
            self._lags.record(lag_ns)

    def ended(self, outcome: Outcome) -> None:
        """A request's outcome is known."""
        if not outcome.dispatched:
            self._undispatched += 1
            return
        if outcome.ok:
            self._ok += 1
        else:
            self._failed += 1
            self._failures[first_sight(outcome)] += 1
        if outcome.served_by is not None:
            self._served_by[outcome.served_by] += 1
        if not outcome.paced:
            self._latencies.record(outcome.done_ns - outcome.planned_ns)

    def tick(self, *, at_ns: int, cpu_ns: int, in_flight: int) -> Interval:
        """The interval that ends now; counting begins anew.

        Args:
            at_ns: now, on the monotonic clock.
            cpu_ns: the processor time that this process has used so far.
            in_flight: requests under way now.
        """
        elapsed_ns = max(at_ns - self._since_ns, 1)
        tick = Tick(
            at_ns=at_ns,
            seconds=elapsed_ns / 1e9,
            planned=self._planned,
            ok=self._ok,
            failed=self._failed,
            undispatched=self._undispatched,
            in_flight=in_flight,
            p50_seconds=self._latencies.quantile(0.5),
            p99_seconds=self._latencies.quantile(0.99),
            schedule_lag_p99_seconds=self._lags.quantile(0.99),
            cpu=(cpu_ns - self._cpu_ns) / elapsed_ns,
            failures=dict(self._failures),
            served_by=dict(self._served_by),
        )
        interval = Interval(tick=tick, latencies=self._latencies, lags=self._lags)
        self._since_ns = at_ns
        self._cpu_ns = cpu_ns
        self._clear()
        return interval

    def _clear(self) -> None:
        self._planned = 0
        self._ok = 0
        self._failed = 0
        self._undispatched = 0
        self._latencies = Histogram()
        self._lags = Histogram()
        self._failures: Counter[str] = Counter()
        self._served_by: Counter[str] = Counter()
