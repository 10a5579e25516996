"""What went on around a request explains it: locks, the database's absence, checks, server errors.

Each planted circumstance is found, and none is found where there is none.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.event import Event
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.locks import DatabaseSession, LockWait
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.server_log import ServerLine
from scenarios.evidence.session_client import SessionClient
from scenarios.verdict.causes.failure import Failure
from scenarios.verdict.causes.ladder import attribute, contributing
from scenarios.verdict.causes.slowness import explain_slow
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.timeline import Timeline
from tests.support import evidence as make
from tests.support.evidence import Evidence

CUT = "hitless; error=connection_terminated; next-hop=a-1"
MIGRATOR = DatabaseSession(
    pid=9, application="hitless-migrator", query="UPDATE subscriptions", state="active"
)


def wait(start: float, end: float, application: str = "newsletter_app a-1") -> LockWait:
    return LockWait(
        at_ns=make.at(start),
        end_ns=make.at(end),
        gone_ns=make.at(end + 0.01),
        waiter=DatabaseSession(pid=1, application=application),
        mode="RowExclusiveLock",
        kind="relation",
        relation="subscriptions",
        chain=(MIGRATOR,),
    )


def around(*, events: Sequence[Event] = (), **evidence: Any) -> Surroundings:
    return Surroundings(Timeline([*make.journal(), *events]), **evidence)


def slow(when: float = 2.15, took: float = 2.0, **fields: Any) -> Outcome:
    return make.request(1, when, took=took, served_by="a-1", **fields)


def exchange(when: float = 2.15, **fields: Any) -> ExchangeRecord:
    return ExchangeRecord(
        **{
            "at_ns": make.at(when),
            "request_id": "s7-000001-1",
            "status": 200,
            "backend": "a-1",
            "version": "a",
            "attempts": 1,
            "end": "complete",
            "wait_ns": 0,
            "connect_ns": 0,
            "first_byte_ns": 1_990_000_000,
            "total_ns": 2_000_000_000,
            **fields,
        }
    )


def test_a_slow_request_that_waited_for_a_lock() -> None:
    """A request whose replica waited for most of its time is blamed on the lock, with its root."""
    surroundings = around(locks=[wait(2.2, 4.1)])
    failure = Failure.join(slow(), exchange(), surroundings)
    finding = explain_slow(failure)
    assert (finding.cause, finding.confidence) == ("lock_wait", "likely")
    blocked = surroundings.blocked("a-1", *failure.span)
    assert blocked is not None
    assert blocked.wait.root == MIGRATOR
    assert blocked.seconds == pytest.approx(1.9)
    assert contributing(failure, finding) == ["migration: 0002.expand"]


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param(("newsletter_app b-2", 2.2, 4.1), id="another replica's"),
        pytest.param(("newsletter_app a-1", 2.2, 2.9), id="less than half"),
        pytest.param(("newsletter_app a-1", 0.0, 2.1), id="over before"),
        pytest.param(("newsletter_app a-11", 2.2, 4.1), id="a name that only begins alike"),
        pytest.param(("hitless-migrator", 2.2, 4.1), id="the migrator's own"),
    ],
)
def test_a_wait_that_is_not_its_own(planted: tuple[str, float, float]) -> None:
    """A wait of somebody else, or at another time, explains nothing."""
    application, start, end = planted
    events = [make.event(-1.0, "start", "started", 90, version="a", replicas=("a-11",))]
    surroundings = around(events=events, locks=[wait(start, end, application)])
    failure = Failure.join(slow(), exchange(), surroundings)
    assert explain_slow(failure).cause == "slow:application"


def test_a_wait_of_a_session_that_names_nobody() -> None:
    """Where an application does not name its sessions, a wait may be anybody's."""
    surroundings = around(locks=[wait(2.2, 4.1, "gunicorn")])
    assert explain_slow(Failure.join(slow(), exchange(), surroundings)).cause == "lock_wait"


