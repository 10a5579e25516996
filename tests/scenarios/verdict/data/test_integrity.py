"""Each planted fault in the data is found by its own checker and by no other."""

from typing import Any

import pytest

from scenarios.evidence.mail import Mail
from scenarios.evidence.subject import Subject
from scenarios.verdict.data.effect import Effect, effect_of
from scenarios.verdict.model import Integrity
from tests.support import evidence as make
from tests.support.evidence import Evidence

ACTIVE = "u0@example.com"  # answered by A, active
CONFIRMED = "u320@example.com"  # answered by B, mailed, clicked
PENDING = "u325@example.com"  # answered by B, mailed, not clicked


def broken(integrity: Integrity) -> dict[str, int]:
    return {i.invariant: i.violations for i in integrity.invariants if i.violations}


def without(run: Evidence, subject: str) -> Any:
    return run.but(after=[row for row in run.after if row.subject != subject])


def with_state(run: Evidence, subject: str, state: str | None) -> Any:
    return run.but(
        after=[
            Subject(subject=row.subject, state=state) if row.subject == subject else row
            for row in run.after
        ]
    )


def index_of(run: Evidence, subject: str) -> int:
    return next(i for i, outcome in enumerate(run.outcomes) if outcome.subject == subject)


def test_clean_run_has_no_violation(clean_run: Evidence) -> None:
    """A run in which nothing went wrong has no finding, and each invariant was applied."""
    integrity = clean_run.judge().integrity
    assert integrity.status == "held"
    assert integrity.violations == ()
    checked = {invariant.invariant for invariant in integrity.invariants}
    assert checked == {
        "stored", "kept", "confirmed", "known_state", "mail_sent", "mail_cause"
    }  # fmt: skip


def test_lost_row(clean_run: Evidence) -> None:
    """A subscription answered 200 without a row is lost, and its request and replica are named."""
    integrity = without(clean_run, ACTIVE).judge().integrity
    assert broken(integrity) == {"stored": 1}
    (violation,) = integrity.violations
    assert violation.subject == ACTIVE
    assert violation.requests == ("s7-000000-1",)
    assert violation.replicas == ("a-1",)
    assert violation.found == "no row"


def test_duplicated_row(clean_run: Evidence) -> None:
    """One subscription that left two rows is found."""
    run = clean_run.but(after=[*clean_run.after, Subject(subject=ACTIVE, state="active")])
    integrity = run.judge().integrity
    assert broken(integrity) == {"stored": 1}
    assert integrity.violations[0].found == "2 rows"


@pytest.mark.parametrize(
    "refusal",
    [
        {"status": 400},
        {"status": 500, "sqlstate": "23502"},
        {"status": 503, "proxy_status": "hitless; error=destination_unavailable"},
        {"status": None, "error": "connect_refused", "sent_ns": None},
        {"status": None, "error": "undispatched", "sent_ns": None},
    ],
)
def test_row_of_a_refused_request(clean_run: Evidence, refusal: dict[str, Any]) -> None:
    """What was refused or never sent must not be there."""
    run = clean_run.with_request(index_of(clean_run, ACTIVE), **refusal)
    assert broken(run.judge().integrity) == {"refused": 1}
    assert broken(without(run, ACTIVE).judge().integrity) == {}


def test_row_that_nobody_asked_for(clean_run: Evidence) -> None:
    """A row out of nowhere is found."""
    run = clean_run.but(after=[*clean_run.after, Subject(subject="x@y", state="active")])
    integrity = run.judge().integrity
    assert broken(integrity) == {"refused": 1}
    assert integrity.violations[0].requests == ()


@pytest.mark.parametrize(
    "unknown",
    [
        {"status": None, "error": "timeout"},
        {"status": None, "error": "reset"},
        {"status": 504},
        {"status": 500},
        {"status": 502, "proxy_status": "hitless; error=connection_terminated"},
    ],
)
def test_unknown_effect(clean_run: Evidence, unknown: dict[str, Any]) -> None:
    """What may have happened is there or not, and neither is a violation; twice is one."""
    run = clean_run.with_request(index_of(clean_run, ACTIVE), **unknown)
    there, gone = run.judge().integrity, without(run, ACTIVE).judge().integrity
    assert (broken(there), there.unknown, there.recovered) == ({}, 1, 1)
    assert (broken(gone), gone.unknown, gone.recovered) == ({}, 1, 0)
    twice = run.but(after=[*run.after, Subject(subject=ACTIVE, state="active")])
    assert broken(twice.judge().integrity) == {"at_most_once": 1}


def test_lost_row_of_before(clean_run: Evidence) -> None:
    """A row that was there before the run and is gone after it was lost by the release."""
    integrity = without(clean_run, "old-1").judge().integrity
    assert broken(integrity) == {"kept": 1}
    assert integrity.violations[0].subject == "old-1"


def test_duplicated_row_of_before(clean_run: Evidence) -> None:
    """A backfill that copies a row twice is found."""
    run = clean_run.but(after=[*clean_run.after, Subject(subject="old-1", state="active")])
    assert broken(run.judge().integrity) == {"kept": 1}


def test_lost_confirmation(clean_run: Evidence) -> None:
    """A confirmation answered 200 whose subject is pending again is a lost update."""
    integrity = with_state(clean_run, CONFIRMED, "pending_confirmation").judge().integrity
    assert broken(integrity) == {"confirmed": 1}
    assert integrity.violations[0].requests == ("s7-000320-1", "s7-000320-2")


