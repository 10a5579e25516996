"""What the application's queue still has: a command is asked, until nothing is left to do."""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

import msgspec

from scenarios.evidence.jobs import StoredJob, StoreState
from scenarios.recording.job_account import JobAccount
from scenarios.recording.ndjson_command import NdjsonCommand

EXAMPLE = '{"job": "17", "state": "waiting"}'
_PAUSE_SECONDS = 0.2
_STEADY_SECONDS = 1.0
"""A job may be on its way between the queue and its worker, so one look is not enough."""


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line as commands print it."""

    job: str | int
    state: StoreState
    by: str | None = None
    until_seconds: float | None = None
    name: str | None = None
    error: str | None = None


async def stored_jobs(command: NdjsonCommand) -> list[StoredJob]:
    """What the queue has now.

    Raises:
        EnvironmentFailure: the command failed, or printed something else.
    """
    at_ns = time.monotonic_ns()  # what has ended by now, the queue may know
    return [
        StoredJob(
            job=str(line.job),
            state=line.state,
            by=line.by,
            until_seconds=line.until_seconds,
            name=line.name,
            error=line.error,
            at_ns=at_ns,
        )
        for line in await command.lines(_Line, EXAMPLE)
    ]


class Left(NamedTuple):
    """PURE: what is left of the jobs of a run.

    Attributes:
        to_do: how many jobs somebody may still do: they wait, or are held, or are in hand.
        residue: the jobs that no wait will change: the queue has lost them, or it still has them
            although they have ended.
    """

    to_do: int
    residue: frozenset[str]


def left_of(
    stored: Collection[StoredJob],
    unfinished: Collection[str],
    ended: Collection[str],
    in_hand: Collection[str],
) -> Left:
    """PURE: tell what is still to do from what will stay as it is.

    Args:
        stored: what the queue has.
        unfinished: the jobs that the application has told of, and whose end it has not told.
        ended: the jobs whose end it has told.
        in_hand: the jobs in the hand of a process that runs.
    """
    known = {one.job for one in stored}
    waiting = {one.job for one in stored if one.state in ("waiting", "held")} - set(ended)
    to_do = waiting | (set(unfinished) & set(in_hand))
    gone = {job for job in unfinished if job not in known and job not in to_do}
    again = {one.job for one in stored if one.job in ended and one.state != "failed"}
    return Left(len(to_do), frozenset(gone | again))


async def wait_for_jobs(
    account: JobAccount,
    command: NdjsonCommand | None,
    running: Callable[[], Collection[str]],
    timeout_seconds: float,
) -> tuple[list[StoredJob], bool]:
    """Wait until nothing is left to do.

    Returns what the queue has then, and whether it came to that.

    Args:
        account: what the application tells.
        command: says what the queue has; None: nobody can be asked.
        running: the ids of the processes that run.
        timeout_seconds: how long to wait at most.

    Raises:
        EnvironmentFailure: the command failed, or printed something else.
    """
    deadline = time.monotonic() + timeout_seconds
    before: frozenset[str] = frozenset()
    steady_since = time.monotonic()
    while True:
        stored = [] if command is None else await stored_jobs(command)
        alive = set(running())
        in_hand = {
            job for process, jobs in account.busy().items() if process in alive for job in jobs
        }
        left = left_of(stored, account.unfinished(), account.ended(), in_hand)
        now = time.monotonic()
        if left.to_do or left.residue != before:
            steady_since, before = now, left.residue
        if not left.to_do and (not left.residue or now - steady_since >= _STEADY_SECONDS):
            return stored, True
        if now >= deadline:
            return stored, False
        await asyncio.sleep(_PAUSE_SECONDS)
