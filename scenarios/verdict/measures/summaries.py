"""What the counts of a run's requests come to, in the words of the verdict's model."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from scenarios.evidence.generator_facts import GeneratorFacts
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.tick import Tick
from scenarios.verdict.model import (
    GeneratorSummary,
    Harness,
    Latency,
    Phase,
    Requests,
    SlowRequest,
    VersionShare,
)
from scenarios.verdict.timeline import Timeline

CPU_OVER_SECONDS = 1.0


class Counted(Protocol):
    """The requests of one phase."""

    def requests(self) -> Requests:
        """How many there are."""
        ...

    def latency(self) -> Latency:
        """How long they took."""
        ...


def phases_of(
    timeline: Timeline, buckets: Sequence[Counted], origin_ns: int, end_ns: int
) -> tuple[Phase, ...]:
    """Each phase with its requests; the last one ends with the last planned request.

    Args:
        timeline: the journal, which has the phases.
        buckets: the requests of each phase.
        origin_ns: the instant 0.0.
        end_ns: the last planned time.
    """

    def at(at_ns: int) -> float:
        return (at_ns - origin_ns) / 1e9

    starts = timeline.phases
    if not starts:
        return ()
    ends = [phase.start_ns for phase in starts[1:]] + [end_ns]
    return tuple(
        Phase(
            name=phase.name,
            start=at(phase.start_ns),
            end=max(at(end), at(phase.start_ns)),
            requests=bucket.requests(),
            latency=bucket.latency(),
        )
        for phase, end, bucket in zip(starts, ends, buckets, strict=True)
    )


def slowest_of(
    slowest: Iterable[tuple[int, str, Outcome]], timeline: Timeline, origin_ns: int
) -> tuple[SlowRequest, ...]:
    """The slowest requests, the slowest first.

    Args:
        slowest: how long each took in ns, its id, and the request itself.
        timeline: the journal.
        origin_ns: the instant 0.0.
    """
    return tuple(
        SlowRequest(
            request_id=request_id,
            endpoint=outcome.endpoint,
            at=(outcome.planned_ns - origin_ns) / 1e9,
            seconds=latency_ns / 1e9,
            ok=outcome.ok,
            replica=outcome.served_by,
            step=timeline.step_at(outcome.planned_ns),
        )
        for latency_ns, request_id, outcome in sorted(
            slowest, key=lambda item: item[:2], reverse=True
        )
    )


def versions_of(
    manifest: Manifest, answered: Counter[str], badly: Counter[str]
) -> tuple[VersionShare, ...]:
    """Who answered how many, and how many of them badly, in the order of the release."""
    names = list(dict.fromkeys((*manifest.versions, *sorted(answered))))
    return tuple(
        VersionShare(version=name, requests=answered[name], failed=badly[name]) for name in names
    )


def harness_of(
    ticks: Iterable[Tick],
    lag_p99_ns: int | None,
    lag_max_ns: int | None,
    undispatched: int,
    generators: Iterable[GeneratorFacts] = (),
) -> Harness:
    """How well the generator kept up; its own account says what the requests cannot.

    Args:
        ticks: that account.
        lag_p99_ns: how late it sent requests on open connections; None if it sent none.
        lag_max_ns: the most of that.
        undispatched: how many requests it could not send.
        generators: the generators, if there were several elsewhere.
    """
    account = Account(ticks)
    return Harness(
        schedule_lag_p99=account.lag_p99 if lag_p99_ns is None else lag_p99_ns / 1e9,
        # Its own account knows of those that had to open a connection as well.
        schedule_lag_max=max(account.lag_max or 0.0, (lag_max_ns or 0) / 1e9)
        if lag_max_ns is not None or account.lag_max is not None
        else None,
        cpu_max=account.cpu_max,
        undispatched=undispatched,
        generators=tuple(map(_generator, generators)),
    )


def _generator(facts: GeneratorFacts) -> GeneratorSummary:
    return GeneratorSummary(
        number=facts.number,
        name=facts.name,
        node=facts.node,
        requests=facts.requests,
        clock_error=facts.clock_error_ns / 1e9,
        clock_drift=facts.clock_drift_ns / 1e9,
        lost=facts.lost,
    )


class Account:
    """The generator's own account: its worst second of processor time, and its lag."""

    def __init__(self, ticks: Iterable[Tick]) -> None:
        ordered = sorted(ticks, key=lambda tick: tick.at_ns)
        self.cpu_max = max(_cpu_by_second(ordered), default=None)
        lags = sorted(
            (tick.schedule_lag_p99_seconds, tick.planned)
            for tick in ordered
            if tick.schedule_lag_p99_seconds is not None
        )
        self.lag_max = lags[-1][0] if lags else None
        self.lag_p99 = self.lag_max
        left = 0.01 * sum(planned for _, planned in lags)
        for lag, planned in reversed(lags):
            self.lag_p99 = lag
            left -= planned
            if left < 0:
                break


def _cpu_by_second(ticks: list[Tick]) -> Iterable[float]:
    """The processor share over each stretch of at least a second: one busy tick is no verdict."""
    busy = length = 0.0
    for tick in ticks:
        busy += tick.cpu * tick.seconds
        length += tick.seconds
        if length >= CPU_OVER_SECONDS:
            yield busy / length
            busy = length = 0.0


def seconds(nanoseconds: int | None) -> float | None:
    """Nanoseconds as seconds."""
    return None if nanoseconds is None else nanoseconds / 1e9
