"""What replicas log of their own errors reaches the causes: quoted, counted, and joined."""

import io
from pathlib import Path
from typing import Any

import hypothesis.strategies as some
import msgspec
import pytest
from hypothesis import given
from rich.console import Console

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.logged_error import LoggedError
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.server_log import ServerLine
from scenarios.reports.terminal import print_verdict
from scenarios.review import review, write_reports
from scenarios.verdict.causes.logged import LoggedErrors, kind_of, quoted, sqlstate_of
from scenarios.verdict.model import Cause
from tests.support import evidence as make
from tests.support.evidence import Evidence

REFUSED = "invalid input for query argument $1: 5000000000 (value out of int32 range)"


def error(seconds: float, message: str = "boom 1", **fields: Any) -> LoggedError:
    return LoggedError(
        **{
            "at_ns": make.at(seconds),
            "source": "a-1",
            "language": "python",
            "type": "ValueError",
            "message": message,
            **fields,
        }
    )


def broken(clean_run: Evidence, **fields: Any) -> Evidence:
    """Ten requests of version a fail, from 1.0 to 1.1."""
    return clean_run.failing(1.0, 1.1, status=500, **fields)


def only(run: Evidence, **further: Any) -> Cause:
    (cause,) = run.judge(**further).causes
    return cause


def test_an_exception_explains_a_bare_500_and_is_quoted_with_its_count(clean_run: Evidence) -> None:
    """The last line of the exception and how often it was logged stand in the note."""
    errors = [error(1.0 + n / 100, f"order {n} is gone") for n in range(10)]
    cause = only(broken(clean_run), logged_errors=errors)
    assert (cause.cause, cause.confidence, cause.kind) == ("status:500", "likely", "application")
    assert "ValueError: order 0 is gone" in cause.title
    assert cause.evidence.note is not None
    assert "the logs of a-1 have 10 times: ValueError: order 0 is gone" in cause.evidence.note


@pytest.mark.parametrize("changed", [True, False])
def test_a_driver_that_refuses_by_itself(clean_run: Evidence, *, changed: bool) -> None:
    """The server knows nothing of a value that its driver refused; a rewritten table tells why."""
    noted = make.event(0.9, "table", "noted", 99, detail={"table": "things"})
    run = broken(clean_run)
    run = run.but(events=[*run.events, noted]) if changed else run
    errors = [error(1.0 + n / 100, REFUSED, type="asyncpg.exceptions.DataError") for n in range(10)]
    name = "driver:stale_parameter" if changed else "driver:parameter"
    causes = {one.cause: one for one in run.judge(logged_errors=errors).causes}
    assert name in causes
    assert "value out of int32 range" in causes[name].title
    assert causes[name].kind == "statement"


def test_a_stale_plan_is_the_drivers(clean_run: Evidence) -> None:
    """A cached plan that is invalid is said to be one."""
    message = "cached statement plan is invalid due to a database schema change"
    causes = broken(clean_run).judge(logged_errors=[error(1.05, message)]).causes
    assert "driver:stale_plan" in {one.cause for one in causes}


def test_the_replicas_log_has_the_sqlstate_that_the_servers_log_would_have(
    clean_run: Evidence,
) -> None:
    """With a server of the user's own, the exception's class tells what was refused."""
    errors = [
        error(1.0 + n / 100, 'column "x" does not exist', type="asyncpg.UndefinedColumnError")
        for n in range(10)
    ]
    cause = only(broken(clean_run), logged_errors=errors)
    assert cause.cause == "sqlstate:42703"
    assert cause.title.endswith('column "x" does not exist (version a)')


def test_the_headline_names_relation_and_version(clean_run: Evidence) -> None:
    """What convinces a colleague stands in the reason of the verdict."""
    run = clean_run.failing(2.5, 2.6, status=500)
    lines = [line(2.5 + n / 100, "42P01", 7) for n in range(10)]
    verdict = run.judge(server_lines=lines)
    assert 'relation "records" does not exist (version a)' in verdict.reasons[0]


def line(seconds: float, sqlstate: str, pid: int) -> ServerLine:
    return ServerLine(
        at_ns=make.at(seconds),
        pid=pid,
        severity="ERROR",
        sqlstate=sqlstate,
        message='relation "records" does not exist',
        application="shop a-1",
    )


def test_a_broken_transaction_has_the_cause_that_broke_it(clean_run: Evidence) -> None:
    """25P02 always follows another error of its session, which is the cause."""
    lines = [line(0.95, "42P01", 7), line(0.96, "23502", 8)]
    lines += [line(1.0 + n / 100, "25P02", 7) for n in range(10)]
    assert only(broken(clean_run), server_lines=lines).cause == "sqlstate:42P01"
    told = broken(clean_run, sqlstate="25P02")
    assert only(told, server_lines=lines).cause == "sqlstate:42P01"


