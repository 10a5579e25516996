"""The objectives of a run one by one, and whether the application held each.

What does not count against the application is said in `scenarios.verdict.decision`.
"""

from collections.abc import Iterable, Mapping

from scenarios.verdict.causes.titles import without_code
from scenarios.verdict.decision import (
    Findings,
    ended_as_expected,
    fell_behind,
    number,
    of_machine,
    unfinished,
)
from scenarios.verdict.measures import replica_ends
from scenarios.verdict.measures.slo import percent_down
from scenarios.verdict.model import Cause, Check, ControlComparison, Integrity, Jobs

ENDED: Mapping[str, str] = {
    "completed": "completed",
    "rolled_back": "was rolled back",
    "aborted": "was aborted",
    "failed": "failed",
}
_NOT_THE_RELEASE = frozenset({"harness", "machine"})
LOAD_MADE = frozenset({"transport:timeout", "transport:connect_timeout"})
"""Causes that a load generator which fell behind may have made itself."""


def check_objectives(findings: Findings) -> tuple[Check, ...]:
    """Each objective of the run, and whether the application held it.

    What the load generator may have caused itself does not count here: see the module.
    """
    behind = any(True for _ in fell_behind(findings))
    return tuple(
        check
        for check in (
            _check_failures(findings, behind=behind),
            _check_availability(findings, behind=behind),
            _check_slow(findings, behind=behind),
            _check_outage(findings),
            _check_locks(findings),
            _check_termination(findings),
            _check_fresh_starts(findings),
            _check_answers(findings),
            _check_integrity(findings.integrity, late=unfinished(findings) is not None),
            _check_jobs(findings.jobs),
            _check_missed(findings),
            _check_reconnects(findings),
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


def _counted(causes: Iterable[Cause]) -> int:
    """How many requests count against the release."""
    return sum(cause.count - cause.excused for cause in causes)


def _check_failures(findings: Findings, *, behind: bool) -> Check:
    causes = _proven(findings, behind=behind)
    may = findings.manifest.objectives.failed_requests
    sent = number(findings.requests.ok + findings.requests.failed, "request")
    failed, counted = sum(cause.count for cause in causes), _counted(causes)
    return Check(
        check="failed_requests",
        title=f"{at_most(may, 'request')} fails" if may <= 1 else f"{at_most(may, 'request')} fail",
        held=counted <= may if findings.requests.planned else None,
        sentence=(
            f"failed {failed:,} of {sent}{_beside_control(findings.control, failed)} "
            f"({allowed(may)}){_mostly(causes)}"
        ),
    )


def _beside_control(control: ControlComparison | None, failed: int) -> str:
    """How many of the failures the control run had as often, as the rest of a sentence."""
    if control is None or not control.usable or not failed:
        return ""
    kept = (
        f"; {control.every_deployment:,} of them count all the same, because every deployment with "
        "this strategy loses such requests"
        if control.every_deployment
        else ""
    )
    return f": {control.also:,} as in the control run, {control.own:,} the release's own{kept}"


def _mostly(causes: Iterable[Cause]) -> str:
    """The cause of most of the failures that count, as the end of a sentence."""
    for cause in causes:
        if cause.count > cause.excused:
            title = without_code(cause.title)
            return f"; most frequent cause: {title} ({cause.count - cause.excused:,})"
    return ""


def _check_availability(findings: Findings, *, behind: bool) -> Check | None:
    objective = findings.manifest.objectives.availability
    sent = findings.requests.ok + findings.requests.failed
    if objective is None or not sent:
        return None
    failed = _counted(_proven(findings, behind=behind))
    excused = sum(cause.excused for cause in findings.causes)
    told = f"{percent_down(1 - failed / sent)} of the" if failed else f"all {sent:,}"
    told += " requests succeeded"
    if excused:
        told = (
            f"{failed:,} of {number(sent, 'request')} failed, beside {excused:,} that failed as in "
            "the control run"
        )
    return Check(
        check="availability",
        title=f"at least {objective * 100:g} % of the requests succeed",
        held=1 - failed / sent >= objective,
        sentence=f"{told} (objective: at least {objective * 100:g} %)",
    )


def _check_slow(findings: Findings, *, behind: bool) -> Check | None:
    objectives = findings.manifest.objectives
    excused = sum(cause.excused for cause in findings.slow_causes)
    slow = findings.requests.slow - of_machine(findings.slow_causes) - excused
    less = f", without {excused:,} that were slow as in the control run" if excused else ""
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
            f"{number(slow, 'request')} took longer than {objectives.latency_seconds:g} s{less} "
            f"({allowed(may)})"
        ),
    )


