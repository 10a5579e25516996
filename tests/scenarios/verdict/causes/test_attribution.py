"""Every failed request has one cause, the first of the ladder that matches, with its evidence."""

import errno
from typing import Any

import pytest

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.verdict.causes import proxy_status
from scenarios.verdict.causes.failure import Failure
from scenarios.verdict.causes.ladder import attribute
from scenarios.verdict.timeline import AFTER, BEFORE, BETWEEN, Timeline
from tests.support import evidence as make
from tests.support.evidence import Evidence

NO_BACKEND = 'hitless; error=destination_unavailable; details="no backend is up"'
REFUSED = ("transport:connect_refused", "symptom")
CUT = "hitless; error=connection_terminated; next-hop=a-1"


def failed(error: str, **fields: Any) -> dict[str, Any]:
    return {"status": None, "error": error, "first_byte_ns": None, **fields}


@pytest.mark.parametrize(
    ("when", "fields", "cause", "confidence"),
    [
        (1.0, failed("undispatched", sent_ns=None), "harness:undispatched", "certain"),
        (
            1.0,
            failed("undispatched", errno=errno.EMFILE, sent_ns=None),
            "harness:descriptors",
            "certain",
        ),
        (1.0, failed("connect_refused", errno=errno.ENFILE), "harness:descriptors", "certain"),
        (1.0, failed("reset", errno=errno.EADDRNOTAVAIL), "harness:ports", "certain"),
        (1.0, failed("connect_refused", errno=errno.ECONNREFUSED), *REFUSED),
        (1.0, failed("eof", connection="new"), "transport:eof", "symptom"),
        (1.0, {"mismatch": "no word of it"}, "unexpected_answer", "symptom"),
        (1.0, {"status": 429}, "application:rate_limit", "likely"),
        (1.0, {"status": 429, "proxy_status": "p; error=x"}, "balancer:x", "certain"),
        (1.0, {"status": 503, "proxy_status": NO_BACKEND}, "no_backend", "certain"),
        (
            3.5,
            {"status": 502, "proxy_status": CUT, "served_by": "a-1"},
            "lifecycle:stopped",
            "likely",
        ),
        (
            2.6,
            {"status": 502, "proxy_status": "hitless; error=connection_refused; next-hop=b-2"},
            "lifecycle:not_ready",
            "likely",
        ),
        (
            1.0,
            {"status": 502, "proxy_status": CUT},
            "balancer:connection_terminated",
            "certain",
        ),
        (
            1.0,
            {"status": 500, "proxy_status": "hitless; error=proxy_internal_error"},
            "balancer:proxy_internal_error",
            "certain",
        ),
        (1.0, failed("reset", connection="reused"), "transport:reused_connection", "likely"),
        (1.0, failed("reset", connection="new"), "transport:reset", "symptom"),
        (1.0, failed("timeout"), "transport:timeout", "symptom"),
        (1.0, failed("malformed", connection="new"), "transport:malformed", "symptom"),
        (1.0, failed("something_new"), "transport:something_new", "symptom"),
        (1.0, {"status": 500, "sqlstate": "23502"}, "sqlstate:23502", "certain"),
        (1.0, {"status": 500, "sqlstate": "42P01"}, "sqlstate:42P01", "certain"),
        (1.0, {"status": 404, "served_by": "a-1"}, "status:404", "symptom"),
        (1.0, {"status": 500, "problem": "the pool is exhausted"}, "pool_exhausted", "likely"),
        (
            1.0,
            {"status": 500, "problem": "The database did not answer in time"},
            "statement_timeout",
            "likely",
        ),
        (1.0, {"status": 500, "problem": "The printer is on fire"}, "status:500", "likely"),
        (1.0, {"status": 500}, "status:500", "symptom"),
        # A complete answer of the application is the application's, also while it stops.
        (
            3.5,
            {"status": 500, "sqlstate": "23502", "served_by": "a-1"},
            "sqlstate:23502",
            "certain",
        ),
    ],
)
def test_ladder(when: float, fields: dict[str, Any], cause: str, confidence: str) -> None:
    """Each kind of evidence leads to its cause."""
    outcome = make.request(1, when, connection=fields.pop("connection", "reused"), **fields)
    failure = Failure.join(outcome, None, Timeline(make.journal()))
    finding = attribute(failure)
    assert (finding.cause, finding.confidence) == (cause, confidence)
    assert finding.title


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ({"reused": True}, "keep_alive:race"),
        ({"reused": False}, "balancer:connection_terminated"),
        ({"reused": True, "first_byte_ns": 5}, "balancer:connection_terminated"),
        (None, "balancer:connection_terminated"),
    ],
)
def test_a_kept_connection_that_ends_under_a_request_is_a_race(
    line: dict[str, Any] | None, cause: str
) -> None:
    """It is one if the connection was used before, and the replica had not begun to answer."""
    outcome = make.request(1, 1.0, status=502, proxy_status=CUT)
    exchange = None
    if line is not None:
        exchange = ExchangeRecord(
            at_ns=make.at(1.0), request_id=outcome.request_id, backend="a-1", status=502, **line
        )
    finding = attribute(Failure.join(outcome, exchange, Timeline(make.journal())))
    assert finding.cause == cause


