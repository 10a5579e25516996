"""Waits for locks are told as chains, and a fleet that went down for one is traced back to it."""

import pytest

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.locks import DatabaseSession, LockWait
from scenarios.verdict.causes.lock_queue import told
from scenarios.verdict.model import Verdict
from tests.support.evidence import Evidence, at, clean

NOBODY = "hitless; error=destination_unavailable; received-status=503"
ALTER = DatabaseSession(
    pid=8, application="hitless-migrator", query="ALTER TABLE", mode="AccessExclusiveLock"
)
DUMP = DatabaseSession(pid=9, application="pg_dump", query="COPY", mode="AccessShareLock")


def wait(start: float, end: float, *chain: DatabaseSession, application: str = "") -> LockWait:
    return LockWait(
        at_ns=at(start),
        end_ns=at(end),
        gone_ns=at(end + 0.01),
        waiter=DatabaseSession(pid=1, application=application),
        mode="AccessShareLock",
        kind="relation",
        relation="profiles",
        chain=chain,
    )


def down(check: str) -> list[BackendChange]:
    return [
        BackendChange(at_ns=at(2.2), change="down", id="a-1", check=check),
        BackendChange(at_ns=at(2.9), change="up", id="a-1", check="passed"),
    ]


def nobody() -> Evidence:
    found = clean().but(before=None, after=None, mails=[])
    found = found.but(outcomes=[one for one in found.outcomes if one.subject is None])
    return found.failing(2.3, 2.8, status=503, proxy_status=NOBODY, served_by=None)


def causes(verdict: Verdict) -> list[str]:
    return [cause.cause for cause in verdict.causes]


def test_a_queue_is_told_down_to_its_head() -> None:
    """Who is queued behind whom, who wants what, and who is the head."""
    assert told(wait(0, 1, ALTER, DUMP)) == (
        "AccessShareLock on profiles, queued behind hitless-migrator (ALTER TABLE), which waits "
        "for AccessExclusiveLock behind pg_dump (COPY), which holds AccessShareLock and is the "
        "head of the queue"
    )


def test_one_that_is_blocked_directly_is_told_so() -> None:
    """Without a queue there is one holder, with its lock."""
    assert told(wait(0, 1, ALTER)) == (
        "AccessShareLock on profiles, blocked by hitless-migrator (ALTER TABLE), which holds "
        "AccessExclusiveLock"
    )


def test_a_fleet_that_went_down_while_it_waited_for_a_lock_is_traced_to_the_lock() -> None:
    """`no_backend` is not the cause if the health checks failed because of a lock queue."""
    locks = [wait(1.2, 2.7, ALTER, DUMP)]
    verdict = nobody().judge(lock_waits=locks, backend_changes=down("timed_out"))
    assert causes(verdict) == ["lock_wait"]
    note = verdict.causes[0].evidence.note or ""
    assert "pg_dump (COPY), which holds AccessShareLock and is the head of the queue" in note
    assert "all replicas had failed their health checks" in note


@pytest.mark.parametrize(
    ("locks", "check"),
    [
        pytest.param([], "timed_out", id="nobody waited"),
        pytest.param([wait(2.4, 2.8, ALTER, DUMP)], "timed_out", id="waited only afterwards"),
        pytest.param([wait(1.2, 2.7, ALTER, DUMP)], "refused", id="nobody listened"),
        pytest.param(
            [wait(1.2, 2.7, ALTER, DUMP, application="app b-2")], "timed_out", id="another replica"
        ),
    ],
)
def test_a_fleet_that_is_gone_for_another_reason_is_not_blamed_on_a_lock(
    locks: list[LockWait], check: str
) -> None:
    """The lock must have been waited for by these replicas, while their checks failed."""
    verdict = nobody().judge(lock_waits=locks, backend_changes=down(check))
    assert causes(verdict) == ["no_backend"]


def test_a_lock_comes_before_an_unresponsive_replica() -> None:
    """A replica that times out and fails its checks, since it waits, waits for a lock."""
    run = nobody().but(outcomes=[one for one in nobody().outcomes if one.ok])
    timed_out = {
        "error": "timeout",
        "status": None,
        "first_byte_ns": None,
        "done_ns": at(2.75),
    }
    run = run.failing(2.1, 2.2, **timed_out)
    verdict = run.judge(lock_waits=[wait(2.0, 2.8, ALTER, DUMP)], backend_changes=down("timed_out"))
    assert causes(verdict) == ["lock_wait"]
    assert causes(run.judge(backend_changes=down("timed_out"))) == ["lifecycle:unresponsive"]
