"""Who waited for whom in the database is summed up by the session at the root."""

from typing import Any

import pytest

from scenarios.evidence.locks import DatabaseSession, LockWait
from scenarios.evidence.manifest import Objectives
from scenarios.evidence.server_log import ServerLine
from scenarios.verdict.model import Locks
from tests.support.evidence import SECOND, Evidence, at, event

MIGRATOR = DatabaseSession(
    pid=9, application="hitless-migrator", query="ALTER TABLE subscriptions", state="active"
)
OTHER = DatabaseSession(pid=8, application="psql", state="idle in transaction")


def wait(
    start: float,
    end: float,
    *chain: DatabaseSession,
    waiter: str = "newsletter_app a-1",
    **fields: Any,
) -> LockWait:
    return LockWait(
        **{
            "at_ns": at(start),
            "end_ns": at(end),
            "gone_ns": at(end + 0.01),
            "waiter": DatabaseSession(pid=1, application=waiter),
            "mode": "RowExclusiveLock",
            "kind": "relation",
            "relation": "subscriptions",
            "chain": chain,
            **fields,
        }
    )


def delayed(run: Evidence, start: float, end: float, seconds: float) -> Evidence:
    """Every request of that time takes so long."""
    outcomes = list(run.outcomes)
    for index, one in enumerate(outcomes):
        if at(start) <= one.planned_ns < at(end):
            run = run.with_request(index, done_ns=one.planned_ns + round(seconds * SECOND))
    return run


def locks(run: Evidence, *waits: LockWait, **further: Any) -> Locks:
    return run.judge(lock_waits=waits, **further).locks


def test_waits_are_grouped_by_root_and_step(clean_run: Evidence) -> None:
    """Who delayed most requests comes first, with its longest wait, its times and its requests."""
    run = delayed(delayed(clean_run, 2.2, 2.24, 0.15), 4.5, 4.504, 0.3)
    found = locks(
        run,
        wait(2.2, 2.3, MIGRATOR),
        wait(2.2, 2.38, OTHER, MIGRATOR, mode="RowShareLock"),
        wait(4.5, 4.8, OTHER, waiter="newsletter_app b-2"),
    )
    assert (found.watched, found.waits, found.requests) == (True, 3, 5)
    assert found.longest == pytest.approx(0.3)
    first, second = found.blockers
    assert (first.application, first.during) == ("hitless-migrator", "migrate 0002.expand")
    assert (first.query, first.state) == ("ALTER TABLE subscriptions", "active")
    assert (first.mode, first.relation, first.waits) == ("RowShareLock", "subscriptions", 2)
    assert (first.seconds, first.first, first.last) == pytest.approx((0.18, 2.2, 2.38))
    assert (first.requests, first.slowest) == (4, pytest.approx(0.15))
    assert first.examples == tuple(f"s7-00022{n}-1" for n in range(4))
    assert "psql" in (first.queue or "")
    assert (second.application, second.during) == ("psql", "after the release")
    assert (second.requests, second.slowest) == (1, pytest.approx(0.3))
    assert (second.query, second.state) == (None, "idle in transaction")


def test_a_wait_is_the_migrations_that_ran_into_it(clean_run: Evidence) -> None:
    """A wait that had begun before a migration is told as that migration's, which it met."""
    (blocker,) = locks(clean_run, wait(2.02, 2.3, MIGRATOR)).blockers
    assert blocker.during == "migrate 0002.expand"
    (before,) = locks(clean_run, wait(1.5, 1.9, OTHER)).blockers
    assert before.during == "before the release"


def test_only_the_applications_waits_count(clean_run: Evidence) -> None:
    """A migration or a fault that waits for a lock is nobody's user."""
    own = wait(2.2, 2.4, OTHER, waiter="hitless-migrator")
    assert locks(clean_run, own) == Locks(watched=True)
    assert clean_run.judge().locks == Locks()


def test_what_was_not_delayed_is_not_counted(clean_run: Evidence) -> None:
    """A quick request, one of another replica, and one that waited for a moment only."""
    held = wait(2.2, 2.3, MIGRATOR)
    assert locks(delayed(clean_run, 2.2, 2.24, 0.04), held).requests == 0
    elsewhere = wait(2.2, 2.3, MIGRATOR, waiter="newsletter_app b-2")
    assert locks(delayed(clean_run, 2.2, 2.24, 0.15), elsewhere).requests == 0
    assert locks(delayed(clean_run, 2.2, 2.24, 0.9), held).requests == 0


def test_few_examples_are_kept(clean_run: Evidence) -> None:
    """Of many delayed requests the first five are named."""
    run = delayed(clean_run, 2.15, 2.45, 0.5)
    (blocker,) = locks(run, wait(2.1, 3.0, MIGRATOR)).blockers
    assert blocker.requests == 30
    assert blocker.examples == tuple(f"s7-00021{n}-1" for n in range(5, 10))


def test_what_migrations_ran_into_is_counted(clean_run: Evidence) -> None:
    """Deadlocks, tries that gave way, tables written anew and indexes left invalid."""
    told = [
        event(2.2, "migrate", "noted", 6, detail={"sqlstate": "55P03"}),
        event(2.25, "migrate", "noted", 6, detail={"sqlstate": "55P03"}),
        event(2.3, "migrate", "failed", 6, detail={"sqlstate": "40P01"}),
        event(2.35, "table", "noted", 50, detail={"table": "subscriptions", "since_ns": at(2.2)}),
        event(2.5, "table", "noted", 51, detail={"table": "tokens"}),
        event(2.4, "index", "noted", 52, detail={"index": "by_email"}),
        event(2.4, "attach", "failed", 53, detail={"sqlstate": "55P03"}),
    ]
    victim = ServerLine(
        at_ns=at(2.21), pid=1, severity="ERROR", sqlstate="40P01", application="newsletter_app a-1",
        message="deadlock detected",
    )  # fmt: skip
    found = locks(clean_run.but(events=[*clean_run.events, *told]), server_lines=[victim])
    assert (found.deadlocks, found.gave_way) == (2, 2)
    assert found.invalid_indexes == ("by_email",)
    assert [(one.table, one.during, one.at) for one in found.rewrites] == [
        ("subscriptions", "migrate 0002.expand", 2.35),
        ("tokens", "start b-2", 2.5),
    ]


def test_the_objective_of_lock_waits(clean_run: Evidence) -> None:
    """A wait over the objective fails the run and names the holder; an unwatched one is unknown."""
    run = clean_run.asked(objectives=Objectives(lock_wait_seconds=0.1))
    strict = run.judge(lock_waits=[wait(2.2, 2.38, MIGRATOR), wait(2.2, 2.25, OTHER)])
    assert strict.verdict == "fail"
    (reason,) = strict.reasons
    assert reason == (
        "the application waited up to 0.18 s for a lock held by hitless-migrator during migrate "
        "0002.expand (at most 0.1 s allowed)"
    )
    assert run.judge(lock_waits=[wait(2.2, 2.29, MIGRATOR)]).verdict == "pass"
    (check,) = [one for one in run.judge().checks if one.check == "lock_wait"]
    assert (check.held, run.judge().verdict) == (None, "pass")
    assert all(one.check != "lock_wait" for one in clean_run.judge(lock_waits=()).checks)
