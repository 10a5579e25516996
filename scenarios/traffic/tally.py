"""Counting what happened between two ticks. Pure: it is told everything, the time included."""

import re
from collections import Counter
from collections.abc import Sequence

from scenarios.evidence.outcome import Outcome
from scenarios.evidence.tick import Tick

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
    return f"status:{outcome.status}"


class Tally:
    """Counts until the next tick; memory is that of one interval's requests."""

    def __init__(self, *, at_ns: int, cpu_ns: int) -> None:
        self._since_ns = at_ns
        self._cpu_ns = cpu_ns
        self._clear()

    def planned(self, lag_ns: int | None) -> None:
        """A request's time has come; `lag_ns` is how late it is sent, None if it is not."""
        self._planned += 1
        if lag_ns is not None:
            self._lags.append(lag_ns)

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
        self._latencies.append(outcome.done_ns - outcome.planned_ns)

    def tick(self, *, at_ns: int, cpu_ns: int, in_flight: int) -> Tick:
        """The interval that ends now; counting begins anew.

        Args:
            at_ns: now, on the monotonic clock.
            cpu_ns: the processor time that this process has used so far.
            in_flight: requests under way now.
        """
        elapsed_ns = max(at_ns - self._since_ns, 1)
        self._latencies.sort()
        self._lags.sort()
        tick = Tick(
            at_ns=at_ns,
            seconds=elapsed_ns / 1e9,
            planned=self._planned,
            ok=self._ok,
            failed=self._failed,
            undispatched=self._undispatched,
            in_flight=in_flight,
            p50_seconds=quantile(self._latencies, 0.5),
            p99_seconds=quantile(self._latencies, 0.99),
            schedule_lag_p99_seconds=quantile(self._lags, 0.99),
            cpu=(cpu_ns - self._cpu_ns) / elapsed_ns,
            failures=dict(self._failures),
            served_by=dict(self._served_by),
        )
        self._since_ns = at_ns
        self._cpu_ns = cpu_ns
        self._clear()
        return tick

    def _clear(self) -> None:
        self._planned = 0
        self._ok = 0
        self._failed = 0
        self._undispatched = 0
        self._latencies: list[int] = []
        self._lags: list[int] = []
        self._failures: Counter[str] = Counter()
        self._served_by: Counter[str] = Counter()


def quantile(ordered_ns: Sequence[int], share: float) -> float | None:
    """The smallest value that at least `share` of them do not exceed, in seconds (nearest rank)."""
    if not ordered_ns:
        return None
    rank = -int(-share * len(ordered_ns) // 1)  # rounded up
    return ordered_ns[max(rank, 1) - 1] / 1e9