def test_a_plan_that_was_prepared_anew_is_no_cause(clean_run: Evidence) -> None:
    """0A000 counts only where nothing else was refused: its session went on."""
    healed = [line(1.0 + n / 100, "0A000", 7) for n in range(10)]
    assert only(broken(clean_run), server_lines=healed).cause == "sqlstate:0A000"
    both = [*healed, *(line(1.0 + n / 100, "42703", 7) for n in range(10))]
    assert only(broken(clean_run), server_lines=both).cause == "sqlstate:42703"


def test_an_error_that_names_a_request_is_about_that_one_alone(clean_run: Evidence) -> None:
    """The request id joins them, whatever the time; others of that time are not explained by it."""
    errors = [error(1.09, "its own", request_id="s7-000104-1")]
    causes = broken(clean_run).judge(logged_errors=errors).causes
    explained = {one.confidence: one.count for one in causes}
    assert explained == {"likely": 1, "symptom": 9}


def test_errors_of_other_replicas_and_times_explain_nothing(clean_run: Evidence) -> None:
    """A neighbour's exception, or one of another time, is not quoted."""
    errors = [error(1.05, source="b-2"), error(-0.5), error(3.0)]
    cause = only(broken(clean_run), logged_errors=errors)
    assert cause.confidence == "symptom"
    assert cause.evidence.note is None or "boom" not in cause.evidence.note


def test_logged_errors_alone_are_no_finding(clean_run: Evidence) -> None:
    """An exception behind which no request failed changes nothing."""
    errors = [error(n / 10) for n in range(40)]
    assert clean_run.judge(logged_errors=errors).causes == ()


@pytest.mark.parametrize(
    ("fields", "sqlstate"),
    [
        ({"sqlstate": "23502"}, "23502"),
        ({"type": "psycopg.errors.UndefinedTable"}, "42P01"),
        (
            {"type": "sqlalchemy.exc.ProgrammingError", "root": "asyncpg.UndefinedColumnError: x"},
            "42703",
        ),
        ({"type": "MyUndefinedTable2"}, None),
        ({}, None),
    ],
)
def test_sqlstates_by_the_names_of_exceptions(fields: dict[str, Any], sqlstate: str | None) -> None:
    """Psycopg and asyncpg name their exceptions by the conditions of the standard."""
    assert sqlstate_of(error(1.0, **fields)) == sqlstate


@given(some.lists(some.tuples(some.sampled_from(["a 1", "a 22", "b"]), some.sampled_from("xy"))))
def test_every_error_is_counted_once(entries: list[tuple[str, str]]) -> None:
    """Kinds are told apart by their words, not by the values in them."""
    errors = [error(n, text, source=source) for n, (text, source) in enumerate(entries)]
    found = quoted(LoggedErrors(errors).all)
    assert sum(one.times for one in found) == len(errors)
    assert len(found) == len({kind_of(one) for one in errors}) <= 2


def test_a_rate_limit_is_named(clean_run: Evidence) -> None:
    """A 429 is the application's own limit."""
    cause = only(clean_run.failing(1.0, 1.1, status=429))
    assert cause.cause == "application:rate_limit"


def test_a_replica_that_does_not_start_says_why(clean_run: Evidence, tmp_path: Path) -> None:
    """The first error of its sessions, or else of its log, is a cause that counts no request."""
    new = {"version": "b", "replicas": ("b-9",)}
    run = clean_run.asked(outcome="failed", outcome_reason="b-9 is not ready").but(
        events=[
            *clean_run.events,
            make.event(4.1, "start", "started", 90, **new),
            make.event(4.9, "wait_ready", "failed", 91, error="not ready", **new),
        ]
    )
    session = msgspec.structs.replace(line(4.5, "42P01", 9), application="b-9")
    later = msgspec.structs.replace(line(4.6, "25P02", 9), application="b-9")
    verdict = run.judge(server_lines=[session, later])
    (cause,) = verdict.causes
    assert (cause.cause, cause.kind, cause.count) == ("sqlstate:42P01", "statement", 0)
    assert any("version b did not become ready" in reason for reason in verdict.reasons)
    assert any('relation "records" does not exist' in reason for reason in verdict.reasons)
    folder = run.write(tmp_path / "run", server_lines=[session, later])
    write_reports(folder, review(folder))
    for report in (RunFolder(folder).summary, RunFolder(folder).report, RunFolder(folder).junit):
        assert "did not become ready" in report.read_text()
    console = Console(file=io.StringIO(), width=300)
    print_verdict(console, verdict, verbose=True)
    assert "did not become ready" in console.file.getvalue()  # type: ignore[attr-defined]
    logged = [error(4.3, "no port", source="b-9"), error(4.4, "bye", source="b-9")]
    (cause,) = run.judge(logged_errors=logged).causes
    assert cause.cause == "lifecycle:failed_to_start"
    assert "ValueError: no port" in cause.title
    assert run.judge().causes == ()
    assert clean_run.judge(logged_errors=logged).causes == ()