def _check_outage(findings: Findings) -> Check | None:
    may = findings.manifest.objectives.longest_outage_seconds
    if may is None:
        return None
    broken = findings.longest_outage > may
    excused = any(cause.excused for cause in findings.causes)
    less = ", without failures as in the control run" if excused else ""
    return Check(
        check="longest_outage",
        title=f"no outage lasts longer than {may:g} s",
        # An outage that the starved machine may have made, or made longer, proves nothing.
        held=None if broken and of_machine(findings.causes) else not broken,
        sentence=(
            f"the longest outage lasted at least {findings.longest_outage:.2f} s{less} "
            f"(at most {may:g} s allowed)"
            if findings.longest_outage
            else f"no outage was seen{less} (at most {may:g} s allowed)"
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


def _check_fresh_starts(findings: Findings) -> Check | None:
    found = findings.fresh_starts
    if not found:
        return None
    bad = [one for one in found if one.error is not None]
    versions = " and ".join(dict.fromkeys(str(one.version) for one in found))
    sentence = f"a fresh replica of {versions} became ready after each step that migrated"
    if bad:
        first = bad[0]
        sentence = (
            f"after step {first.detail.get('step')}, while version {first.version} served, no "
            f"fresh replica of it could start: {first.error}"
        )
    return Check(
        check="fresh_start",
        title="a version that serves can start after each migration",
        held=not bad,
        sentence=sentence,
    )


def _check_answers(findings: Findings) -> Check | None:
    answers, must = findings.answers, findings.manifest.objectives.same_answers
    if not answers.compared:
        return None
    if answers.changes:
        first, more = answers.changes[0], len(answers.changes) - 1
        sentence = first.sentence + (f" ({number(more, 'more change')})" if more else "")
        sentence += "" if must else " (allowed by the objectives)"
    else:
        sentence = (
            f"JSON answers of {number(answers.compared, 'endpoint')} kept their values and types "
            f"({answers.looked_at:,} answers were looked at)"
        )
    return Check(
        check="answers",
        title="JSON answers keep their values and types",
        held=not (answers.changes and must),
        sentence=sentence,
    )


def _check_integrity(integrity: Integrity, *, late: bool) -> Check:
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
        held=None if late else {"held": True, "violated": False}.get(integrity.status),
        sentence=sentence,
    )


def _check_missed(findings: Findings) -> Check | None:
    streams, may = findings.streams, findings.manifest.objectives.missed_messages
    if not streams.closed and not streams.missed:
        return None
    return Check(
        check="missed_messages",
        title=f"clients that reconnect miss {at_most(may, 'message')}",
        held=streams.missed <= may,
        sentence=(
            f"clients that reconnected missed {number(streams.missed, 'message')} ({allowed(may)})"
        ),
    )


def _check_reconnects(findings: Findings) -> Check | None:
    streams, may = findings.streams, findings.manifest.objectives.reconnect_seconds
    if may is None or not streams.closed:
        return None
    gap = streams.longest_gap
    told = "no client was connected again" if gap is None else f"the longest took {gap:.2f} s"
    return Check(
        check="reconnect",
        title=f"each client is connected again within {may:g} s",
        held=gap is not None and gap <= may and not streams.gone,
        sentence=(
            f"{number(streams.reopened, 'client')} reconnected"
            f"{f', and {streams.gone:,} never did' if streams.gone else ''}; {told} "
            f"(at most {may:g} s)"
        ),
    )


def _check_jobs(jobs: Jobs | None) -> Check | None:
    if jobs is None:
        return None
    own = [one for one in jobs.causes if not one.accepted]
    accepted = sum(one.count for one in jobs.causes if one.accepted)
    beside = f"; {accepted:,} more with a cause that the scenario accepts" if accepted else ""
    if own:
        first = own[0]
        example = first.examples[0] if first.examples else None
        said = f" (job {example.job}: {example.sentence})" if example else ""
        sentence = (
            f"{jobs.broken:,} of {number(jobs.asked, 'job')} did not end as they should have "
            f"(none allowed); most frequent cause: {first.title} ({first.count:,}){said}{beside}"
        )
    else:
        sentence = f"each of {number(jobs.ended, 'job')} was done once{beside}"
    return Check(
        check="jobs",
        title="each job is done once, by a version that understands it",
        held=False if own else True if jobs.asked > jobs.later and not jobs.unfinished else None,
        sentence=sentence,
    )


def _check_outcome(findings: Findings, *, starved: bool) -> Check:
    manifest = findings.manifest
    held = ended_as_expected(manifest)
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
