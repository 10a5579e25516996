"""What is known of each job, put together from the account, the queue and the journal. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from scenarios.evidence.event import Event
from scenarios.evidence.jobs import JobError, JobEvent, StoredJob
from scenarios.verdict.timeline import Timeline

_SIGNALS = frozenset({"term", "term-group", "term-twice", "restart-in-minute"})


class ProcessLife(NamedTuple):
    """What the journal tells of a process that does jobs; an instant is None if it never came.

    Attributes:
        version: its version.
        asked_ns: when it got its first stop signal, from the release or from a fault.
        ended_ns: when it had ended.
    """

    version: str | None
    asked_ns: int | None
    ended_ns: int | None


@dataclass(slots=True)
class Attempt:
    """One time that a worker began a job.

    Attributes:
        begun_ns: when.
        by: the process.
        version: its version.
        pid: the process id that told it.
        ended_ns: when it told the end; None if it never did.
        failed: whether that end was an error.
        error: the error.
        cut_ns: when the process ended while it did the job; None if it did not.
    """

    begun_ns: int
    by: str | None = None
    version: str | None = None
    pid: int | None = None
    ended_ns: int | None = None
    failed: bool = False
    error: str | None = None
    cut_ns: int | None = None


@dataclass(slots=True)
class JobHistory:
    """What is known of one job.

    Attributes:
        job: its id.
        name: the name of its kind.
        asked_ns: when it was asked for; None if nobody told that.
        asked_by: who asked for it.
        asked_version: the version of that process.
        key: jobs with the same key must be begun in order.
        due: the instant for which a scheduler made it.
        attempts: each time that a worker began it, in order.
        failures: errors that were told without a begin.
        stored: what the queue still had of it.
        logged: errors in logs that name it.
    """

    job: str
    name: str | None = None
    asked_ns: int | None = None
    asked_by: str | None = None
    asked_version: str | None = None
    key: str | None = None
    due: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    failures: list[tuple[str | None, str]] = field(default_factory=list)
    stored: StoredJob | None = None
    logged: list[JobError] = field(default_factory=list)

    @property
    def ended(self) -> list[Attempt]:
        """The attempts that did the job."""
        return [one for one in self.attempts if one.ended_ns is not None and not one.failed]

    @property
    def cut(self) -> list[Attempt]:
        """The attempts that broke off since their process ended."""
        return [one for one in self.attempts if one.cut_ns is not None]

    @property
    def under_way(self) -> bool:
        """Whether the last attempt neither ended nor broke off."""
        return (
            bool(self.attempts)
            and self.attempts[-1].ended_ns is None
            and (self.attempts[-1].cut_ns is None)
        )


def process_lives(timeline: Timeline) -> dict[str, ProcessLife]:
    """What the journal tells of the processes beside the web, by their ids.

    What happens from the teardown of the run on is no part of the release, and is left out.
    """
    until = next((phase.start_ns for phase in timeline.phases if phase.name == "teardown"), None)
    signals = _fault_signals(timeline.events)
    lives = {}
    for name, life in timeline.processes.items():
        departure = life.departure
        asked = [signals[name]] if name in signals else []
        if life.asked_ns is not None:
            asked.append(life.asked_ns)
        ended = [
            at
            for at in (life.died_ns, None if departure is None else departure.ended_ns)
            if at is not None
        ]
        lives[name] = ProcessLife(life.version, _before(asked, until), _before(ended, until))
    return lives


def _before(instants: Iterable[int], until: int | None) -> int | None:
    return min((at for at in instants if until is None or at < until), default=None)


def _fault_signals(events: Iterable[Event]) -> dict[str, int]:
    """When faults of the run sent the stop signal to a process, by its id."""
    found: dict[str, int] = {}
    for event in events:
        begun = event.verb == "fault" and event.state == "started"
        if begun and event.detail.get("name") in _SIGNALS:
            for replica in event.replicas:
                found.setdefault(replica, event.at_ns)
    return found


def histories(
    events: Iterable[JobEvent],
    stored: Iterable[StoredJob],
    errors: Iterable[JobError],
    lives: Mapping[str, ProcessLife],
) -> dict[str, JobHistory]:
    """What is known of each job, by its id, in the order in which they were asked for.

    Args:
        events: what the application told.
        stored: what the queue still had.
        errors: what logs have about jobs.
        lives: the processes that do jobs, by their ids.
    """
    found: dict[str, JobHistory] = {}
    for event in sorted(events, key=lambda one: one.at_ns):
        job = found.setdefault(event.job, JobHistory(event.job))
        _take(job, event, lives)
    for row in stored:
        job = found.setdefault(row.job, JobHistory(row.job))
        job.stored = row
        job.name = job.name or row.name
    for error in errors:
        if error.job in found:
            found[error.job].logged.append(error)
    for job in found.values():
        for attempt in job.attempts:
            life = lives.get(attempt.by or "")
            if attempt.ended_ns is None and life is not None and life.ended_ns is not None:
                attempt.cut_ns = max(life.ended_ns, attempt.begun_ns)
    return found


def _take(job: JobHistory, event: JobEvent, lives: Mapping[str, ProcessLife]) -> None:
    life = lives.get(event.by or "")
    version = event.version or (life.version if life else None)
    job.name = job.name or event.name
    job.key = job.key or event.key
    job.due = job.due or event.due
    match event.what:
        case "asked":
            if job.asked_ns is None:
                job.asked_ns, job.asked_by, job.asked_version = event.at_ns, event.by, version
        case "begun":
            job.attempts.append(Attempt(event.at_ns, event.by, version, event.pid))
        case "ended" | "failed":
            attempt = _open(job, event)
            if attempt is None:
                # Its begin was told nowhere, or by another process.
                if event.what == "failed":
                    job.failures.append((version, event.error or "an error"))
                    return
                attempt = Attempt(event.at_ns, event.by, version, event.pid)
                job.attempts.append(attempt)
            attempt.ended_ns = event.at_ns
            attempt.failed = event.what == "failed"
            attempt.error = event.error


def _open(job: JobHistory, event: JobEvent) -> Attempt | None:
    """The attempt that an end belongs to: the newest open one of the same process."""
    for attempt in reversed(job.attempts):
        same = attempt.by == event.by and (
            attempt.pid is None or event.pid is None or attempt.pid == event.pid
        )
        if attempt.ended_ns is None and same:
            return attempt
    return None
