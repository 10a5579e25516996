"""Who waited for whom: waits for locks, grouped by the session at their root."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from scenarios.evidence.locks import LockWait
from scenarios.evidence.outcome import Outcome
from scenarios.verdict.causes import lock_queue
from scenarios.verdict.causes.server_errors import OURS
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.columns.requests import Batch
from scenarios.verdict.model import Blocker, Locks, Rewrite

DELAYED_NS = 50_000_000
"""A request that took less was not delayed by anything that anybody would notice."""

EXAMPLES = 5
_DEADLOCK, _GAVE_WAY = "40P01", "55P03"

_Key = tuple[str, str]


@dataclass(slots=True)
class _Group:
    """The waits behind one root, in one step of the rollout."""

    waits: list[LockWait] = field(default_factory=list)
    requests: int = 0
    slowest_ns: int = 0
    examples: list[str] = field(default_factory=list)


class LockLedger:
    """Joins waits with the requests that they delayed; then sums up."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._groups: dict[_Key, _Group] = {}
        self._requests = 0
        for wait in around.waits:
            if not wait.waiter.application.startswith(OURS):
                self._groups.setdefault(self._key(wait), _Group()).waits.append(wait)

    def add_batch(self, batch: Batch) -> None:
        """Take note of some requests; those that failed without a word of whom they asked wait."""
        if not self._groups or max(batch.taken) < DELAYED_NS:
            return
        for outcome, taken in zip(batch.rows, batch.taken, strict=True):
            if taken >= DELAYED_NS and (outcome.ok or outcome.served_by is not None):
                self.add(outcome)

    def merge(self, other: "LockLedger") -> None:
        """Add the requests of another."""
        self._requests += other._requests  # noqa: SLF001 - of the same class
        for key, theirs in other._groups.items():  # noqa: SLF001 - of the same class
            group = self._groups.setdefault(key, _Group())
            group.requests += theirs.requests
            group.slowest_ns = max(group.slowest_ns, theirs.slowest_ns)
            group.examples = sorted([*group.examples, *theirs.examples])[: 4 * EXAMPLES]

    def add(self, outcome: Outcome, replica: str | None = None) -> None:
        """Take note of one request; the order does not matter but for the examples.

        Args:
            outcome: the request.
            replica: who was asked, where the answer does not say it.
        """
        taken = outcome.done_ns - outcome.planned_ns
        if not self._groups or taken < DELAYED_NS or outcome.sent_ns is None:
            return
        blocked = self._around.blocked(
            outcome.served_by or replica, outcome.sent_ns, outcome.done_ns
        )
        if blocked is None:
            return
        self._requests += 1
        group = self._groups[self._key(blocked.wait)]
        group.requests += 1
        group.slowest_ns = max(group.slowest_ns, taken)
        group.examples.append(outcome.request_id)
        if len(group.examples) > 4 * EXAMPLES:
            group.examples = sorted(group.examples)[:EXAMPLES]

    def locks(self, *, watched: bool, origin_ns: int) -> Locks:
        """What it comes to.

        Args:
            watched: whether anybody looked for waits.
            origin_ns: the instant 0.0.
        """
        blockers = [self._blocker(key, group, origin_ns) for key, group in self._groups.items()]
        events = self._around.timeline.events
        states = Counter(
            str(event.detail.get("sqlstate"))
            for event in events
            if event.verb == "migrate" and event.state in ("noted", "failed")
        )
        deadlocks = sum(line.sqlstate == _DEADLOCK for line in self._around.server_errors.lines)
        return Locks(
            watched=watched,
            waits=sum(len(group.waits) for group in self._groups.values()),
            longest=max((blocker.seconds for blocker in blockers), default=None),
            requests=self._requests,
            blockers=tuple(
                sorted(blockers, key=lambda one: (-one.requests, -one.seconds, one.first))
            ),
            deadlocks=deadlocks + states[_DEADLOCK],
            gave_way=states[_GAVE_WAY],
            rewrites=tuple(self._rewrites(origin_ns)),
            invalid_indexes=tuple(
                str(event.detail.get("index")) for event in events if event.verb == "index"
            ),
        )

    def _key(self, wait: LockWait) -> _Key:
        root = wait.root
        return ("" if root is None else root.application), self._during(wait.at_ns, wait.end_ns)

    def _during(self, start_ns: int, end_ns: int) -> str:
        """The migration under way; else what the rollout was doing."""
        migration = self._around.migration(start_ns, end_ns)
        if migration is not None:
            return f"migrate {migration}"
        return self._around.timeline.step_at(start_ns)

    def _blocker(self, key: _Key, group: _Group, origin_ns: int) -> Blocker:
        longest = max(group.waits, key=lambda wait: (wait.end_ns - wait.at_ns, -wait.at_ns))
        root = longest.root
        return Blocker(
            application=key[0],
            during=key[1],
            query=root.query if root else None,
            state=root.state if root else None,
            mode=longest.mode,
            relation=longest.relation,
            waits=len(group.waits),
            seconds=longest.seconds,
            first=(min(wait.at_ns for wait in group.waits) - origin_ns) / 1e9,
            last=(max(wait.end_ns for wait in group.waits) - origin_ns) / 1e9,
            requests=group.requests,
            slowest=group.slowest_ns / 1e9 if group.requests else None,
            examples=tuple(sorted(group.examples)[:EXAMPLES]),
            queue=lock_queue.told(longest),
        )

    def _rewrites(self, origin_ns: int) -> Iterable[Rewrite]:
        for event in self._around.timeline.events:
            if event.verb == "table":
                since = event.detail.get("since_ns")
                start = since if isinstance(since, int) and since else event.at_ns
                yield Rewrite(
                    table=str(event.detail.get("table")),
                    during=self._during(start, event.at_ns),
                    at=(event.at_ns - origin_ns) / 1e9,
                )