def test_a_drain_that_ran_out_of_time_is_the_cause() -> None:
    """What a drain cut when its time was up is said to be cut by it."""
    old = {"version": "a", "replicas": ("a-1",)}
    events = [
        make.event(3.0, "drain", "started", 1, **old),
        make.event(3.4, "drain", "completed", 1, detail={"cut": 2}, **old),
    ]
    outcome = make.request(1, 3.395, status=502, proxy_status=CUT)
    finding = attribute(Failure.join(outcome, None, Timeline(events)))
    assert finding.cause == "lifecycle:drain_exceeded"


def test_what_a_router_left_at_the_deadline_is_the_drains() -> None:
    """What a router leaves in flight is cut by the end of its replica: the drain was short."""
    old = {"version": "a", "replicas": ("a-1",)}
    events = [
        make.event(3.0, "drain", "started", 1, **old),
        make.event(3.4, "drain", "completed", 1, detail={"cut": 0, "left": 1}, **old),
        make.event(3.5, "stop", "started", 2, **old),
    ]
    outcome = make.request(1, 3.6, status=502, proxy_status=CUT)
    finding = attribute(Failure.join(outcome, None, Timeline(events)))
    assert finding.cause == "lifecycle:drain_exceeded"


def test_a_stop_without_a_drain_is_the_cause() -> None:
    """A naive stop cuts what is under way."""
    events = [make.event(3.0, "stop", "started", 1, replicas=("a-1",), version="a")]
    outcome = make.request(1, 3.001, status=502, proxy_status=CUT)
    assert attribute(Failure.join(outcome, None, Timeline(events))).cause == "lifecycle:undrained"


def test_a_death_is_the_cause_also_when_it_is_noticed_later() -> None:
    """The journal notes a replica's exit a moment after its connections broke."""
    events = [
        make.event(0.0, "start", "started", 1, replicas=("a-1",), version="a"),
        make.event(0.5, "wait_ready", "completed", 2, replicas=("a-1",), version="a"),
        make.event(3.2, "replica", "noted", 3, replicas=("a-1",), error="exit status -9"),
    ]
    outcome = make.request(1, 3.1, status=502, proxy_status=CUT)
    assert attribute(Failure.join(outcome, None, Timeline(events))).cause == "lifecycle:died"


def test_the_access_log_names_the_replica() -> None:
    """Where the client knows no replica, the balancer's log does, and a race is then excluded."""
    outcome = make.request(1, 3.5, connection="reused", **failed("eof"))
    line = ExchangeRecord(
        at_ns=make.at(3.5), request_id=outcome.request_id, backend="a-1", version="a"
    )
    failure = Failure.join(outcome, line, Timeline(make.journal()))
    assert (failure.replica, failure.version) == ("a-1", "a")
    assert attribute(failure).cause == "lifecycle:stopped"


def test_groups_carry_their_evidence(clean_run: Evidence) -> None:
    """A cause tells how many, which, where, on which version, at which step and schema."""
    run = clean_run.failing(2.5, 2.8, status=500, sqlstate="23502")
    run = run.but(
        access_log=[
            ExchangeRecord(
                at_ns=make.at(2.5), request_id="s7-000250-1", backend="a-1", attempts=1, end="done"
            )
        ]
    )
    verdict = run.judge()
    (cause,) = verdict.causes
    assert cause.cause == "sqlstate:23502"
    assert "not-null violation" in cause.title
    assert cause.count == 30 == verdict.requests.failed
    evidence = cause.evidence
    assert evidence.requests[0] == "s7-000250-1"
    assert evidence.versions == {"a": 30}
    assert evidence.replicas == {"a-1": 30}
    assert evidence.steps == {"start b-2": 30}
    assert evidence.schemas == {"0002.expand": 30}
    assert sum(evidence.endpoints.values()) == 30
    assert (evidence.first, evidence.last) == (2.5, 2.79)
    assert evidence.examples[0].attempts == 1
    assert evidence.examples[0].end == "done"


def test_an_example_has_all_that_is_known_of_it(clean_run: Evidence) -> None:
    """An example is the request itself, as the client and the balancer's log tell it."""
    index = next(n for n, one in enumerate(clean_run.outcomes) if one.request_id == "s7-000250-1")
    planned = clean_run.outcomes[index].planned_ns
    run = clean_run.with_request(
        index,
        **failed("something_new", error_detail="it says so", problem="on fire", sqlstate="XX000"),
        proxy_status="p; error=unheard_of",
        done_ns=planned + 70_000_000,
    )
    line = ExchangeRecord(
        at_ns=planned, request_id="s7-000250-1", backend="a-1", attempts=2, end="client_gone"
    )
    (cause,) = run.but(access_log=[line]).judge().causes
    (example,) = cause.evidence.examples
    outcome = run.outcomes[index]
    for name in (
        *("request_id", "endpoint", "connection", "journey", "status", "error", "error_detail"),
        *("proxy_status", "sqlstate", "problem"),
    ):
        assert getattr(example, name) == getattr(outcome, name), name
    assert (example.at, example.seconds) == (2.5, 0.07)
    assert (example.replica, example.version) == ("a-1", "a")
    assert (example.step, example.schema) == ("start b-2", "0002.expand")
    assert (example.attempts, example.end) == (2, "client_gone")
    assert cause.evidence.connections == {outcome.connection: 1}
    answered = clean_run.failing(2.5, 2.51, status=418).judge().causes[0].evidence.examples[0]
    assert answered.status == 418


