"""What a verdict counts, as it is defined: one request after the other, whole in memory."""

import heapq
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.tick import Tick
from scenarios.verdict.data.effect import Effect, effect_of
from scenarios.verdict.measures.slo import Ordered, percentile
from scenarios.verdict.measures.summaries import (
    harness_of,
    phases_of,
    seconds,
    slowest_of,
    versions_of,
)
from scenarios.verdict.measures.tally import SLOWEST
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
from tests.support.by_rows.slo import Marks, UserLedger


class Bucket:
    """The requests of one phase."""

    def __init__(self) -> None:
        self.ok = self.failed = self.slow = self.undispatched = self.unknown = 0
        self.latencies = array("q")

    def requests(self) -> Requests:
        """The counts."""
        return Requests(
            planned=self.ok + self.failed + self.undispatched,
            ok=self.ok,
            failed=self.failed,
            slow=self.slow,
            undispatched=self.undispatched,
            unknown=self.unknown,
        )

    @property
    def paced(self) -> int:
        """Those that were sent, and over which their users took their time."""
        return self.ok + self.failed - len(self.latencies)

    def latency(self, slowest: tuple[SlowRequest, ...] = ()) -> Latency:
        """The percentiles."""
        ordered = sorted(self.latencies)
        return Latency(
            p50=seconds(percentile(ordered, 0.50)),
            p99=seconds(percentile(ordered, 0.99)),
            p999=seconds(percentile(ordered, 0.999)),
            max=seconds(ordered[-1] if ordered else None),
            slowest=slowest,
        )

    def merge(self, other: "Bucket") -> None:
        """Add another bucket's requests."""
        self.ok += other.ok
        self.failed += other.failed
        self.slow += other.slow
        self.undispatched += other.undispatched
        self.unknown += other.unknown
        self.latencies.extend(other.latencies)


