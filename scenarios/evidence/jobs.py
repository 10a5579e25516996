"""Jobs as recorded: what the application told of them, and what the queue still had at the end."""

from collections.abc import Mapping
from typing import Literal

import msgspec

JobCause = Literal[
    "job:lost",
    "job:cut",
    "job:done_twice",
    "job:will_repeat",
    "job:hidden",
    "job:reordered",
    "job:dropped",
    "job:not_understood",
    "job:failed",
    "job:begun_after_stop",
    "job:cron_twice",
]
"""The kinds of causes; the id in a verdict may say more, such as `job:not_understood_by:a`."""

What = Literal["asked", "begun", "ended", "failed"]

StoreState = Literal["waiting", "held", "scheduled", "failed"]


class JobEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One thing that the application told of a job, as recorded in `jobs.ndjson`.

    Attributes:
        job: the id of the job.
        what: `asked`: the queue has accepted it. `begun`: a worker has begun to do it. `ended`: it
            is done. `failed`: it has raised an error.
        at_ns: its time on the machine's monotonic clock.
        by: the process that tells it: the id of a replica, or of a process of a set.
        version: the version of that process.
        pid: the id of the process that told it, which may be a child of `by`.
        name: the name of the job's kind, such as `send_mail`.
        key: jobs with the same key must be begun in the order in which they were asked for.
        due: of a job of a scheduler: the instant for which it is scheduled, in any form. Two jobs
            with the same name and the same instant are one too many.
        error: the error, if it failed.
    """

    job: str
    what: What
    at_ns: int
    by: str | None = None
    version: str | None = None
    pid: int | None = None
    name: str | None = None
    key: str | None = None
    due: str | None = None
    error: str | None = None


class StoredJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One job that the queue still had after the run, as recorded in `stored-jobs.ndjson`.

    Attributes:
        job: the id of the job.
        state: `waiting`: any worker may take it. `held`: a worker has taken it and has not given it
            back. `scheduled`: it waits for its time. `failed`: nobody will do it again.
        by: the process that holds it, as far as the queue knows.
        until_seconds: of a job that is held or scheduled: after how many seconds from now another
            worker may take it; absent if that is unknown.
        name: the name of the job's kind.
        error: why it failed.
        at_ns: when the queue was asked, on the machine's monotonic clock; 0 if that is unknown.
    """

    job: str
    state: StoreState
    by: str | None = None
    until_seconds: float | None = None
    name: str | None = None
    error: str | None = None
    at_ns: int = 0


class JobError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error in the log of a process that names a job, as recorded in `job-errors.ndjson`.

    Attributes:
        job: the job.
        by: the process whose log has it.
        error: the error, as its language prints it: `type: message`.
    """

    job: str
    by: str
    error: str


class ProcessSet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A set of processes of the run, as the manifest describes it.

    Attributes:
        name: its name.
        shared: whether all versions share it.
        replicas: how many processes of a version serve.
        place: when it is deployed.
        stop_signal: the signal that tells a process to stop.
        stop_to: who gets that signal.
        grace_seconds: how long a process may take to stop before it is killed.
    """

    name: str
    shared: bool = False
    replicas: int = 1
    place: str = "with"
    stop_signal: str = "SIGTERM"
    stop_to: str = "parent"
    grace_seconds: float = 10.0


class JobSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a run looked at jobs, as the manifest describes it.

    Attributes:
        system: the queue system, such as `celery`; absent if it is unknown.
        stored: whether a command told what the queue still had.
        settled: whether the queue was empty at the end of the run; absent if the run did not come
            to that.
        may: the causes that are accepted.
        unreadable: how many lines of the account were no lines about jobs.
        first_unreadable: the first of them, and what is wrong with it.
    """

    system: str | None = None
    stored: bool = False
    settled: bool | None = None
    may: tuple[JobCause, ...] = ()
    unreadable: int = 0
    first_unreadable: str | None = None


KNOWN_SYSTEMS: Mapping[str, str] = {
    "celery": "celery",
    "rq": "rq",
    "dramatiq": "dramatiq",
    "huey": "huey",
    "huey_consumer": "huey",
    "huey_consumer.py": "huey",
    "arq": "arq",
    "taskiq": "taskiq",
    "procrastinate": "procrastinate",
    "graphile-worker": "graphile-worker",
    "sidekiq": "sidekiq",
}
"""Queue systems by the words of a command that start their workers."""
