"""The decision: pass, fail or invalid, with its reasons in plain sentences.

Which of them wins, when several could be said:

1. `invalid` if the run has no ground to judge from: nothing was requested, it was interrupted, or
   requests failed before anything was deployed. Failures may then have nothing to do with the
   release.
2. `fail` if the application demonstrably broke an objective. A generator that fell behind does not
   take that back: a refused insert or a lost row is no artefact of load. But what the generator
   may itself have caused never counts here: requests that it could not send, its exhausted ports,
   and, when it fell behind, timeouts and slow answers. Nor does what other processes may have
   caused that used the machine: timeouts, and health checks without an answer.
3. `invalid` if nothing broke, but the run could not have shown it if it had: the generator fell
   behind, other processes used the machine and requests failed, the new version never answered, no
   request was made while it was deployed.
4. `pass` otherwise.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from scenarios.evidence.manifest import Manifest
from scenarios.verdict.causes.machine import Starved
from scenarios.verdict.measures import replica_ends
from scenarios.verdict.measures.slo import percent_down
from scenarios.verdict.model import (
    Cause,
    Check,
    Harness,
    Integrity,
    Locks,
    Phase,
    ReplicaEnd,
    Requests,
    Rescued,
    VersionShare,
    Word,
)
from scenarios.verdict.model.replica_end import BROKEN

CPU_SATURATED = 0.95
ENDED: Mapping[str, str] = {
    "completed": "completed",
    "rolled_back": "was rolled back",
    "aborted": "was aborted",
    "failed": "failed",
}
_NOT_THE_RELEASE = frozenset({"harness", "machine"})
LOAD_MADE = frozenset({"transport:timeout", "transport:connect_timeout"})
"""Causes that a load generator which fell behind may have made itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the decision is made from.

    Attributes:
        starved: how far other processes had the machine, over the whole run.
        stalled: the same when the release ended since replicas did not answer.
    """

    manifest: Manifest
    requests: Requests
    causes: tuple[Cause, ...]
    integrity: Integrity
    harness: Harness
    phases: tuple[Phase, ...]
    versions: tuple[VersionShare, ...]
    early_failures: int
    contradictions: int
    longest_outage: float
    faults: int
    locks: Locks
    seconds: float | None
    floor_seconds: float | None
    paced: int
    slow_causes: tuple[Cause, ...] = ()
    starved: Starved | None = None
    stalled: Starved | None = None
    replica_ends: tuple[ReplicaEnd, ...] = ()
    rescued: Rescued = field(default_factory=Rescued)


def decide(
    findings: Findings, checks: tuple[Check, ...]
) -> tuple[Word, tuple[str, ...], tuple[str, ...]]:
    """The verdict, its reasons, and the doubts that did not decide: see the module's order."""
    ground = (*_no_ground(findings), *_contradicted(findings), *_not_made(findings))
    behind = tuple(_fell_behind(findings))
    breaches = tuple(check.sentence for check in checks if check.held is False)
    blind = (*behind, *_starved(findings), *_saw_nothing(findings))
    if ground:
        return "invalid", ground, (*blind, *breaches)
    if breaches:
        return "fail", breaches, blind
    if blind:
        return "invalid", blind, ()
    return "pass", tuple(check.sentence for check in checks if check.held), ()


def _no_ground(findings: Findings) -> Iterable[str]:
    if findings.manifest.interrupted:
        yield "the run was interrupted"
    if findings.requests.planned == 0:
        yield "no request was made"
    if findings.early_failures:
        yield (
            f"{number(findings.early_failures, 'request')} failed in the baseline, before anything "
            "was deployed (none allowed)"
        )


def _not_made(findings: Findings) -> Iterable[str]:
    wanted = findings.manifest.faults
    if findings.faults < len(wanted) and not findings.manifest.interrupted:
        yield (
            f"only {findings.faults} of {number(len(wanted), 'planned fault')} happened "
            f"({', '.join(wanted)}), so the run does not test what was planned"
        )


def _contradicted(findings: Findings) -> Iterable[str]:
    if findings.contradictions:
        yield (
            "the evidence contradicts itself: the load generator's record disagrees with the "
            f"balancer's log about {number(findings.contradictions, 'answer')}"
        )