@pytest.mark.parametrize(("client", "cause"), [("a-1", "lock_wait"), ("b-2", "slow:application")])
def test_a_wait_of_a_session_whose_client_is_known(client: str, cause: str) -> None:
    """The port of a session's client says whose it is, though its name is the application's own."""
    waiting = wait(2.2, 4.1, "gunicorn")
    session = msgspec.structs.replace(waiting.waiter, port=40_001)
    known = SessionClient(at_ns=0, pid=session.pid, port=40_001, replica=client)
    surroundings = around(locks=[msgspec.structs.replace(waiting, waiter=session)], clients=[known])
    assert explain_slow(Failure.join(slow(), exchange(), surroundings)).cause == cause


@pytest.mark.parametrize(
    ("fields", "log", "cause"),
    [
        ({"sent_ns": 1_900_000_000, "connection": "reused"}, {}, "harness:late"),
        ({"sent_ns": 1_900_000_000, "connection": "new"}, {}, "slow:connect"),
        ({}, {"wait_ns": 1_500_000_000}, "slow:held"),
        ({}, {"connect_ns": 1_500_000_000}, "slow:replica_connect"),
        ({}, {"attempts": 2}, "slow:retried"),
        ({}, {}, "slow:application"),
        ({}, {"first_byte_ns": 5_000_000}, "slow:transfer"),
        ({}, {"first_byte_ns": 5_000_000, "total_ns": 9_000_000}, "slow:outside"),
    ],
)
def test_where_the_time_of_a_slow_request_went(
    fields: dict[str, Any], log: dict[str, Any], cause: str
) -> None:
    """The stretch that took at least half of the time is the cause."""
    if "sent_ns" in fields:
        fields = {**fields, "sent_ns": make.at(2.15) + fields["sent_ns"]}
    failure = Failure.join(slow(**fields), exchange(**log), around())
    assert explain_slow(failure).cause == cause


def test_a_slow_request_of_which_nothing_is_known() -> None:
    """Without any evidence of it, it stays unattributed, and says so."""
    finding = explain_slow(Failure.join(slow(), None, around()))
    assert (finding.cause, finding.confidence) == ("slow:unattributed", "symptom")


def away() -> list[Event]:
    return [
        make.event(
            2.3,
            "database",
            "noted",
            91,
            error="connection lost",
            detail={"last_seen_ns": make.at(2.2)},
        ),
        make.event(3.1, "database", "noted", 92, detail={"back": True}),
    ]


@pytest.mark.parametrize(
    ("when", "fields", "cause"),
    [
        (2.4, {"status": 500, "problem": "The database cannot be reached"}, "database:away"),
        (2.1, {"status": None, "error": "timeout", "first_byte_ns": None}, "database:away"),
        (2.4, {"status": 500, "sqlstate": "57P01"}, "sqlstate:57P01"),
        (1.0, {"status": 500, "problem": "The database cannot be reached"}, "status:500"),
        (4.5, {"status": 500}, "status:500"),
    ],
)
def test_the_database_was_away(when: float, fields: dict[str, Any], cause: str) -> None:
    """A failure while the database was away is blamed on that, one at another time is not."""
    outcome = make.request(1, when, took=0.3, served_by="b-2", **fields)
    assert attribute(Failure.join(outcome, None, around(events=away()))).cause == cause


def line(when: float, sqlstate: str, application: str) -> ServerLine:
    return ServerLine(
        at_ns=make.at(when),
        pid=3,
        severity="ERROR",
        sqlstate=sqlstate,
        message="no",
        application=application,
        database="run_1",
    )


