"""Passive health checks: backends that fail live requests are ejected for a while.

Pure. Once a second the balancer passes the counters of all backends; a window of the last ten
seconds is the difference between the newest and the oldest. Failures in a row are looked at with
each failure. A backend is ejected when

- it failed `consecutive` times in a row, or
- its failure rate in the window is at least `failure_rate`, and twice that of the others, or
- its median latency in the window is at least `latency_factor` times that of the others.

A failure is a connection that broke, an answer that was malformed, incomplete or too late; an
application's own 5xx count only if the policy says so, since they are often the request's fault.
The n-th ejection lasts n times `seconds`, at most 300 s, and never takes the last backend (Envoy's
outlier detection; the pool refuses the last).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from balancer.backend import Backend
from balancer.statistics import BOUNDS

_LONGEST_SECONDS = 300.0
_WINDOW = 10
# Fewer requests than this in a window say nothing about a rate or a median.
_LEAST_REQUESTS = 20


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    """When live traffic takes a backend out.

    Attributes:
        consecutive: failures in a row; 0 turns this reason off, as it does for the next two.
        failure_rate: share of failed requests in the window.
        latency_factor: median latency over the others' median.
        seconds: the length of the first ejection.
        share: the part of all backends that may be ejected at once; one always may.
        count_5xx: whether 5xx are failures.
    """

    consecutive: int = 5
    failure_rate: float = 0.5
    latency_factor: float = 0.0
    seconds: float = 10.0
    share: float = 0.5
    count_5xx: bool = False


_Sample = tuple[int, int, tuple[int, ...]]
"""How many requests, how many of them failed, and the buckets of their latencies."""


@dataclass(slots=True)
class _Record:
    samples: deque[_Sample] = field(default_factory=lambda: deque(maxlen=_WINDOW + 1))
    ejections: int = 0
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class EjectionDecision:
    """What to do with one backend.

    Attributes:
        backend: which.
        reason: why it is to be ejected; None when its ejection is over.
    """

    backend: Backend
    reason: str | None


class OutlierDetector:
    """Looks at all backends once a second."""

    def __init__(self, policy: OutlierPolicy) -> None:
        self._policy = policy
        self._records: dict[Backend, _Record] = {}
        self._fleet: list[Backend] = []

    def sweep(self, backends: Iterable[Backend], now: float) -> list[EjectionDecision]:
        """Move the window on, and judge all backends; called once a second.

        Args:
            backends: those that are up.
            now: seconds on any clock that only goes forward.
        """
        fleet = list(backends)
        if fleet != self._fleet:
            self._fleet = fleet
            self._records = {one: self._records.get(one) or _Record() for one in fleet}
        # Without a call for each: there may be ten thousand of them, once a second.
        count_5xx, latencies = self._policy.count_5xx, self._policy.latency_factor
        for one, record in self._records.items():
            counters = one.counters
            failed = counters.failed if count_5xx else counters.failed_transport
            buckets = tuple(counters.buckets) if latencies else ()
            record.samples.append((counters.requests, failed, buckets))
        return self.judge(fleet, now)

    def judge(self, backends: Iterable[Backend], now: float) -> list[EjectionDecision]:
        """Judge all backends by what the window shows and by their failures in a row."""
        fleet = list(backends)
        records = self._records
        for one in fleet:
            if one not in records:
                records[one] = _Record()
                self._fleet = []
        verdicts = [
            EjectionDecision(one, None)
            for one in fleet
            if one.ejected and records[one].until <= now
        ]
        over = {verdict.backend for verdict in verdicts}
        ejected = sum(one.ejected for one in fleet) - len(over)
        room = max(1, int(self._policy.share * len(fleet))) - ejected
        suspects = fleet if self._policy.latency_factor else self._suspects(fleet)
        for one in suspects:
            if room <= 0:
                break
            reason = None if one.ejected else self._reason(one, fleet)
            if reason is not None:
                verdicts.append(EjectionDecision(one, reason))
                room -= 1
        return verdicts

    def ejected(self, backend: Backend, now: float) -> float:
        """Note that the pool has ejected a backend; returns for how many seconds."""
        record = self._records.setdefault(backend, _Record())
        record.ejections += 1
        seconds = min(self._policy.seconds * record.ejections, _LONGEST_SECONDS)
        record.until = now + seconds
        # It is judged anew when it is back.
        record.samples.clear()
        backend.counters.consecutive_failures = 0
        backend.counters.consecutive_5xx = 0
        return seconds

    def _suspects(self, fleet: list[Backend]) -> list[Backend]:
        """Those of which a request failed in the window, or just now."""
        records, count_5xx = self._records, self._policy.count_5xx
        return [
            one
            for one in fleet
            if ((samples := records[one].samples) and samples[-1][1] != samples[0][1])
            or one.counters.consecutive_failures
            or (count_5xx and one.counters.consecutive_5xx)
        ]

    def _reason(self, backend: Backend, fleet: list[Backend]) -> str | None:
        policy = self._policy
        counters = backend.counters
        row = counters.consecutive_failures
        if policy.count_5xx:
            row = max(row, counters.consecutive_5xx)
        if policy.consecutive and row >= policy.consecutive:
            return f"{row} failures in a row"
        # The others are looked at only where it matters: with ten thousand backends they are many.
        rate = self._rate(backend) if policy.failure_rate else None
        if rate is not None and rate >= policy.failure_rate:
            others = _others(backend, fleet)
            rates = [each for one in others if (each := self._rate(one)) is not None]
            if rates and rate >= 2 * (usual := median(rates)):
                return f"{rate:.0%} of its requests failed, against {usual:.0%} at the others"
        if policy.latency_factor and (mine := self._median(backend)) is not None:
            others = _others(backend, fleet)
            medians = [each for one in others if (each := self._median(one)) is not None]
            if medians and mine >= policy.latency_factor * median(medians):
                return f"median latency {mine:g} s, against {median(medians):g} s at the others"
        return None

    def _rate(self, backend: Backend) -> float | None:
        samples = self._records[backend].samples
        if not samples:
            return None
        requests = samples[-1][0] - samples[0][0]
        if requests < _LEAST_REQUESTS:
            return None
        return (samples[-1][1] - samples[0][1]) / requests

    def _median(self, backend: Backend) -> float | None:
        samples = self._records[backend].samples
        if not samples:
            return None
        counts = [a - b for a, b in zip(samples[-1][2], samples[0][2], strict=True)]
        total = sum(counts)
        if total < _LEAST_REQUESTS:
            return None
        seen = 0
        for bound, count in zip((*BOUNDS, 2 * BOUNDS[-1]), counts, strict=True):
            seen += count
            if 2 * seen >= total:
                return bound
        return None


def _others(backend: Backend, fleet: list[Backend]) -> list[Backend]:
    return [one for one in fleet if one is not backend and not one.ejected]
