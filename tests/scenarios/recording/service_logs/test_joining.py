"""Which lines of a service's logs are about which requests, and how sure that is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.service_line import ServiceLine
from scenarios.recording.service_logs.joining import join

SECOND = 10**9
MS = 10**6


def request(number: int, at: float, *, status: int | None = 502, **more: Any) -> Outcome:
    """A request that was sent at an instant, and known 10 ms later."""
    sent = round(at * SECOND)
    given: dict[str, Any] = {
        "request_id": f"s7-{number:06}-1",
        "journey": "look",
        "endpoint": "GET /items",
        "connection": "new",
        "planned_ns": sent,
        "sent_ns": sent,
        "done_ns": sent + 10 * MS,
        "expected": (200,),
        "status": status,
        "error": None if status else "eof",
    }
    return Outcome(**{**given, **more})


def access(at: float, status: int = 502, **more: Any) -> ServiceLine:
    given: dict[str, Any] = {
        "source": "access.log",
        "family": "nginx",
        "at_ns": int(at) * SECOND,
        "resolution_ns": SECOND,
        "method": "GET",
        "path": "/items",
        "status": status,
    }
    return ServiceLine(**{**given, **more})


def error(at: float, end: str = "connection_refused", **more: Any) -> ServiceLine:
    given: dict[str, Any] = {
        "source": "error.log",
        "tells": "error",
        "status": 0,
        "end": end,
        "upstream": "10.0.0.7:9000",
        "reason": f"it was {end}",
    }
    return access(at, **{**given, **more})


def only(outcomes: list[Outcome], lines: list[ServiceLine]) -> ExchangeRecord:
    (found,) = join(outcomes, lines).exchanges
    return found


def test_a_line_with_the_id_is_certain() -> None:
    """The id decides, whatever the time; a line with another one's id is not about a request."""
    line = error(99, request_id="s7-000001-1")
    found = only([request(1, 5)], [line, error(5, request_id="s7-000002-1")])
    assert (found.end, found.confidence, found.joined) == ("connection_refused", "certain", "id")
    assert (found.backend, found.reason) == (
        "10.0.0.7:9000",
        "error.log: it was connection_refused",
    )
    assert found.foreign


def test_a_line_without_an_id_is_likely_at_best() -> None:
    """Method, path, status and time join it, and the record says so."""
    found = only([request(1, 5)], [error(5)])
    assert (found.end, found.confidence, found.joined) == ("connection_refused", "likely", "time")


@pytest.mark.parametrize(
    "other",
    [
        error(5, method="POST"),
        error(5, path="/others"),
        error(9),
        error(5, end="http_response_timeout"),  # of a 504
        error(5, end="http_response_incomplete"),  # the client has a whole response
        access(5, 503),
        access(9, 502),
    ],
)
def test_what_does_not_fit_is_not_joined(other: ServiceLine) -> None:
    """Another method, path, status or time: a line of somebody else's request."""
    assert join([request(1, 5)], [other]).exchanges == []


def test_the_lines_of_a_log_with_ids_are_other_peoples() -> None:
    """A log that names our requests names all of them, so its other lines are not ours."""
    lines = [access(5, 502), access(5, 200, request_id="s7-000002-1")]
    joined = join([request(1, 5), request(2, 5, status=200)], lines)
    assert [one.request_id for one in joined.exchanges] == ["s7-000002-1"]
    assert joined.by_time == 0


def test_an_access_line_with_the_id_and_an_error_line_without() -> None:
    """As with nginx: the error log has the reason, and the access log whose request it was."""
    lines = [access(5, request_id="s7-000001-1", confidence="symptom"), error(5)]
    found = only([request(1, 5)], lines)
    assert (found.end, found.confidence, found.joined) == ("connection_refused", "likely", "time")


def test_several_kinds_at_a_time_are_less_sure() -> None:
    """Where the same second has two reasons, either is told, and is no more than a symptom."""
    joined = join([request(1, 5), request(2, 5)], [error(5), error(5, "destination_unavailable")])
    assert {one.confidence for one in joined.exchanges} == {"symptom"}
    assert {one.end for one in joined.exchanges} == {
        "connection_refused",
        "destination_unavailable",
    }


def test_a_proxy_that_tried_two_upstreams() -> None:
    """Two lines of one exchange are one failure with two attempts; a third is the next request."""
    lines = [error(5, upstream=f"10.0.0.{host}:9000", connection="7*1") for host in (7, 8, 7, 8)]
    joined = join([request(1, 5), request(2, 5.1)], lines)
    assert [(one.attempts, one.backend) for one in joined.exchanges] == [(2, "10.0.0.8:9000")] * 2


def test_a_response_that_broke_off() -> None:
    """The client has no whole response, and the proxy logged 200 before it broke."""
    found = only(
        [request(1, 5, status=None)],
        [error(5, "http_response_incomplete"), access(5, 200)],
    )
    assert found.end == "http_response_incomplete"


def test_the_status_of_the_upstream_is_told() -> None:
    """An error that the upstream itself answered is the application's, not the proxy's."""
    line = access(5, 500, upstream="a:1", upstream_status=500, request_id="s7-000001-1")
    found = only([request(1, 5, status=500)], [line])
    assert (found.end, found.upstream_status, found.backend) == ("complete", 500, "a:1")


def test_a_hop_behind_the_one_that_answered() -> None:
    """What an inner proxy sent is no contradiction to what the client got from an outer one."""
    line = access(5, 500, request_id="s7-000001-1")
    assert only([request(1, 5, status=503)], [line]).end == "unknown"
    assert only([request(1, 5, status=200)], [line]).status == 500


def test_a_path_with_placeholders() -> None:
    """The evidence has the template of a path, and the log has what was sent."""
    outcome = request(1, 5, endpoint="GET /items/{id}/tags")
    assert only([outcome], [error(5, path="/items/17/tags")]).end == "connection_refused"
    assert join([outcome], [error(5, path="/items/17")]).exchanges == []


TIMES = st.lists(st.floats(0, 3), max_size=6)


@given(TIMES, TIMES, st.booleans())
def test_one_line_one_request(requests: list[float], lines: list[float], apart: bool) -> None:  # noqa: FBT001
    """No line is told of two requests, and no request has a line from another time."""
    outcomes = [request(number, at) for number, at in enumerate(requests)]
    logged = [
        error(at, upstream=f"a:{number}", connection=str(number) if apart else None)
        for number, at in enumerate(lines)
    ]
    joined = join(outcomes, logged)
    told = [one.backend for one in joined.exchanges]
    assert len(told) == len(set(told)) <= len(logged)
    sent = {one.request_id: one.sent_ns or 0 for one in outcomes}
    for one in joined.exchanges:
        line = logged[int((one.backend or "").partition(":")[2])]
        assert abs(line.at_ns - sent[one.request_id]) <= 2 * SECOND
    # A line that fits is not left over while a failed request without one fits it, too.
    if len({int(at) for at in (*requests, *lines)}) == 1:
        assert len(told) == min(len(requests), len(lines))


@given(st.permutations([access(5, 502), error(5), access(5, 200, request_id="s7-000009-1")]))
def test_the_order_of_the_logs_does_not_matter(lines: list[ServiceLine]) -> None:
    """Logs are read one after the other, in any order."""
    outcomes = [request(1, 5), request(9, 5, status=200)]
    found = sorted(join(outcomes, lines).exchanges, key=lambda one: one.request_id)
    assert [one.end for one in found] == ["connection_refused", "complete"]
