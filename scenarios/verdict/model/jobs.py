"""What became of the application's jobs."""

import msgspec

from scenarios.evidence.jobs import JobCause


class JobFinding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job that did not end as it should have; instants are in seconds since `origin_ns`.

    Attributes:
        job: its id.
        name: the name of its kind.
        sentence: what happened to it, in words.
        asked: when it was asked for.
        asked_by: the process that asked for it.
        begun: when it was begun, each time.
        begun_by: the processes that began it, in the same order.
        ended: when it ended, each time.
        error: the error that it raised, or that a log has about it.
        until: when the queue gives it to another worker, if it has it and says so.
    """

    job: str
    name: str | None = None
    sentence: str
    asked: float | None = None
    asked_by: str | None = None
    begun: tuple[float, ...] = ()
    begun_by: tuple[str, ...] = ()
    ended: tuple[float, ...] = ()
    error: str | None = None
    until: float | None = None


class JobCauseFound(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why jobs did not end as they should have.

    Attributes:
        cause: its id, such as `job:lost` or `job:not_understood_by:a`.
        kind: the kind of the cause, which is the id without a version or a number.
        title: the cause in words.
        count: how many jobs have it.
        accepted: whether the scenario accepts it (`jobs.may`).
        examples: the first of these jobs.
        faults: the faults of the run that came before it.
        remedy: what helps, in the words of the queue system; absent if nothing is known.
    """

    cause: str
    kind: JobCause
    title: str
    count: int
    accepted: bool = False
    examples: tuple[JobFinding, ...] = ()
    faults: tuple[str, ...] = ()
    remedy: str | None = None


class JobStop(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The longest stop of a set of processes, beside its grace period.

    Attributes:
        processes: the name of the set.
        process: the process that took longest.
        seconds: from its stop signal to its end.
        grace_seconds: how long it may take.
        killed: how many processes of the set were killed after their grace period.
        longest_job_seconds: the longest job that a process of the set did; absent if none ended.
    """

    processes: str
    process: str
    seconds: float
    grace_seconds: float
    killed: int = 0
    longest_job_seconds: float | None = None


class Jobs(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The application's jobs in a run.

    Attributes:
        system: the queue system; absent if it is unknown.
        asked: how many jobs were asked for, or begun without that.
        ended: how many of them ended exactly once or more often.
        unfinished: how many of them were still to be done at the end of the run, so that nobody can
            tell what would have become of them.
        later: how many of them the queue has scheduled for an instant after the end of the run.
        stored: whether the queue was asked what it still had.
        causes: why jobs did not end as they should have; the most frequent first.
        stops: the longest stop of each set of processes.
        doubt: why the account of the jobs cannot be trusted; absent if it can.
    """

    system: str | None = None
    asked: int
    ended: int
    unfinished: int = 0
    later: int = 0
    stored: bool = False
    causes: tuple[JobCauseFound, ...] = ()
    stops: tuple[JobStop, ...] = ()
    doubt: str | None = None

    @property
    def broken(self) -> int:
        """How many jobs did not end as they should have, without those of accepted causes."""
        return sum(one.count for one in self.causes if not one.accepted)