def test_a_process_beside_the_web_that_does_not_start_says_why(clean_run: Evidence) -> None:
    """A worker of the new version is in no router, and its log says why it ended."""
    new = {"version": "b", "replicas": ("worker-b-9",), "detail": {"processes": "worker"}}
    run = clean_run.asked(outcome="rolled_back", outcome_reason="worker-b-9 ended").but(
        events=[
            *clean_run.events,
            make.event(4.1, "start", "completed", 90, **new),
            make.event(4.9, "wait_ready", "failed", 91, error="worker-b-9 ended", **new),
        ]
    )
    (cause,) = run.judge(logged_errors=[error(4.3, "no queue", source="worker-b-9")]).causes
    assert cause.cause == "lifecycle:failed_to_start"
    assert cause.title == (
        "worker of version b did not become ready: its log says ValueError: no queue"
    )


def test_what_took_the_fleet_out_ranks_before_the_lack_of_a_backend(clean_run: Evidence) -> None:
    """`no_backend` names who was out, since when and why; the root is the first cause."""
    refused = 'hitless; error=destination_unavailable; details="no backend is up"'
    run = clean_run.failing(2.5, 2.55, status=500, sqlstate="42703").failing(
        2.6, 2.9, status=503, served_by=None, proxy_status=refused
    )
    down = BackendChange(at_ns=make.at(2.58), id="a-1", change="down", reason="GET /health: 500")
    verdict = run.judge(backend_changes=[down])
    assert [cause.cause for cause in verdict.causes] == ["sqlstate:42703", "no_backend"]
    assert "a-1 since +2.58 s: GET /health: 500" in (verdict.causes[1].evidence.note or "")
    alone = clean_run.failing(2.6, 2.9, status=503, served_by=None, proxy_status=refused)
    assert [cause.cause for cause in alone.judge(backend_changes=[down]).causes] == ["no_backend"]


def test_health_checks_that_see_nothing_are_pointed_out(clean_run: Evidence) -> None:
    """A replica that the checks called healthy while its users got errors is named."""
    up = BackendChange(at_ns=make.at(-0.5), id="a-1", change="up")
    cause = only(broken(clean_run), backend_changes=[up])
    assert "the health checks of a-1 passed" in (cause.evidence.note or "")
    down = BackendChange(at_ns=make.at(1.02), id="a-1", change="down", reason="500")
    assert only(broken(clean_run), backend_changes=[up, down]).evidence.note is None


@pytest.mark.parametrize(("last", "said"), [(2.59, False), (2.6, True)])
def test_few_failures_say_nothing_of_the_health_checks(
    clean_run: Evidence, last: float, *, said: bool
) -> None:
    """Nine failures may fall between two checks; ten that no check saw are worth a word."""
    up = BackendChange(at_ns=make.at(-0.5), id="a-1", change="up")
    run = clean_run.failing(2.5, last, status=500)
    (cause,) = run.judge(backend_changes=[up]).causes
    assert cause.count == (10 if said else 9)
    assert ("the health checks of a-1 passed" in (cause.evidence.note or "")) is said


def test_what_the_balancer_answered_says_nothing_of_the_health_checks(clean_run: Evidence) -> None:
    """Where the balancer answered by itself, no replica was healthy and wrong."""
    up = BackendChange(at_ns=make.at(-0.5), id="a-1", change="up")
    lost = {"status": 502, "proxy_status": "p; error=proxy_internal_error"}
    (cause,) = clean_run.failing(2.5, 2.7, **lost).judge(backend_changes=[up]).causes
    assert cause.evidence.note is None


def test_a_server_log_that_nobody_read_is_a_limit(clean_run: Evidence) -> None:
    """With a server of the user's own, the verdict says what could not be seen."""
    run = clean_run.asked(database="shop")
    assert any("server's log was not read" in one for one in run.judge(server_lines=None).limits)
    assert not any("server's log was not read" in one for one in run.judge().limits)


def test_errors_of_background_work_are_quoted_where_data_is_damaged(clean_run: Evidence) -> None:
    """What no request shows is told with the violations; what a failed one shows is not."""
    lost = clean_run.but(after=list(clean_run.after or ())[:-3]).failing(2.5, 2.6, status=500)
    errors = [error(3.0 + n / 10, f"job {n} failed", source="b-2") for n in range(4)]
    errors += [error(2.5 + n / 100, "its own") for n in range(10)]
    errors += [error(2.2, "of a migration", source="migrator")]
    verdict = lost.judge(logged_errors=errors)
    assert verdict.integrity.logged == ("the logs of b-2 have 4 times: ValueError: job 0 failed",)
    assert any("; the logs of b-2 have 4 times: ValueError" in one for one in verdict.reasons)
    assert clean_run.judge(logged_errors=errors).integrity.logged == ()