def test_state_moved_back(clean_run: Evidence) -> None:
    """A row that was active before and is pending after moved back."""
    run = clean_run.but(
        before=[Subject(subject="old-1", state="active"), Subject(subject="old-2", state="active")]
    )
    assert broken(run.judge().integrity) == {}
    assert broken(with_state(run, "old-1", "pending_confirmation").judge().integrity) == {
        "forward": 1
    }


def test_unknown_state(clean_run: Evidence) -> None:
    """A state that the scenario does not know is found."""
    assert broken(with_state(clean_run, ACTIVE, "actve").judge().integrity) == {"known_state": 1}


def test_row_that_the_backfill_left_behind(clean_run: Evidence) -> None:
    """After a complete release no row may be without a state; in the middle of one it may."""
    run = with_state(clean_run, "old-2", None)
    assert broken(run.judge().integrity) == {"known_state": 1}
    stopped = run.asked(outcome="rolled_back", expected_outcome="rolled_back")
    assert broken(stopped.judge().integrity) == {}


def test_schema_without_states(clean_run: Evidence) -> None:
    """Before any migration no row has a state, and that is no violation."""
    run = clean_run.but(
        after=[Subject(subject=row.subject) for row in clean_run.after],
        outcomes=[o for o in clean_run.outcomes if not o.request_id.endswith("-2")],
    )
    assert broken(run.judge().integrity) == {}


def test_lost_mail(clean_run: Evidence) -> None:
    """Who waits for a confirmation and got no mail can never confirm."""
    run = clean_run.but(mails=[mail for mail in clean_run.mails if mail.recipient != PENDING])
    assert broken(run.judge().integrity) == {"mail_sent": 1}


def test_mail_sent_twice(clean_run: Evidence) -> None:
    """Two mails for one subscription are one too many."""
    extra = Mail(at_ns=1, recipient=PENDING)
    integrity = clean_run.but(mails=[*clean_run.mails, extra]).judge().integrity
    assert broken(integrity) == {"mail_cause": 1}
    assert integrity.violations[0].found == "2 mails"


def test_two_requests_may_cause_two_mails(clean_run: Evidence) -> None:
    """A second subscription of the same address may send the mail again."""
    again = make.request(9000, 5.0, endpoint=make.SUBSCRIBE, subject=PENDING, served_by="b-2")
    run = clean_run.but(
        outcomes=[*clean_run.outcomes, again],
        mails=[*clean_run.mails, Mail(at_ns=1, recipient=PENDING)],
    )
    assert broken(run.judge().integrity) == {}


def test_mail_to_nobody(clean_run: Evidence) -> None:
    """A mail to an address that never subscribed is found."""
    run = clean_run.but(mails=[*clean_run.mails, Mail(at_ns=1, recipient="x@y")])
    assert broken(run.judge().integrity) == {"mail_cause": 1}


def test_bad_input_that_was_taken(clean_run: Evidence) -> None:
    """A request that had to be refused with 400 and was: no row. Answered 200: a row is right."""
    refused = make.request(
        9000, 1.0, endpoint=make.SUBSCRIBE, subject="bad@", expected=(400,), status=400
    )
    run = clean_run.but(outcomes=[*clean_run.outcomes, refused])
    assert broken(run.judge().integrity) == {}
    row = Subject(subject="bad@", state="active")
    assert broken(run.but(after=[*run.after, row]).judge().integrity) == {"refused": 1}


def test_no_database(clean_run: Evidence) -> None:
    """Without rows to read nothing is claimed, and the verdict says so."""
    verdict = clean_run.but(before=None, after=None).judge()
    assert verdict.integrity.status == "unchecked"
    assert any("database was not read" in limit for limit in verdict.limits)


def test_nothing_was_promised(clean_run: Evidence) -> None:
    """Without a single success the data is unknown, not good."""
    run = clean_run.but(outcomes=[], mails=[], after=clean_run.before)
    assert run.judge().integrity.status == "unknown"


def test_many_violations_are_counted_and_few_are_listed(clean_run: Evidence) -> None:
    """A table that was emptied does not fill the verdict, but its number is right."""
    integrity = clean_run.but(after=[], mails=[]).judge().integrity
    assert integrity.violation_count == sum(broken(integrity).values())
    assert integrity.violation_count > 100
    assert len(integrity.violations) <= 20 * len(broken(integrity))


@pytest.mark.parametrize(
    ("fields", "effect"),
    [
        ({"status": 200}, Effect.OK),
        ({"status": 201, "expected": (200,)}, Effect.OK),
        ({"status": 303, "expected": (303,)}, Effect.OK),
        ({"status": 302, "expected": (200,)}, Effect.INFO),
        ({"status": 400}, Effect.FAIL),
        ({"status": 408}, Effect.INFO),
        ({"status": 500}, Effect.INFO),
        ({"status": 500, "sqlstate": "42703"}, Effect.FAIL),
        ({"status": 500, "sqlstate": "57P01"}, Effect.INFO),
        ({"status": 501}, Effect.FAIL),
        ({"status": 502, "proxy_status": "h; error=connection_refused"}, Effect.FAIL),
        ({"status": 502, "proxy_status": "h; error=http_response_incomplete"}, Effect.INFO),
        ({"status": None, "error": "eof"}, Effect.INFO),
        ({"status": None, "error": "reset", "sent_ns": None}, Effect.FAIL),
    ],
)
def test_alphabet(fields: dict[str, Any], effect: Effect) -> None:
    """Only a proof that nothing happened is a `fail`; what nobody can tell is `info`."""
    assert effect_of(make.request(1, 1.0, **fields)) is effect