class RequestTally:
    """Counts requests as they come, in any order.

    Memory: about seventy bytes a request, and the whole of each failed or slow one.

    Attributes:
        failed: the failed requests.
        late: those that succeeded, but took longer than the latency objective.
        users: the requests by whom they are about.
        staying: the requests of users who stay.
        marks: planned times and failures by endpoint and kind of connection.
        early_failures: failed requests that were over before the rollout began.
        origin_ns: the first planned time; 0 without requests.
        end_ns: the last planned time; 0 without requests.
    """

    def __init__(self, manifest: Manifest, timeline: Timeline) -> None:
        self.failed: list[Outcome] = []
        self.late: list[Outcome] = []
        self.users = UserLedger()
        self.staying = StayingLedger()
        self._answers = array("q")
        self.marks: dict[tuple[str, str], Marks] = {}
        self._longest: dict[str, int] = {}
        self.early_failures = 0
        self.origin_ns = self.end_ns = 0
        self._manifest = manifest
        self._timeline = timeline
        self._slow_seconds = manifest.objectives.latency_seconds
        self._buckets = [Bucket() for _ in range(len(timeline.phases) + 1)]  # [0]: before them
        self._lags = array("q")
        self._slowest: list[tuple[int, str, Outcome]] = []
        self._answered: Counter[str] = Counter()
        self._answered_badly: Counter[str] = Counter()
        self._known: dict[str, str | None] = {}

    def add(self, outcome: Outcome) -> None:
        """Count one request."""
        planned_ns = outcome.planned_ns
        self.origin_ns = min(self.origin_ns or planned_ns, planned_ns)
        self.end_ns = max(self.end_ns, planned_ns)
        bucket = self._buckets[self._timeline.phase_at(planned_ns) + 1]
        if outcome.user is not None:
            self.staying.add(outcome.user, outcome)
        if not outcome.dispatched:
            bucket.undispatched += 1
            return
        if not outcome.paced:
            self._add_latency(bucket, outcome)
        if outcome.sent_ns is not None and outcome.connection == "reused":
            self._lags.append(outcome.sent_ns - planned_ns)
        ok = outcome.ok
        key = (outcome.endpoint, outcome.connection)
        marks = self.marks.get(key)
        if marks is None:
            marks = self.marks[key] = Marks()
        marks.add(planned_ns, failed=not ok)
        if ok:
            bucket.ok += 1
            took_ns = outcome.done_ns - (outcome.sent_ns or planned_ns)
            self._longest[outcome.endpoint] = max(took_ns, self._longest.get(outcome.endpoint, 1))
            if outcome.slower_than(self._slow_seconds):
                bucket.slow += 1
                self.late.append(outcome)
        else:
            self._add_failed(bucket, outcome)
        self._add_answer(outcome, ok=ok)
        self._answers.append(_answer_key(outcome.request_id, outcome.status or 0))
        if outcome.subject is not None:
            self.users.add(outcome.subject, planned_ns, failed=not ok)

    def _add_latency(self, bucket: Bucket, outcome: Outcome) -> None:
        latency_ns = outcome.done_ns - outcome.planned_ns
        bucket.latencies.append(latency_ns)
        item = (latency_ns, outcome.request_id, outcome)
        if len(self._slowest) < SLOWEST:
            heapq.heappush(self._slowest, item)
        elif item[:2] > self._slowest[0][:2]:
            heapq.heapreplace(self._slowest, item)

    def contradictions(self, exchanges: Iterable[ExchangeRecord]) -> int:
        """How many complete answers the balancer sent that the generator's record denies.

        Only requests of the plan are compared, by the prefix that their ids share.
        """
        prefix = f"s{self._manifest.seed}-"
        answers = sorted(self._answers)
        found = 0
        for line in exchanges:
            if line.end != "complete" or not line.request_id.startswith(prefix):
                continue
            if not _holds(answers, _answer_key(line.request_id, line.status or 0)):
                # The client may have given up at the very moment when the answer was sent.
                found += not _holds(answers, _answer_key(line.request_id, 0))
        return found

    def total(self) -> Bucket:
        """The requests of all phases."""
        total = Bucket()
        for bucket in self._buckets:
            total.merge(bucket)
        return total

    def longest_ns(self) -> dict[str, int]:
        return self._longest

    def requests(self) -> Requests:
        return self.total().requests()

    def latency(self) -> Latency:
        return self.total().latency(self.slowest())

    @property
    def paced(self) -> int:
        return self.total().paced

    def failing_endpoints(self) -> Iterator[tuple[tuple[str, str], Ordered]]:
        for key, marks in self.marks.items():
            yield key, marks.ordered()

    def phases(self) -> tuple[Phase, ...]:
        return phases_of(self._timeline, self._buckets[1:], self.origin_ns, self.end_ns)

    def slowest(self) -> tuple[SlowRequest, ...]:
        return slowest_of(self._slowest, self._timeline, self.origin_ns)

    def all_marks(self) -> Marks:
        """The planned times and failures of all requests that were sent."""
        together = Marks()
        for marks in self.marks.values():
            together.extend(marks)
        return together

    def versions(self) -> tuple[VersionShare, ...]:
        return versions_of(self._manifest, self._answered, self._answered_badly)

    def harness(self, ticks: Iterable[Tick]) -> Harness:
        lags = sorted(self._lags)
        undispatched = sum(bucket.undispatched for bucket in self._buckets)
        return harness_of(ticks, percentile(lags, 0.99), lags[-1] if lags else None, undispatched)

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

    def _add_answer(self, outcome: Outcome, *, ok: bool) -> None:
        replica = outcome.served_by
        if replica is None:
            return
        if replica not in self._known:
            self._known[replica] = self._timeline.version_of(replica)
        version = self._known[replica]
        if version is None:
            return
        self._answered[version] += 1
        if not ok:
            self._answered_badly[version] += 1


def _answer_key(request_id: str, status: int) -> int:
    """A request's id and status in 63 bits; the same in one process only."""
    return (hash(request_id) & (1 << 52) - 1) << 10 | status & 1023


def _holds(ordered: list[int], key: int) -> bool:
    index = bisect_left(ordered, key)
    return index < len(ordered) and ordered[index] == key
