"""Finds the errors that name a job, in the logs of processes that do jobs."""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from scenarios.evidence.jobs import JobError
from scenarios.recording.error_blocks import ErrorBlocks

_NEAR = 60
"""An error belongs to a job that a line named at most so many lines before its end."""

_WORD = re.compile(r"[\w-]+")


def job_errors(by: str, lines: Iterable[str], jobs: Collection[str]) -> Iterator[JobError]:
    """PURE: the errors in a log that name one of the jobs, in order.

    A system logs the id of a job in the line before its traceback or in one of the lines of its
    message, so the job that was named last before the end of the error is the one.

    Args:
        by: the process whose log it is.
        lines: the log.
        jobs: the jobs that are looked for.
    """
    blocks = ErrorBlocks()
    named: tuple[int, str] | None = None
    number = 0
    for number, line in enumerate(lines):
        for block in blocks.feed(line):
            if named is not None and number - named[0] <= _NEAR:
                yield JobError(job=named[1], by=by, error=block.last_line)
        for word in _WORD.findall(line):
            if word in jobs:
                named = number, word
    for block in blocks.flush():
        if named is not None and number - named[0] <= _NEAR:
            yield JobError(job=named[1], by=by, error=block.last_line)


def read_job_errors(logs: dict[str, Path], jobs: Collection[str]) -> Iterator[JobError]:
    """The same for several logs, by whose they are.

    Raises:
        OSError: a log cannot be read.
    """
    for by, path in sorted(logs.items()) if jobs else ():
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from job_errors(by, (line.rstrip("\n") for line in lines), jobs)
