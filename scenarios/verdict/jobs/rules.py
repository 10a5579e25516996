"""The cause of each job that did not end as it should have: one for each job. Pure.

A job has the first of these that applies:

1. `cron_twice`: a scheduler made it for an instant for which it had made another one.
2. `done_twice`: it ended more than once.
3. `will_repeat`: it ended, and the queue still has it, so that somebody will do it again.
4. `dropped`: stops cut it, and then the queue gave it up: it is marked as failed, or it is gone
   after two cuts or more.
5. `not_understood`: another version asked for it than the one that raised an error about it, and
   no job of that kind that the raising version asked for raised the same.
6. `failed`: it raised an error, and nobody will do it again.
7. `lost`: it did not end, and the queue does not have it.
8. `hidden`: nobody began it, and the queue holds it for a process that has ended.
9. `cut`: a stop cut it; the queue still has it, or it was done again later.
10. `begun_after_stop`: its process began it more than a second after its stop signal.
11. `reordered`: it was begun after a job with the same key that was asked for later.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from scenarios.evidence.jobs import JobCause, StoredJob
from scenarios.verdict.jobs.history import JobHistory, ProcessLife

AFTER_STOP_NS = 1_000_000_000
"""A job that is begun within this time after the stop signal was probably taken before it."""

TOLD_NS = 1_000_000_000
"""For so long after the end of a job, the worker may still be about to tell the queue."""

_GIVEN_UP = 2
"""From so many cuts on, a job that is gone was given up, and not lost by chance."""


class JudgedJob(NamedTuple):
    """The cause of one job.

    Attributes:
        kind: the kind of the cause.
        cause: its id.
        sentence: what happened, in words.
        error: the error, if there is one.
        cut_ns: when the job was cut, if it was.
    """

    kind: JobCause
    cause: str
    sentence: str
    error: str | None = None
    cut_ns: int | None = None


class JobRules:
    """All jobs of a run, and what the causes ask of them together."""

    def __init__(
        self, jobs: Mapping[str, JobHistory], lives: Mapping[str, ProcessLife], *, stored: bool
    ) -> None:
        """Put them in order.

        Args:
            jobs: the jobs, by their ids.
            lives: the processes, by their ids.
            stored: whether the queue was asked what it still had.
        """
        self._jobs = jobs
        self._lives = lives
        self._stored = stored
        self._extra = frozenset(_cron_doubles(jobs.values()))
        self._overtaken = dict(_overtaken(jobs.values()))
        self._own_errors = {
            (job.name, version, _kind_of(error))
            for job in jobs.values()
            for version, error in _errors(job, lives)
            if version is not None and version == job.asked_version
        }

    def cause(self, job: JobHistory) -> JudgedJob | None:
        """Why a job did not end as it should have; None if it did, or if nobody can tell."""
        if job.job in self._extra:
            what = f"{job.name or 'a job'} was made twice for {job.due}"
            return JudgedJob("job:cron_twice", "job:cron_twice", what)
        return self._of_ended(job) if job.ended else self._of_open(job)

    def is_unfinished(self, job: JobHistory) -> bool:
        """Whether a job without a cause was still to be done at the end of the run."""
        return not (job.ended or self.is_for_later(job))

    def is_for_later(self, job: JobHistory) -> bool:
        """Whether a job is scheduled for an instant after the end of the run, as it should be."""
        row = job.stored
        if row is None or row.state != "scheduled" or job.attempts or job.failures or job.logged:
            return False
        return row.until_seconds is None or row.until_seconds > 0

    def _of_ended(self, job: JobHistory) -> JudgedJob | None:
        times = len(job.ended)
        if times > 1:
            whom = " and ".join(one.by or "a worker" for one in job.ended)
            return JudgedJob("job:done_twice", "job:done_twice", f"done {times} times, by {whom}")
        if job.stored is not None and _still_stored(job, job.stored):
            said = f"it ended, but the queue still has it ({job.stored.state})"
            return JudgedJob("job:will_repeat", "job:will_repeat", said + _until(job))
        if job.cut:
            again = job.ended[0]
            return self._cut(job, f"then {again.by or 'a worker'} did it from its beginning")
        return self._begun_late(job) or self._reordered(job)

    def _of_open(self, job: JobHistory) -> JudgedJob | None:
        gone = self._stored and job.stored is None and not job.under_way
        return (
            self._dropped(job, gone=gone)
            or self._not_understood(job)
            or self._failed(job, gone=gone)
            or (self._lost(job) if gone else self._kept(job))
        )

    def _kept(self, job: JobHistory) -> JudgedJob | None:
        """The cause of a job that the queue still has, or may have."""
        if job.stored is not None and job.stored.state == "held" and not job.attempts:
            return self._hidden(job)
        if job.cut and not job.under_way:
            unknown = "nobody can say whether it is done again"
            return self._cut(job, unknown if job.stored is None else _stored(job))
        return self._begun_late(job) or self._reordered(job)

    def _dropped(self, job: JobHistory, *, gone: bool) -> JudgedJob | None:
        row, cuts = job.stored, len(job.cut)
        failed = row is not None and row.state == "failed"
        if not (cuts and (failed or (gone and cuts >= _GIVEN_UP))):
            return None
        stops = f"{cuts} stop{'' if cuts == 1 else 's'}"
        return JudgedJob(
            "job:dropped",
            f"job:dropped_after_{stops.replace(' ', '_')}",
            f"{stops} cut it, and then the queue gave it up",
            None if row is None else row.error,
            job.cut[-1].cut_ns,
        )

    def _failed(self, job: JobHistory, *, gone: bool) -> JudgedJob | None:
        marked = job.stored is not None and job.stored.state == "failed"
        told = any(one.failed for one in job.attempts) or bool(job.failures)
        told |= bool(job.logged) and not job.cut
        if not (marked or (told and (gone or job.stored is None))):
            return None
        error = next((text for _, text in reversed(_errors(job, self._lives))), None)
        said = f"it raised {error}" if error else "the queue has it as failed"
        return JudgedJob("job:failed", "job:failed", said, error)

    def _lost(self, job: JobHistory) -> JudgedJob:
        if job.cut:
            cut = job.cut[-1]
            said = f"{cut.by} was ended while it did the job, and the queue does not have it"
            return JudgedJob("job:lost", "job:lost", said, None, cut.cut_ns)
        said = "nobody began it, and the queue does not have it"
        if job.attempts:
            said = "it was begun, it did not end, and the queue does not have it"
        return JudgedJob("job:lost", "job:lost", said)

    def _hidden(self, job: JobHistory) -> JudgedJob | None:
        row = job.stored
        holder = self._lives.get((row.by if row else None) or "")
        if holder is not None and holder.ended_ns is None:
            return None  # the process that holds it runs, and may do it yet
        if holder is None and not any(life.ended_ns for life in self._lives.values()):
            return None
        by = (row.by if row else None) or "a process that has ended"
        said = f"nobody began it, and the queue holds it for {by}"
        return JudgedJob("job:hidden", "job:hidden", said + _until(job))

    def _cut(self, job: JobHistory, then: str) -> JudgedJob:
        cut = job.cut[-1]
        said = f"{cut.by} was ended while it did the job; {then}"
        return JudgedJob("job:cut", "job:cut", said, None, cut.cut_ns)

    def _not_understood(self, job: JobHistory) -> JudgedJob | None:
        for version, error in _errors(job, self._lives):
            if version is None or job.asked_version in (None, version):
                continue
            if (job.name, version, _kind_of(error)) in self._own_errors:
                continue
            said = f"version {job.asked_version} asked for it, and version {version} raised {error}"
            cause = f"job:not_understood_by:{version}"
            return JudgedJob("job:not_understood", cause, said, error)
        return None

    def _begun_late(self, job: JobHistory) -> JudgedJob | None:
        for attempt in job.attempts:
            life = self._lives.get(attempt.by or "")
            if life is None or life.asked_ns is None:
                continue
            late = attempt.begun_ns - life.asked_ns
            if late > AFTER_STOP_NS:
                said = f"{attempt.by} began it {late / 1e9:.1f} s after its stop signal"
                return JudgedJob("job:begun_after_stop", "job:begun_after_stop", said)
        return None

    def _reordered(self, job: JobHistory) -> JudgedJob | None:
        later = self._overtaken.get(job.job)
        if later is None:
            return None
        said = f"it was begun after job {later}, which has the same key and was asked for later"
        return JudgedJob("job:reordered", "job:reordered", said)


def _still_stored(job: JobHistory, row: StoredJob) -> bool:
    """Whether the queue has a job long enough after its end to have been told of it."""
    if row.state == "failed":
        return False
    told_ns = max(one.ended_ns or 0 for one in job.ended)
    return not row.at_ns or row.at_ns - told_ns >= TOLD_NS


def _errors(job: JobHistory, lives: Mapping[str, ProcessLife]) -> list[tuple[str | None, str]]:
    """The errors about a job, each with the version that raised it, as far as that is known."""
    found = [
        (one.version, one.error or "an error") for one in job.attempts if one.failed
    ] + job.failures
    for error in job.logged if not job.cut else ():  # what a log says of a stop is no error
        life = lives.get(error.by)
        found.append((life.version if life else None, error.error))
    row = job.stored
    if row is not None and row.error is not None:
        holder = lives.get(row.by or "")
        if holder is not None or not found:
            found.append((holder.version if holder else None, row.error))
    return found


def _kind_of(error: str) -> str:
    """The class of an error, without its message."""
    return error.partition(":")[0]


def _until(job: JobHistory) -> str:
    seconds = job.stored.until_seconds if job.stored is not None else None
    return "" if seconds is None else f" for another {seconds:,.0f} s"


def _stored(job: JobHistory) -> str:
    """What the queue still has of a job, as the end of a sentence."""
    row = job.stored
    if row is None:
        return "the queue does not have it"
    return f"the queue has it as {row.state}{_until(job)}"


def _cron_doubles(jobs: Iterable[JobHistory]) -> Iterator[str]:
    """The jobs that a scheduler made for an instant for which it had made another one."""
    first: set[tuple[str | None, str]] = set()
    for job in sorted(jobs, key=_first_ns):
        if job.due is None:
            continue
        if (job.name, job.due) in first:
            yield job.job
        first.add((job.name, job.due))


def _first_ns(job: JobHistory) -> int:
    """When a job was first heard of."""
    begun = [one.begun_ns for one in job.attempts]
    return min([*begun, *([] if job.asked_ns is None else [job.asked_ns])], default=0)


def _overtaken(jobs: Iterable[JobHistory]) -> Iterator[tuple[str, str]]:
    """The jobs that were begun after one with the same key that was asked for later."""
    by_key: dict[str, list[JobHistory]] = {}
    for job in jobs:
        if job.key is not None and job.asked_ns is not None and job.attempts:
            by_key.setdefault(job.key, []).append(job)
    for group in by_key.values():
        earliest: JobHistory | None = None  # of those asked for later, the one begun first
        for job in sorted(group, key=lambda one: one.asked_ns or 0, reverse=True):
            begun = job.attempts[0].begun_ns
            if earliest is not None and earliest.attempts[0].begun_ns < begun:
                yield job.job, earliest.job
            if earliest is None or begun < earliest.attempts[0].begun_ns:
                earliest = job
