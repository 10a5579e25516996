"""One pass over the requests of a run: everything that a verdict counts."""

import heapq
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import compress, repeat
from operator import lshift, or_

from scenarios.evidence.counted import CountedRequests
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.scratch import Scratch
from scenarios.evidence.tick import Tick
from scenarios.verdict.columns.column import NONE, Gathered
from scenarios.verdict.columns.requests import Batch, Kind, RequestColumns
from scenarios.verdict.data.effect import Effect, effect_of
from scenarios.verdict.measures.counted import with_counted
from scenarios.verdict.measures.durations import Durations
from scenarios.verdict.measures.slo import Ordered, ordered
from scenarios.verdict.measures.summaries import (
    harness_of,
    phases_of,
    seconds,
    slowest_of,
    versions_of,
)
from scenarios.verdict.measures.uptime import StayingLedger
from scenarios.verdict.model import (
    Harness,
    Latency,
    Phase,
    Requests,
    SlowRequest,
    VersionShare,
)
from scenarios.verdict.timeline import Timeline

SLOWEST = 5


class Bucket:
    """The requests of one phase."""

    def __init__(self, scratch: Scratch) -> None:
        self.ok = self.failed = self.slow = self.undispatched = self.unknown = 0
        self.latencies = Durations(scratch)

    def merge(self, other: "Bucket") -> None:
        """Add the requests of another."""
        self.ok += other.ok
        self.failed += other.failed
        self.slow += other.slow
        self.undispatched += other.undispatched
        self.unknown += other.unknown
        self.latencies.merge(other.latencies)

    def requests(self) -> Requests:
        """The counts."""
        return requests_of([self])

    def latency(self) -> Latency:
        """The percentiles."""
        return latency_of([self])


def requests_of(buckets: Sequence[Bucket]) -> Requests:
    """The counts of several phases together."""
    ok, failed = sum(one.ok for one in buckets), sum(one.failed for one in buckets)
    undispatched = sum(one.undispatched for one in buckets)
    return Requests(
        planned=ok + failed + undispatched,
        ok=ok,
        failed=failed,
        slow=sum(one.slow for one in buckets),
        undispatched=undispatched,
        unknown=sum(one.unknown for one in buckets),
    )


def latency_of(buckets: Sequence[Bucket], slowest: tuple[SlowRequest, ...] = ()) -> Latency:
    """The percentiles of several phases together."""
    latencies = [bucket.latencies for bucket in buckets]
    p50, p99, p999 = Durations.percentiles(latencies, (0.50, 0.99, 0.999))
    largest = max((one.largest for one in latencies if one.largest is not None), default=None)
    return Latency(
        p50=seconds(p50),
        p99=seconds(p99),
        p999=seconds(p999),
        max=seconds(largest),
        slowest=slowest,
    )


