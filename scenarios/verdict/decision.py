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

A step of the release that changed nothing is a doubt. It never decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from scenarios.evidence.event import Event
from scenarios.evidence.manifest import Manifest
from scenarios.verdict.causes.machine import Starved
from scenarios.verdict.model import (
    AnswerComparison,
    Cause,
    Check,
    ControlComparison,
    Harness,
    Integrity,
    Jobs,
    Locks,
    Phase,
    ReplicaEnd,
    Requests,
    Rescued,
    Streams,
    VersionShare,
    Word,
)
from scenarios.verdict.model.replica_end import BROKEN

CPU_SATURATED = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the decision is made from.

    Attributes:
        starved: how far other processes had the machine, over the whole run.
        stalled: the same when the release ended since replicas did not answer.
        fresh_starts: whether serving versions could still start after each migration.
        step_effects: steps that changed nothing.
        counted: how many requests were counted, and have no line each.
        answers: whether JSON answers kept their values.
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
    unsettled: Starved | None = None
    replica_ends: tuple[ReplicaEnd, ...] = ()
    rescued: Rescued = field(default_factory=Rescued)
    control: ControlComparison | None = None
    jobs: Jobs | None = None
    fresh_starts: tuple[Event, ...] = ()
    step_effects: tuple[Event, ...] = ()
    streams: Streams = field(default_factory=Streams)
    counted: int = 0
    answers: AnswerComparison = field(default_factory=AnswerComparison)


def decide(
    findings: Findings, checks: tuple[Check, ...]
) -> tuple[Word, tuple[str, ...], tuple[str, ...]]:
    """The verdict, its reasons, and the doubts that did not decide: see the module's order."""
    ground = (*_no_ground(findings), *_contradicted(findings), *_not_made(findings))
    behind = tuple(fell_behind(findings))
    breaches = tuple(check.sentence for check in checks if check.held is False)
    blind = (*behind, *_starved(findings), *_saw_nothing(findings), *_unsure_of_jobs(findings))
    doubts = tuple(_changed_nothing(findings))
    if ground:
        return "invalid", ground, (*blind, *breaches, *doubts)
    if breaches:
        return "fail", breaches, (*blind, *doubts)
    if blind:
        return "invalid", blind, doubts
    return "pass", tuple(check.sentence for check in checks if check.held), doubts


def _no_ground(findings: Findings) -> Iterable[str]:
    if findings.manifest.interrupted:
        yield "the run was interrupted"
    for one in findings.harness.generators:
        if one.lost is not None:
            why = one.lost.rstrip(".")
            yield f"generator {one.number} {why}; so a part of the users is missing"
    if findings.requests.planned == 0:
        yield "no request was made"
    if findings.early_failures and findings.manifest.role == "release":
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


def fell_behind(findings: Findings) -> Iterable[str]:
    """How the load generator fell behind its schedule, as sentences; empty if it kept up."""
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
    failed = sum(
        cause.count - cause.excused for cause in findings.causes if cause.kind != "harness"
    )
    lost, slow = of_machine(findings.causes), of_machine(findings.slow_causes)
    may = objectives.slow_requests
    told = []
    if lost and failed > objectives.failed_requests:
        told.append(f"{number(lost, 'request')} failed")
    if slow and may is not None and findings.requests.slow > may:
        told.append(f"{number(slow, 'request')} took too long")
    if findings.stalled is not None and not ended_as_expected(findings.manifest):
        told.append("replicas did not become ready, or did not stay up,")
    if findings.manifest.objectives.termination:
        killed = sum(
            one.way in BROKEN and (one.excused or "").startswith("the machine")
            for one in findings.replica_ends
        )
        if killed:
            told.append(f"{number(killed, 'replica')} had to be killed")
    if (late := unfinished(findings)) is not None:
        told.append(f"work was not finished in time ({number(late, 'mail')} not sent)")
    if told:
        yield (
            f"{' and '.join(told)} while the machine was starved: {starved.words}; so the run "
            "cannot tell whether the release is to blame"
        )


def unfinished(findings: Findings) -> int | None:
    """How many mails were not sent, if nothing else is wrong and the machine was starved.

    None if other promises are broken as well, or if the application had finished its work.
    """
    late = sum(
        one.violations for one in findings.integrity.invariants if one.invariant == "mail_sent"
    )
    if findings.unsettled is None or not late or late != findings.integrity.violation_count:
        return None
    return late


def of_machine(causes: Iterable[Cause]) -> int:
    """How many requests failed or were slow because other processes used the machine."""
    return sum(cause.count for cause in causes if cause.kind == "machine")


def ended_as_expected(manifest: Manifest) -> bool:
    """Whether the release ended as its scenario expects."""
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


def _changed_nothing(findings: Findings) -> Iterable[str]:
    """Steps whose migrations were perhaps not found: a tool may end well and do nothing."""
    for event in findings.step_effects:
        if event.error is None:
            step, migration = event.detail.get("step"), event.detail.get("migration")
            yield (
                f"step {step} ({migration}) changed nothing at all: no schema, no row, no history "
                "of migrations; either its tool did not find the migrations, or the step needs "
                "may_change_nothing = true"
            )


def _unsure_of_jobs(findings: Findings) -> Iterable[str]:
    jobs = findings.jobs
    if jobs is None:
        return
    if jobs.doubt is not None:
        yield jobs.doubt
    if not jobs.asked:
        yield (
            "the scenario has a [jobs] table, but the application told of no job; see docs/jobs.md "
            "for how it does"
        )
    elif jobs.unfinished:
        yield (
            f"{number(jobs.unfinished, 'job')} of {jobs.asked:,} had not ended when the run did, "
            "so it cannot tell what would have become of them; give it more time with "
            "jobs.settle_timeout_seconds"
        )
    elif jobs.later == jobs.asked:
        yield (
            f"{number(jobs.later, 'job')} of {jobs.asked:,} are scheduled for an instant after the "
            "end of the run, so it has looked at none; let the traffic ask for jobs to be done now"
        )


def number(count: int, thing: str) -> str:
    """A count with its noun, such as `1 request` or `4,812 requests`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