@pytest.mark.parametrize("name", ["some pool", ""])
@pytest.mark.parametrize(("client", "cause"), [("a-1", "42703"), ("b-2", None)])
def test_a_refusal_of_a_session_whose_client_is_known(
    name: str, client: str, cause: str | None
) -> None:
    """The port of its client says whose session was refused, whatever its name; nobody else is."""
    refused = msgspec.structs.replace(line(1.0, "42703", name), port=40_001)
    known = SessionClient(at_ns=0, pid=refused.pid, port=40_001, replica=client)
    surroundings = around(server_log=[refused], clients=[known])
    found = surroundings.server_error("a-1", make.at(0.9), make.at(1.1))
    assert (None if found is None else found.sqlstate) == cause


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([(1.0, "42703", "shop a-1")], "sqlstate:42703"),
        ([(1.0, "42703", "some pool")], "sqlstate:42703"),
        ([(1.0, "42703", "shop b-2")], "status:500"),
        ([(1.5, "42703", "shop a-1")], "status:500"),
        ([(1.0, "42703", "hitless-migrator")], "status:500"),
        ([(1.0, "42703", "shop a-1"), (1.0, "23502", "shop a-1")], "status:500"),
    ],
)
def test_the_servers_own_log_says_what_was_refused(
    lines: list[tuple[float, str, str]], cause: str
) -> None:
    """What an application keeps to itself is found in Postgres' log, if that is unambiguous."""
    surroundings = around(server_log=[line(*one) for one in lines])
    outcome = make.request(1, 0.995, took=0.01, status=500, served_by="a-1")
    assert attribute(Failure.join(outcome, None, surroundings)).cause == cause


@pytest.mark.parametrize(
    ("database", "cause", "deadlocks"),
    [
        ("run_1", "sqlstate:42703", 1),
        ("[unknown]", "sqlstate:42703", 1),
        (None, "sqlstate:42703", 1),
        ("run_2", "status:500", 0),
    ],
)
def test_the_server_s_word_about_another_database_explains_nothing(
    database: str | None, cause: str, deadlocks: int
) -> None:
    """A rehearsal's copy is on the same server: its errors and deadlocks are no request's."""
    lines = [
        msgspec.structs.replace(line(0.992, sqlstate, "shop a-rehearsal"), database=database)
        for sqlstate in ("42703", "40P01")
    ]
    run = make.clean().with_request(99, status=500).asked(database="run_1")
    verdict = run.judge(server_lines=lines[:1])
    assert [one.cause for one in verdict.causes] == [cause]
    assert run.judge(server_lines=lines).locks.deadlocks == deadlocks


def test_an_old_run_does_not_say_which_database_was_its_own() -> None:
    """Where `run.json` names none, each line may be about it, as it was read before."""
    said = msgspec.structs.replace(line(0.992, "42703", "shop a-1"), database="run_2")
    verdict = make.clean().with_request(99, status=500).judge(server_lines=[said])
    assert [one.cause for one in verdict.causes] == ["sqlstate:42703"]


@pytest.mark.parametrize(
    ("status", "cause"),
    [(400, "sqlstate:23502"), (409, "sqlstate:23502"), (401, "status:401"), (404, "status:404")],
)
def test_a_refusal_may_be_the_database_s(status: int, cause: str) -> None:
    """An application that blames the user for what the database refused is seen through."""
    surroundings = around(server_log=[line(1.0, "23502", "a-1")])
    outcome = make.request(1, 0.995, took=0.01, status=status, served_by="a-1")
    assert attribute(Failure.join(outcome, None, surroundings)).cause == cause


@pytest.mark.parametrize(
    ("down", "cause"), [(2.9, "lifecycle:unresponsive"), (1.0, "transport:timeout")]
)
def test_a_replica_that_answered_nobody(down: float, cause: str) -> None:
    """A timeout on a replica that failed the balancer's checks meanwhile is the replica's."""
    backends = [
        BackendChange(at_ns=make.at(down), change="down", id="a-1", reason="timeout"),
        BackendChange(at_ns=make.at(down + 0.5), change="up", id="a-1"),
    ]
    outcome = make.request(1, 2.0, took=2.0, status=None, error="timeout", first_byte_ns=None)
    surroundings = around(backends=backends)
    assert attribute(Failure.join(outcome, exchange(), surroundings)).cause == cause