def _fell_behind(findings: Findings) -> Iterable[str]:
    harness, limit = findings.harness, findings.manifest.objectives.schedule_lag_p99_seconds
    if harness.undispatched:
        yield (
            f"the load generator could not send {harness.undispatched:,} of "
            f"{number(findings.requests.planned, 'request')} (it must send all of them)"
        )
    lag = harness.schedule_lag_p99
    if lag is not None and lag > limit:
        yield (
            "the load generator fell behind its schedule: its p99 lag was "
            f"{lag * 1e3:,.0f} ms (limit {limit * 1e3:,.0f} ms)"
        )
    held_up, longest = (
        harness.schedule_lag_max,
        findings.manifest.objectives.schedule_lag_max_seconds,
    )
    if held_up is not None and held_up > longest:
        yield (
            f"the load generator stalled for {held_up:.2f} s and observed nothing during that "
            f"time (limit {longest:.2f} s)"
        )
    if harness.cpu_max is not None and harness.cpu_max >= CPU_SATURATED:
        yield (
            f"the load generator was saturated: it used {harness.cpu_max * 100:.0f} % of a "
            f"processor for a second (limit {CPU_SATURATED * 100:.0f} %)"
        )


def _starved(findings: Findings) -> Iterable[str]:
    """What other processes may have caused, where the objectives would not allow it."""
    objectives, starved = findings.manifest.objectives, findings.starved
    if starved is None:
        return
    failed = sum(cause.count for cause in findings.causes if cause.kind != "harness")
    lost, slow = _of_machine(findings.causes), _of_machine(findings.slow_causes)
    may = objectives.slow_requests
    told = []
    if lost and failed > objectives.failed_requests:
        told.append(f"{number(lost, 'request')} failed")
    if slow and may is not None and findings.requests.slow > may:
        told.append(f"{number(slow, 'request')} took too long")
    if findings.stalled is not None and not _ended_as_expected(findings.manifest):
        told.append("replicas did not become ready, or did not stay up,")
    if findings.manifest.objectives.termination:
        killed = sum(
            one.way in BROKEN and (one.excused or "").startswith("the machine")
            for one in findings.replica_ends
        )
        if killed:
            told.append(f"{number(killed, 'replica')} had to be killed")
    if told:
        yield (
            f"{' and '.join(told)} while the machine was starved: {starved.words}; so the run "
            "cannot tell whether the release is to blame"
        )


def _of_machine(causes: Iterable[Cause]) -> int:
    return sum(cause.count for cause in causes if cause.kind == "machine")


def _ended_as_expected(manifest: Manifest) -> bool:
    return manifest.outcome == manifest.expected_outcome


def _saw_nothing(findings: Findings) -> Iterable[str]:
    manifest = findings.manifest
    answered = {share.version: share.requests for share in findings.versions}
    named = any(answered.values()) or not findings.requests.ok
    last = manifest.versions[-1] if manifest.versions else None
    if manifest.outcome == "completed" and last is not None and named and not answered.get(last):
        yield f"the release completed, but version {last} never answered a request"
    for phase in findings.phases:
        if phase.name == "rollout" and not phase.requests.planned and findings.requests.planned:
            yield "no request was made during the release"


def check_objectives(findings: Findings) -> tuple[Check, ...]:
    """Each objective of the run, and whether the application held it.

    What the load generator may have caused itself does not count here: see the module.
    """
    behind = any(True for _ in _fell_behind(findings))
    return tuple(
        check
        for check in (
            _check_failures(findings, behind=behind),
            _check_availability(findings, behind=behind),
            _check_slow(findings, behind=behind),
            _check_outage(findings),
            _check_locks(findings),
            _check_termination(findings),
            _check_integrity(findings.integrity),
            _check_outcome(findings, starved=findings.stalled is not None),
        )
        if check is not None
    )


def _proven(findings: Findings, *, behind: bool) -> list[Cause]:
    return [
        cause
        for cause in findings.causes
        if cause.kind not in _NOT_THE_RELEASE and not (behind and cause.cause in LOAD_MADE)
    ]


def _check_failures(findings: Findings, *, behind: bool) -> Check:
    causes = _proven(findings, behind=behind)
    failed, may = sum(cause.count for cause in causes), findings.manifest.objectives.failed_requests
    sent = number(findings.requests.ok + findings.requests.failed, "request")
    mostly = f"; most frequent cause: {causes[0].title} ({causes[0].count:,})" if causes else ""
    return Check(
        check="failed_requests",
        title=f"{at_most(may, 'request')} fails" if may <= 1 else f"{at_most(may, 'request')} fail",
        held=failed <= may if findings.requests.planned else None,
        sentence=f"failed {failed:,} of {sent} ({allowed(may)}){mostly}",
    )


def _check_availability(findings: Findings, *, behind: bool) -> Check | None:
    objective = findings.manifest.objectives.availability
    sent = findings.requests.ok + findings.requests.failed
    if objective is None or not sent:
        return None
    failed = sum(cause.count for cause in _proven(findings, behind=behind))
    share = f"{percent_down(1 - failed / sent)} of the" if failed else f"all {sent:,}"
    return Check(
        check="availability",
        title=f"at least {objective * 100:g} % of the requests succeed",
        held=1 - failed / sent >= objective,
        sentence=f"{share} requests succeeded (objective: at least {objective * 100:g} %)",
    )