@pytest.mark.parametrize(
    "error",
    [
        *("connection_limit_reached", "connection_refused", "connection_timeout"),
        *("destination_ip_unroutable", "destination_not_found", "destination_unavailable"),
        *("dns_error", "dns_timeout", "http_request_denied", "http_request_error"),
        *("tls_alert_received", "tls_certificate_error", "tls_protocol_error"),
    ],
)
def test_what_was_never_forwarded_took_no_effect(error: str, clean_run: Evidence) -> None:
    """Where RFC 9209 says that no backend saw the request, its row must not be there."""
    index = next(n for n, one in enumerate(clean_run.outcomes) if one.subject is not None)
    refused = clean_run.with_request(index, status=502, proxy_status=f"p; error={error}")
    verdict = refused.judge()
    assert verdict.requests.unknown == 0
    assert verdict.integrity.violation_count == 1


@pytest.mark.parametrize(("number", "listed"), [(300, 300), (1000, 1000), (1001, 1000)])
def test_every_request_of_a_cause_is_listed(number: int, listed: int) -> None:
    """All ids are there, by planned time, up to the bound; the count tells of all."""
    outcomes = [make.request(n, 2 + n / 1000, status=500) for n in range(number)]
    run = make.clean().but(outcomes=outcomes[::-1])
    (cause,) = run.judge().causes
    assert cause.count == number
    assert cause.evidence.requests == tuple(one.request_id for one in outcomes[:listed])


def test_causes_come_most_frequent_first(clean_run: Evidence) -> None:
    """The main cause is the first of the list."""
    run = clean_run.failing(2.5, 2.6, status=404).failing(3.0, 3.5, status=500)
    causes = run.judge().causes
    assert [cause.cause for cause in causes] == ["status:500", "status:404"]


def test_a_route_that_one_version_lacks_is_noted(clean_run: Evidence) -> None:
    """A 404 by A where B answers the same endpoint is the trap of the mixed fleet."""
    number = next(i for i, o in enumerate(clean_run.outcomes) if o.endpoint == make.CONFIRM)
    verdict = clean_run.with_request(number, status=404, served_by="a-1").judge()
    (cause,) = verdict.causes
    assert cause.cause == "status:404"
    assert cause.evidence.note is not None
    assert "version a answered 404" in cause.evidence.note
    assert "succeeded on version b" in cause.evidence.note
    for fact in ("HTTP 404", "version a lacks", "version b serves"):
        assert fact in cause.title
    assert cause.confidence == "likely"


@pytest.mark.parametrize(
    ("field", "error", "details", "next_hop"),
    [
        (NO_BACKEND, "destination_unavailable", "no backend is up", None),
        ("hitless;error=connection_refused;next-hop=a-1", "connection_refused", None, "a-1"),
        (r'p; error=x; details="say \"hi\"; error=y"', "x", 'say "hi"; error=y', None),
        ("origin; error=first, edge; error=second", "first", None, None),
    ],
)
def test_proxy_status(field: str, error: str, details: str | None, next_hop: str | None) -> None:
    """RFC 9209 is read with its quoting, and the proxy closest to the origin is believed."""
    assert proxy_status.parse(field) == (error, details, next_hop)


@pytest.mark.parametrize("field", [None, "", "hitless", "hitless; received-status=200"])
def test_no_proxy_error(field: str | None) -> None:
    """A field that tells of no error is none."""
    assert proxy_status.parse(field) is None


def test_timeline_knows_step_and_schema() -> None:
    """At each instant the innermost verb is under way, and the last migration is the schema."""
    timeline = Timeline(reversed(make.journal()))
    assert timeline.step_at(make.at(-5.0)) == BEFORE
    assert timeline.step_at(make.at(2.2)) == "migrate 0002.expand"
    assert timeline.step_at(make.at(2.45)) == BETWEEN
    assert timeline.step_at(make.at(3.3)) == "drain a-1"
    assert timeline.step_at(make.at(4.5)) == AFTER
    assert timeline.schema_at(make.at(2.39)) is None
    assert timeline.schema_at(make.at(2.41)) == "0002.expand"
    assert timeline.version_of("bridge-12") == "bridge"
    assert timeline.version_of(None) is None
    assert timeline.release_seconds == 2.0