class RequestTally:
    """Counts requests as they come, in any order, a batch at a time.

    Memory: the whole of each failed or slow request; what else counts is in columns.

    Attributes:
        failed: the failed requests.
        late: those that succeeded, but took longer than the latency objective.
        staying: the requests of users who stay.
        early_failures: failed requests that were over before the rollout began.
        origin_ns: the first planned time; 0 without requests.
        end_ns: the last planned time; 0 without requests.
    """

    def __init__(
        self, manifest: Manifest, timeline: Timeline, columns: RequestColumns, scratch: Scratch
    ) -> None:
        """Begin with nothing.

        Args:
            manifest: what was run.
            timeline: its journal.
            columns: the requests, which each batch is already in.
            scratch: where latencies are kept.
        """
        self.failed: list[Outcome] = []
        self.late: list[Outcome] = []
        self.staying = StayingLedger()
        self.early_failures = 0
        self.origin_ns = self.end_ns = 0
        self._columns = columns
        self._manifest = manifest
        self._timeline = timeline
        self._slow_seconds = manifest.objectives.latency_seconds
        self._buckets = [Bucket(scratch) for _ in range(len(timeline.phases) + 1)]  # 0: before them
        self._lags = Durations(scratch)
        self._slowest: list[tuple[int, str, Outcome]] = []
        self._counted: tuple[CountedRequests, ...] = ()

    def count(self, lines: Sequence[CountedRequests]) -> None:
        """Count requests that have no line each; called once."""
        self._counted = tuple(lines)
        phases = [phase.name for phase in self._timeline.phases]
        for line in lines:
            number = phases.index(line.phase) + 1 if line.phase in phases else 0
            bucket = self._buckets[number]
            bucket.ok += line.total
            bucket.latencies.add_counted(line.latencies)
        slots = [slot for line in lines for slot in line.slots()]
        if slots:
            first = min(slot.at_ns for slot in slots)
            last = max(slot.at_ns for slot in slots)
            self.origin_ns = min(self.origin_ns or first, first)
            self.end_ns = max(self.end_ns, last)

    def add(self, batch: Batch) -> None:
        """Count some requests."""
        first, last = min(batch.planned), max(batch.planned)
        self.origin_ns = min(self.origin_ns or first, first)
        self.end_ns = max(self.end_ns, last)
        if batch.users.count(None) != len(batch.users):
            for user, outcome in zip(batch.users, batch.rows, strict=True):
                if user is not None:
                    self.staying.add(user, outcome)
        phase_at = self._timeline.phase_at
        if phase_at(first) == phase_at(last):
            self._add(self._buckets[phase_at(first) + 1], batch)
            return
        phases = list(map(phase_at, batch.planned))
        for phase in set(phases):
            self._add(self._buckets[phase + 1], batch.only([one == phase for one in phases]))

    def _add(self, bucket: Bucket, batch: Batch) -> None:
        """Count requests of one phase."""
        present = [self._columns.kinds[number] for number in batch.counts]
        failing = {kind.number for kind in present if kind.dispatched and not kind.ok}
        untimed = {kind.number for kind in present if kind.paced or not kind.dispatched}
        counts = batch.counts
        bucket.undispatched += sum(counts[one.number] for one in present if not one.dispatched)
        bucket.ok += sum(counts[one.number] for one in present if one.ok)
        timed = batch
        if untimed:
            timed = batch.only([number not in untimed for number in batch.kinds])
        if timed.rows:
            self._add_latencies(bucket, timed, failing)
        self._add_lags(batch, present)
        if failing:
            for outcome, number in zip(batch.rows, batch.kinds, strict=True):
                if number in failing:
                    self._add_failed(bucket, outcome)

    def _add_lags(self, batch: Batch, present: Iterable[Kind]) -> None:
        """How late the generator was; a request that opened its connection waited for that."""
        reused = {one.number for one in present if one.dispatched and one.connection == "reused"}
        self._lags.add(
            [
                lag
                for lag in compress(batch.lags, map(reused.__contains__, batch.kinds))
                if lag != NONE
            ]
        )

    def _add_latencies(self, bucket: Bucket, timed: Batch, failing: Container[int]) -> None:
        bucket.latencies.add(timed.taken)
        largest = max(timed.taken)
        if len(self._slowest) < SLOWEST or largest >= self._slowest[0][0]:
            least = self._slowest[0][0] if len(self._slowest) == SLOWEST else NONE
            found = [
                (taken, outcome.request_id, outcome)
                for taken, outcome in zip(timed.taken, timed.rows, strict=True)
                if taken >= least
            ]
            self._keep_slowest(found)
        if largest / 1e9 > self._slow_seconds:
            late = [
                outcome
                for taken, outcome, number in zip(timed.taken, timed.rows, timed.kinds, strict=True)
                if taken / 1e9 > self._slow_seconds and number not in failing
            ]
            bucket.slow += len(late)
            self.late += late

    def _keep_slowest(self, found: Iterable[tuple[int, str, Outcome]]) -> None:
        self._slowest = heapq.nlargest(
            SLOWEST, [*self._slowest, *found], key=lambda item: item[:2]
        )[::-1]

    def merge(self, other: "RequestTally") -> None:
        """Add the requests that follow; the columns are merged by whoever has them."""
        self.failed += other.failed
        self.late += other.late
        self.staying.merge(other.staying)
        self.early_failures += other.early_failures
        self.origin_ns = min(self.origin_ns or other.origin_ns, other.origin_ns or self.origin_ns)
        self.end_ns = max(self.end_ns, other.end_ns)
        for mine, theirs in zip(self._buckets, other._buckets, strict=True):  # noqa: SLF001 - of the same class
            mine.merge(theirs)
        self._lags.merge(other._lags)  # noqa: SLF001 - of the same class
        self._keep_slowest(other._slowest)  # noqa: SLF001 - of the same class

    @property
    def paced(self) -> int:
        """How many requests were sent over which their users took their time."""
        return sum(one.ok + one.failed - len(one.latencies) for one in self._buckets)

    def requests(self) -> Requests:
        """The counts of all phases."""
        return requests_of(self._buckets)

    def latency(self) -> Latency:
        """The percentiles over all phases, with the slowest requests."""
        return latency_of(self._buckets, self.slowest())

    def phases(self) -> tuple[Phase, ...]:
        """Each phase with its requests."""
        return phases_of(self._timeline, self._buckets[1:], self.origin_ns, self.end_ns)

    def slowest(self) -> tuple[SlowRequest, ...]:
        """The slowest requests, the slowest first."""
        return slowest_of(self._slowest, self._timeline, self.origin_ns)

    def ordered(self) -> Ordered:
        """All requests that were sent, by their planned times."""
        columns = self._columns
        sent = columns.marked(lambda kind: kind.dispatched)
        bad = columns.marked(lambda kind: not kind.ok)
        single = ordered(_marks(columns, sent, bad), columns.earliest)
        return with_counted(single, self._counted) if self._counted else single

    def failing_endpoints(self) -> Iterator[tuple[tuple[str, str], Ordered]]:
        """The requests by endpoint and kind of connection, where some of them failed."""
        columns = self._columns
        keys = {
            (kind.endpoint, kind.connection): Gathered(columns.scratch)
            for kind in columns.kinds
            if kind.dispatched and not kind.ok
        }
        mine = [keys.get((kind.endpoint, kind.connection)) for kind in columns.kinds]
        sent = columns.marked(lambda kind: kind.dispatched and mine[kind.number] is not None)
        bad = columns.marked(lambda kind: not kind.ok)
        marks = _marks(columns, sent, bad)
        for batch, kinds in zip(marks, columns.kind, strict=True):
            numbers = compress(kinds, map(sent.__getitem__, kinds))
            for mark, number in zip(batch, numbers, strict=True):
                into = mine[number]
                if into is not None:
                    into.latest.append(mark)
            for into in map(mine.__getitem__, set(kinds)):
                if into is not None:
                    into.flush()
        for key, gathered in keys.items():
            single = ordered(gathered, [min(batch) >> 1 for batch in gathered])
            more = [one for one in self._counted if (one.endpoint, one.connection) == key]
            yield key, with_counted(single, more) if more else single

    def longest_ns(self) -> dict[str, int]:
        """By endpoint, how long its longest successful request took from when it was sent."""
        columns = self._columns
        endpoints = [kind.endpoint if kind.ok else None for kind in columns.kinds]
        found: dict[str, int] = {}
        for taken, lags, kinds in zip(columns.taken, columns.lag, columns.kind, strict=True):
            for took, lag, number in zip(taken, lags, kinds, strict=True):
                endpoint = endpoints[number]
                if endpoint is not None:
                    took_ns = took if lag == NONE else took - lag
                    if took_ns > found.get(endpoint, 0):
                        found[endpoint] = took_ns
        for line in self._counted:
            longest = max(line.latencies, default=0)
            found[line.endpoint] = max(found.get(line.endpoint, 0), longest)
        return found

    def versions(self) -> tuple[VersionShare, ...]:
        """Who answered how many, in the order of the release."""
        answered, badly = Counter[str](), Counter[str]()
        for kind in self._columns.kinds:
            if kind.dispatched and kind.version is not None:
                answered[kind.version] += kind.count
                badly[kind.version] += 0 if kind.ok else kind.count
        return versions_of(self._manifest, answered, badly)

    def harness(self, ticks: Iterable[Tick]) -> Harness:
        """How well the generator kept up."""
        (measured,) = Durations.percentiles([self._lags], (0.99,))
        undispatched = sum(bucket.undispatched for bucket in self._buckets)
        return harness_of(
            ticks, measured, self._lags.largest, undispatched, self._manifest.generators
        )

    def at(self, at_ns: int) -> float:
        """An instant in seconds from the origin."""
        return (at_ns - self.origin_ns) / 1e9

    def _add_failed(self, bucket: Bucket, outcome: Outcome) -> None:
        bucket.failed += 1
        bucket.unknown += effect_of(outcome) is Effect.INFO
        self.failed.append(outcome)
        # A request that was under way when the rollout began may have failed because of it.
        if outcome.done_ns < self._timeline.rollout_ns:
            self.early_failures += 1


def _marks(
    columns: RequestColumns, wanted: Sequence[bool], bad: Sequence[bool]
) -> Iterator[list[int]]:
    """Of each wanted request its planned time, doubled, plus 1 if it failed, by batches.

    Args:
        columns: the requests.
        wanted: for each kind, whether its requests are.
        bad: for each kind, whether its requests failed.
    """
    every = all(wanted)
    for planned, kinds in zip(columns.planned, columns.kind, strict=True):
        failed = map(bad.__getitem__, kinds)
        marks = map(or_, map(lshift, planned, repeat(1)), failed)
        yield list(marks if every else compress(marks, map(wanted.__getitem__, kinds)))
