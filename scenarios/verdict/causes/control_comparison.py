"""PURE: what failed in the control run as well, and what is the release's own.

A control run deploys the first version again, under the same traffic and seed. So what fails there
is not the new version's doing: a rate limit, a cold start, a conflict of two writes. Two failures
are of one kind if the evidence of each gives the same cause, the client got the same result, and
both belong to the same step of a journey. Causes that come from comparing requests of one run with
each other (contrasts) do not count here: the same failures may show them in one run only.

A kind that the control run did not have is the release's own. Of a kind that both have, the rates
are compared, by Fisher's exact test. If this run's rate is not higher, all of its failures are as
in the control run. If it is, those above the control run's rate are the release's own. All tests of
a run together call one of two equal rates higher with a probability of at most 0.01 (Holm).

One class of causes is never excused: a replica was taken away from requests, or all of them were.
The control run has such failures because it is a deployment, too.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from scenarios.evidence.control_run import ControlRun, FailureKind, KindCount, StepSent
from scenarios.verdict.causes.attribution import Attributed
from scenarios.verdict.causes.logged import without_values
from scenarios.verdict.columns.requests import Step, step_of
from scenarios.verdict.measures.exact_test import Counts, fisher_greater, holm
from scenarios.verdict.measures.slo import Ordered
from scenarios.verdict.model import ControlComparison, ControlRow, Verdict

LEVEL = 0.01
"""The chance that a run whose failures are as frequent as the control's has any of its own."""

EVERY_DEPLOYMENT = frozenset(
    {"no_backend", "lifecycle:undrained", "lifecycle:stopped", "lifecycle:drain_exceeded"}
)
"""Causes that are the deployment's doing, whatever version it deploys."""

