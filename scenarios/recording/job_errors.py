"""Finds the errors that name a job or its kind, in the logs of processes that do jobs."""

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from scenarios.evidence.jobs import JobError, JobEvent
from scenarios.recording.error_block import ErrorBlock
from scenarios.recording.error_blocks import ErrorBlocks

_NEAR = 60
"""An error belongs to a job that a line named at most so many lines before its end."""

_WORD = re.compile(r"[\w-]+")
_UNKNOWN = re.compile(
    r"not found|not registered|unregistered|unknown|does not exist|no such|not defined|"
    r"has no attribute|KeyError|LookupError",
    re.IGNORECASE,
)
"""How systems say that they do not know the name of a job's kind."""


class JobErrors:
    """PURE: the errors about jobs in several logs.

    A system logs the id of a job in the line before its traceback or in one of the lines of its
    message, so the job that was named last before the end of the error is the one. A system that
    does not know the kind of a job may not know its id either, as Huey: then the error belongs to
    the first job of that kind that nobody began and that has no such error yet.
    """

    def __init__(self, jobs: Collection[str], kinds: Mapping[str, Iterable[str]]) -> None:
        """Say what is looked for.

        Args:
            jobs: the jobs, by their ids.
            kinds: by the name of a kind, the jobs of it that nobody began, in order.
        """
        self._jobs = jobs
        self._kinds = {kind: deque(ids) for kind, ids in kinds.items()}

    def read(self, by: str, lines: Iterable[str]) -> Iterator[JobError]:
        """The errors in a log, in order.

        Args:
            by: the process whose log it is.
            lines: the log.
        """
        blocks = ErrorBlocks()
        named: tuple[int, str] | None = None
        number = 0
        for number, line in enumerate(lines):
            for block in blocks.feed(line):
                yield from self._about(by, block, named, number)
            for word in _WORD.findall(line):
                if word in self._jobs:
                    named = number, word
        for block in blocks.flush():
            yield from self._about(by, block, named, number)

    def _about(
        self, by: str, block: ErrorBlock, named: tuple[int, str] | None, number: int
    ) -> Iterator[JobError]:
        error = block.last_line
        near = named is not None and number - named[0] <= _NEAR
        unknown = self._of_unknown_kind(error) if _UNKNOWN.search(error) else None
        if named is not None and near and (unknown is None or named[1] in unknown):
            yield JobError(job=named[1], by=by, error=error)
        elif unknown is not None:
            yield JobError(job=unknown.popleft(), by=by, error=error)

    def _of_unknown_kind(self, error: str) -> deque[str] | None:
        """The jobs without an error of the kind that an error names; None if it names none."""
        words = set(_WORD.findall(error))
        return next((ids for kind, ids in self._kinds.items() if ids and kind in words), None)


def read_job_errors(logs: Mapping[str, Path], events: Iterable[JobEvent]) -> Iterator[JobError]:
    """The errors about jobs that have not ended.

    Args:
        logs: the logs, by whose they are.
        events: what the application told of jobs.

    Raises:
        OSError: a log cannot be read.
    """
    kinds: dict[str, str | None] = {}
    begun, ended = set[str](), set[str]()
    for event in events:
        kinds[event.job] = kinds.get(event.job) or event.name
        if event.what != "asked":
            begun.add(event.job)
        if event.what == "ended":
            ended.add(event.job)
    by_kind: dict[str, list[str]] = {}
    for job, kind in kinds.items():
        if kind is not None and job not in begun:
            by_kind.setdefault(kind, []).append(job)
    wanted = kinds.keys() - ended
    errors = JobErrors(wanted, by_kind)
    for by, path in sorted(logs.items()) if wanted else ():
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from errors.read(by, (line.rstrip("\n") for line in lines))