def _check_slow(findings: Findings, *, behind: bool) -> Check | None:
    objectives = findings.manifest.objectives
    slow = findings.requests.slow - _of_machine(findings.slow_causes)
    may = objectives.slow_requests
    if may is None:
        return None
    held = slow <= may
    takes = "takes" if may <= 1 else "take"
    return Check(
        check="slow_requests",
        title=f"{at_most(may, 'request')} {takes} longer than {objectives.latency_seconds:g} s",
        held=None if behind and not held else held,
        sentence=(
            f"{number(slow, 'request')} took longer than {objectives.latency_seconds:g} s "
            f"({allowed(may)})"
        ),
    )


def _check_outage(findings: Findings) -> Check | None:
    may = findings.manifest.objectives.longest_outage_seconds
    if may is None:
        return None
    broken = findings.longest_outage > may
    return Check(
        check="longest_outage",
        title=f"no outage lasts longer than {may:g} s",
        # An outage that the starved machine may have made, or made longer, proves nothing.
        held=None if broken and _of_machine(findings.causes) else not broken,
        sentence=(
            f"the longest outage lasted at least {findings.longest_outage:.2f} s "
            f"(at most {may:g} s allowed)"
            if findings.longest_outage
            else f"no outage was seen (at most {may:g} s allowed)"
        ),
    )


def _check_locks(findings: Findings) -> Check | None:
    may, locks = findings.manifest.objectives.lock_wait_seconds, findings.locks
    if may is None:
        return None
    longest = locks.longest or 0.0
    behind = max(locks.blockers, key=lambda one: one.seconds, default=None)
    holder = "" if behind is None else behind.application or "another session"
    whom = "" if behind is None else f" held by {holder} during {behind.during}"
    return Check(
        check="lock_wait",
        title=f"no session of the application waits longer than {may:g} s for a lock",
        held=longest <= may if locks.watched else None,
        sentence=(
            f"the application waited up to {longest:.2f} s for a lock{whom} "
            f"(at most {may:g} s allowed)"
            if locks.watched
            else "lock waits in the database were not recorded"
        ),
    )


def _check_termination(findings: Findings) -> Check | None:
    if not findings.replica_ends:
        return None
    must = findings.manifest.objectives.termination
    broken = any(one.broken for one in findings.replica_ends)
    return Check(
        check="termination",
        title="each replica stops when it is asked to",
        held=not (broken and must),
        sentence=replica_ends.sentence(findings.replica_ends, allowed=not must),
    )


def _check_integrity(integrity: Integrity) -> Check:
    if integrity.violation_count:
        first = integrity.violations[0]
        sentence = (
            f"{number(integrity.violation_count, 'violation')} of data integrity (none allowed); "
            f"the first is about {first.subject}: expected {first.expected}, found {first.found}"
            + (f"; {integrity.logged[0]}" if integrity.logged else "")
        )
    elif integrity.status == "unchecked":
        sentence = "data integrity was not checked, because the database was not read"
    elif integrity.status == "unknown":
        sentence = "data integrity is unknown, because no request promised anything about the data"
    else:
        sentence = f"no row lost, duplicated or invented ({integrity.checked:,} checked)"
    return Check(
        check="integrity",
        title="no data is lost, duplicated or invented",
        held={"held": True, "violated": False}.get(integrity.status),
        sentence=sentence,
    )


def _check_outcome(findings: Findings, *, starved: bool) -> Check:
    manifest = findings.manifest
    held = _ended_as_expected(manifest)
    because = f": {manifest.outcome_reason}" if manifest.outcome_reason and not held else ""
    if not held:
        # A cause without requests is why a replica did not start.
        because += "".join(f"; {cause.title}" for cause in findings.causes if not cause.count)
    expected = manifest.expected_outcome.replace("_", " ")
    return Check(
        check="outcome",
        title=f"the release ends as expected ({expected})",
        held=None if manifest.interrupted or (starved and not held) else held,
        sentence=(
            f"the release {ENDED[manifest.outcome]}, as expected"
            if held
            else f"the release {ENDED[manifest.outcome]}{because} (expected outcome: {expected})"
        ),
    )


def allowed(count: int) -> str:
    """How many of something an objective allows, in words."""
    return f"{count:,} allowed" if count else "none allowed"


def at_most(count: int, thing: str) -> str:
    """An upper limit as the subject of a sentence, such as `no request`."""
    return f"at most {number(count, thing)}" if count else f"no {thing}"


def number(count: int, thing: str) -> str:
    """A count with its noun, such as `1 request` or `4,812 requests`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