SLOW = "slow"
_NOT_COMPARED = frozenset({"harness", "machine"})
_NEVER_EXCUSED = frozenset({"integrity", "termination"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideControl:
    """A release beside its control run; without one, nothing is excused.

    Attributes:
        control: the comparison as a part of the verdict.
        failed: the failed requests, with the causes that the ladder found.
        failed_kinds: the kind of each of them.
        slow_kinds: the kind of each slow request.
        known: the kinds of failure that the control run had.
        excused: of each kind, how many requests of this run do not count against the release.
    """

    control: ControlComparison | None = None
    failed: Sequence[Attributed] = ()
    failed_kinds: Sequence[FailureKind] = ()
    slow_kinds: Sequence[FailureKind] = ()
    known: frozenset[FailureKind] = frozenset()
    excused: Mapping[FailureKind, int] = field(default_factory=dict)

    def excuse(
        self, failed: Sequence[Attributed], slow: Sequence[Attributed]
    ) -> tuple[tuple[Attributed, ...], tuple[Attributed, ...]]:
        """The failed and the slow requests; as many of each kind are excused as there are to be.

        Args:
            failed: the failed requests, with their final causes.
            slow: the slow requests.
        """
        left = dict(self.excused)
        return _excused(failed, self.failed_kinds, left), _excused(slow, self.slow_kinds, left)

    def early(self, rollout_ns: float) -> int:
        """How many failures were over before the rollout began, and are known from the control."""
        return sum(
            one.failure.outcome.done_ns < rollout_ns and kind in self.known
            for one, kind in zip(self.failed, self.failed_kinds, strict=True)
        )

    def without(self, requests: Ordered) -> Ordered:
        """All requests; those do not count as failed whose kind is excused as a whole."""
        kinds = Counter(self.failed_kinds)
        gone = Counter(
            one.failure.outcome.planned_ns
            for one, kind in zip(self.failed, self.failed_kinds, strict=True)
            if self.excused.get(kind) == kinds[kind]
        )
        if not gone:
            return requests
        failed = bytearray()
        for planned_ns, bad in zip(requests.planned, requests.failed, strict=True):
            clear = bad and gone[planned_ns] > 0
            gone[planned_ns] -= clear
            failed.append(bad and not clear)
        return requests._replace(failed=bytes(failed))


def kinds_of(requests: Iterable[Attributed]) -> list[FailureKind]:
    """The kind of each failed or slow request, by its own evidence."""
    return [_kind(one) for one in requests]


def control_run_of(
    kinds: Iterable[FailureKind], sent: Mapping[Step, int], verdict: Verdict
) -> ControlRun:
    """Sum a control run up; its folder is not named yet.

    Args:
        kinds: the kinds of its failed and slow requests.
        sent: how many requests of each step it sent.
        verdict: on the control run itself.
    """
    counts = Counter(kind for kind in kinds if kind.kind not in _NOT_COMPARED)
    outcome = verdict.rollout.outcome
    unusable = [*(verdict.reasons if verdict.verdict == "invalid" else ()), *verdict.doubts]
    if outcome != "completed" and not unusable:
        reason = f": {verdict.rollout.reason}" if verdict.rollout.reason else ""
        ended = outcome.replace("_", " ")
        unusable = [f"the deployment of the same version ended as {ended}{reason}"]
    return ControlRun(
        folder="",
        requests=verdict.requests.ok + verdict.requests.failed,
        failed=verdict.requests.failed,
        sent=tuple(
            StepSent(journey=journey, step=step, sent=number)
            for (journey, step), number in sorted(sent.items())
        ),
        failures=tuple(KindCount(what=kind, count=counts[kind]) for kind in sorted(counts)),
        unusable=tuple(unusable),
        broken=tuple(
            check.sentence
            for check in verdict.checks
            if check.held is False and check.check in _NEVER_EXCUSED
        ),
    )


def compare(
    control: ControlRun | None,
    failed: Sequence[Attributed],
    slow: Sequence[Attributed],
    sent: Mapping[Step, int],
) -> BesideControl:
    """Compare a release with its control run.

    Args:
        control: the control run; None: there was none.
        failed: this run's failed requests, with the causes that the ladder found.
        slow: this run's slow requests.
        sent: how many requests of each step this run sent.
    """
    if control is None:
        return BesideControl()
    about = ControlComparison(
        folder=control.folder,
        requests=control.requests,
        failed=control.failed,
        unusable=control.unusable,
        broken=control.broken,
    )
    if control.unusable:
        return BesideControl(control=about)
    rows, slow_rows = _rows(control, failed, sent), _rows(control, slow, sent)
    also = {kind: row.failed - row.own for kind, row in (*rows.items(), *slow_rows.items())}
    return BesideControl(
        control=msgspec.structs.replace(
            about,
            also=sum(also[kind] for kind in rows),
            own=sum(row.own for row in rows.values()),
            every_deployment=sum(also[kind] for kind in rows if rows[kind].every_deployment),
            rows=_ordered(rows.values()),
            slow_rows=_ordered(slow_rows.values()),
        ),
        failed=failed,
        failed_kinds=kinds_of(failed),
        slow_kinds=kinds_of(slow),
        known=frozenset(one.what for one in control.failures),
        excused={kind: count for kind, count in also.items() if kind.cause not in EVERY_DEPLOYMENT},
    )


def _kind(one: Attributed) -> FailureKind:
    outcome, finding = one.failure.outcome, one.finding
    journey, step = step_of(outcome)
    if outcome.ok:
        return FailureKind(cause=SLOW, kind=SLOW, result=SLOW, journey=journey, step=step)
    words = (without_values(text) for text in (outcome.problem, outcome.mismatch) if text)
    return FailureKind(
        cause=finding.cause,
        kind=finding.kind,
        result=": ".join((outcome.error or str(outcome.status), *words)),
        journey=journey,
        step=step,
    )


def _excused(
    requests: Sequence[Attributed], kinds: Sequence[FailureKind], left: dict[FailureKind, int]
) -> tuple[Attributed, ...]:
    """The same requests, with as many excused as are left of each kind.

    Nobody can tell which of a kind they are, so those that only a mixed fleet explains come last.
    """
    if not left:
        return tuple(requests)
    result = list(requests)
    order = sorted(range(len(result)), key=lambda at: result[at].finding.kind == "mixed_fleet")
    for index in order:
        if left.get(kinds[index], 0) > 0:
            left[kinds[index]] -= 1
            result[index] = replace(result[index], excused=True)
    return tuple(result)


def _rows(
    control: ControlRun, requests: Sequence[Attributed], sent: Mapping[Step, int]
) -> dict[FailureKind, ControlRow]:
    """Each kind of failure of this run, in both runs."""
    groups: dict[FailureKind, list[Attributed]] = {}
    for one in requests:
        if one.finding.kind not in _NOT_COMPARED:
            groups.setdefault(_kind(one), []).append(one)
    there = {one.what: one.count for one in control.failures}
    sent_there = {(one.journey, one.step): one.sent for one in control.sent}
    both = {
        kind: (
            _counts(len(group), sent.get((kind.journey, kind.step), 0)),
            _counts(there.get(kind, 0), sent_there.get((kind.journey, kind.step), 0)),
        )
        for kind, group in sorted(groups.items())
    }
    chances = {kind: fisher_greater(*counts) for kind, counts in both.items()}
    shared = [kind for kind in both if kind in there]
    higher = dict(zip(shared, holm([chances[kind] for kind in shared], LEVEL), strict=True))
    return {
        kind: ControlRow(
            cause=kind.cause,
            title=groups[kind][0].finding.title,
            result=kind.result,
            journey=kind.journey,
            step=kind.step,
            endpoint=min(one.failure.outcome.endpoint for one in groups[kind]),
            control_failed=other.failed,
            control_requests=other.all,
            failed=here.failed,
            requests=here.all,
            chance=chances[kind],
            own=_own(here, other, higher=higher.get(kind, True)),
            every_deployment=kind.cause in EVERY_DEPLOYMENT,
        )
        for kind, (here, other) in both.items()
    }


def _counts(failed: int, sent: int) -> Counts:
    return Counts(failed, max(sent - failed, 0))


def _own(here: Counts, there: Counts, *, higher: bool) -> int:
    """How many failures lie above the rate of the control run."""
    if not higher:
        return 0
    expected = there.failed * here.all / there.all if there.all else 0.0
    return max(1, here.failed - round(expected))


def _ordered(rows: Iterable[ControlRow]) -> tuple[ControlRow, ...]:
    return tuple(sorted(rows, key=lambda row: (-row.own, -row.failed, row.cause, row.endpoint)))