@pytest.mark.parametrize(
    ("others", "cause"), [(2.6, "transport:timeout"), (1.0, "lifecycle:unresponsive")]
)
def test_a_replica_that_fell_silent(others: float, cause: str) -> None:
    """A timeout on a replica that answered others meanwhile is not the replica's silence."""
    surroundings = around()
    for number in range(100):
        surroundings.hear("a-1", make.at(others + number / 100))
    outcome = make.request(1, 2.5, took=2.0, status=None, error="timeout", first_byte_ns=None)
    line = exchange(2.5)
    assert attribute(Failure.join(outcome, line, surroundings)).cause == cause
    slowly = slow(2.5)
    expected = "lifecycle:unresponsive" if others == 1.0 else "slow:application"
    assert explain_slow(Failure.join(slowly, line, surroundings)).cause == expected


def test_every_fault_of_the_time_contributes() -> None:
    """Of several faults each is named that was made then, to this replica or to none alone."""
    made = [("block", 2.0, 4.0, ()), ("kill", 2.5, 2.6, ("a-1",)), ("freeze", 2.5, 3.0, ("b-2",))]
    events = [
        make.event(when, "fault", state, 90 + number, replicas=replicas, detail={"name": name})
        for number, (name, start, end, replicas) in enumerate(made)
        for when, state in ((start, "started"), (end, "completed"))
    ]
    outcome = make.request(1, 2.45, took=0.2, status=502, proxy_status=CUT)
    failure = Failure.join(outcome, None, around(events=events))
    found = contributing(failure, attribute(failure))
    assert [one for one in found if one.startswith("fault: ")] == [
        "fault: block",
        "fault: kill a-1",
    ]


def test_a_run_with_locks_names_who_held_them(clean_run: Evidence) -> None:
    """The verdict lists each root blocker with the requests behind it, and judges the wait."""
    evidence = clean_run.failing(2.15, 2.25, done_ns=make.at(4.3))
    verdict = evidence.asked(
        objectives=make.MANIFEST.objectives.__class__(lock_wait_seconds=0.5)
    ).judge(lock_waits=[wait(2.2, 4.2)])
    (blocker,) = verdict.locks.blockers
    assert blocker.application == "hitless-migrator"
    assert blocker.during == "migrate 0002.expand"
    assert (blocker.waits, blocker.requests) == (1, verdict.locks.requests)
    assert blocker.requests == 10
    assert verdict.locks.longest == pytest.approx(2.0)
    assert [cause.cause for cause in verdict.slow_causes] == ["lock_wait"]
    assert "hitless-migrator (UPDATE subscriptions)" in (verdict.slow_causes[0].evidence.note or "")
    assert verdict.verdict == "fail"
    assert any("waited up to 2.00 s for a lock" in reason for reason in verdict.reasons)


def test_a_run_without_waits_has_none(clean_run: Evidence) -> None:
    """A clean run has no blockers, no slow requests, and nothing unattributed."""
    verdict = clean_run.judge(lock_waits=[])
    assert verdict.locks.watched
    assert verdict.locks.blockers == ()
    assert verdict.slow_causes == ()
    assert verdict.unattributed == 0


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(1, 100)), max_size=30),
    st.integers(0, 100),
    st.integers(1, 100),
)
def test_overlap_is_what_adding_up_says(
    spans: list[tuple[int, int]], start: int, length: int
) -> None:
    """The covered time is that of the union of the waits, never more than the request's own."""
    ms = 1_000_000
    waits = [
        LockWait(
            at_ns=begin * ms,
            end_ns=(begin + long) * ms,
            gone_ns=(begin + long) * ms,
            waiter=DatabaseSession(pid=index, application="app a-1"),
            mode="ShareLock",
            kind="transactionid",
        )
        for index, (begin, long) in enumerate(spans)
    ]
    moments = {moment for begin, long in spans for moment in range(begin, begin + long)}
    covered = len(moments & set(range(start, start + length)))
    blocked = around(locks=waits).blocked("a-1", start * ms, (start + length) * ms)
    if covered * 2 >= length and covered:
        assert blocked is not None
        assert round(blocked.seconds * 1000) == covered
    else:
        assert blocked is None
