"""What became of the jobs of a run, as a part of its verdict. Pure."""

from collections import Counter
from collections.abc import Iterable

from scenarios.evidence.evidence import Evidence
from scenarios.evidence.jobs import ProcessSet
from scenarios.verdict.jobs.history import (
    Attempt,
    JobHistory,
    histories,
    process_lives,
)
from scenarios.verdict.jobs.remedies import TITLES, remedy
from scenarios.verdict.jobs.rules import JobRules, JudgedJob
from scenarios.verdict.model.jobs import JobCauseFound, JobFinding, Jobs, JobStop
from scenarios.verdict.timeline import Timeline

EXAMPLES = 20
_FAULT_NS = 5_000_000_000
"""A fault explains what happened to a job within this time after it."""


def jobs_of(evidence: Evidence, timeline: Timeline, origin_ns: int) -> Jobs | None:
    """What became of the jobs; None if the run did not look at them.

    Args:
        evidence: the run's.
        timeline: its journal.
        origin_ns: the instant 0.0.
    """
    settings = evidence.manifest.jobs
    if settings is None or evidence.jobs is None:
        return None
    lives = process_lives(timeline)
    asked_queue = settings.stored and evidence.stored_jobs is not None
    jobs = histories(evidence.jobs, evidence.stored_jobs or (), evidence.job_errors, lives)
    rules = JobRules(jobs, lives, stored=asked_queue)
    found = [(job, cause) for job in jobs.values() if (cause := rules.cause(job)) is not None]
    named = {job.job for job, _ in found}
    unfinished = sum(rules.is_unfinished(job) for job in jobs.values() if job.job not in named)
    later = sum(rules.is_for_later(job) for job in jobs.values() if job.job not in named)
    causes = [
        _cause(group, settings.system, settings.may, timeline, origin_ns)
        for group in _by_cause(found)
    ]
    return Jobs(
        system=settings.system,
        asked=len(jobs),
        ended=sum(bool(job.ended) for job in jobs.values()),
        unfinished=unfinished,
        later=later,
        stored=asked_queue,
        causes=tuple(sorted(causes, key=lambda one: (-one.count, one.cause))),
        stops=tuple(_stops(evidence.manifest.processes, timeline, jobs.values())),
        doubt=_doubt(settings.unreadable, settings.first_unreadable),
    )


def _doubt(unreadable: int, first: str | None) -> str | None:
    if not unreadable:
        return None
    lines = "1 line is no line" if unreadable == 1 else f"{unreadable:,} lines are no lines"
    return f"the account of jobs has a gap: {lines} about a job; the first is {first}"


def _by_cause(
    found: Iterable[tuple[JobHistory, JudgedJob]],
) -> Iterable[list[tuple[JobHistory, JudgedJob]]]:
    groups: dict[str, list[tuple[JobHistory, JudgedJob]]] = {}
    for job, cause in found:
        groups.setdefault(cause.cause, []).append((job, cause))
    return groups.values()


def _cause(
    group: list[tuple[JobHistory, JudgedJob]],
    system: str | None,
    may: tuple[str, ...],
    timeline: Timeline,
    origin_ns: int,
) -> JobCauseFound:
    kind = group[0][1].kind
    faults = Counter(
        fault for _, cause in group for fault in _faults_before(timeline, cause.cut_ns)
    )
    version = group[0][1].cause.removeprefix("job:not_understood_by:")
    title = TITLES[kind]
    if kind == "job:not_understood":
        title = f"version {version} does not understand jobs that another version asked for"
    return JobCauseFound(
        cause=group[0][1].cause,
        kind=kind,
        title=title,
        count=len(group),
        accepted=kind in may,
        examples=tuple(_finding(job, cause, origin_ns) for job, cause in group[:EXAMPLES]),
        faults=tuple(faults),
        remedy=remedy(kind, system),
    )


def _finding(job: JobHistory, found: JudgedJob, origin_ns: int) -> JobFinding:
    def at(stamp: int) -> float:
        return (stamp - origin_ns) / 1e9

    return JobFinding(
        job=job.job,
        name=job.name,
        sentence=found.sentence,
        asked=None if job.asked_ns is None else at(job.asked_ns),
        asked_by=job.asked_by,
        begun=tuple(at(one.begun_ns) for one in job.attempts),
        begun_by=tuple(one.by or "?" for one in job.attempts),
        ended=tuple(at(one.ended_ns) for one in job.attempts if one.ended_ns is not None),
        error=found.error,
        until=None if job.stored is None else job.stored.until_seconds,
    )


def _faults_before(timeline: Timeline, at_ns: int | None) -> Iterable[str]:
    """The faults of the run that may be why a job was cut at that instant."""
    if at_ns is None:
        return
    for event in timeline.events:
        begun = event.verb == "fault" and event.state == "started"
        if begun and event.at_ns <= at_ns <= event.at_ns + _FAULT_NS:
            yield " ".join((str(event.detail.get("name", "fault")), *event.replicas))


def _stops(
    sets: Iterable[ProcessSet], timeline: Timeline, jobs: Iterable[JobHistory]
) -> Iterable[JobStop]:
    """The longest stop of each set during the release, beside its grace period."""
    attempts = [one for job in jobs for one in job.attempts]
    teardown = next((one.start_ns for one in timeline.phases if one.name == "teardown"), None)
    for one in sets:
        found = []
        killed = 0
        for name, life in timeline.processes.items():
            departure = life.departure
            if timeline.sets.get(name) != one.name or departure is None:
                continue
            asked, ended = departure.stop_asked_ns, departure.ended_ns
            if asked is None or ended is None or (teardown is not None and asked >= teardown):
                continue
            killed += departure.killed
            found.append(((ended - asked) / 1e9, name))
        if found:
            seconds, name = max(found)
            yield JobStop(
                processes=one.name,
                process=name,
                seconds=seconds,
                grace_seconds=one.grace_seconds,
                killed=killed,
                longest_job_seconds=_longest(attempts, one.name, timeline),
            )


def _longest(attempts: Iterable[Attempt], name: str, timeline: Timeline) -> float | None:
    return max(
        (
            (one.ended_ns - one.begun_ns) / 1e9
            for one in attempts
            if one.ended_ns is not None and timeline.sets.get(one.by or "") == name
        ),
        default=None,
    )
