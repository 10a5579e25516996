"""What the balancer saved is said, and that another one may not save it."""

from typing import Any

import pytest

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.reports.markdown import summary
from tests.support.evidence import at, clean


def line(**fields: Any) -> ExchangeRecord:
    return ExchangeRecord(
        **{"at_ns": at(1.0), "request_id": "s7-000100-1", "status": 200, "attempts": 1, **fields}
    )


@pytest.mark.parametrize(
    ("fields", "retried", "held"),
    [
        ({"attempts": 2}, 1, 0),
        ({"wait_ns": 80_000_000}, 0, 1),
        ({"wait_ns": 1_000_000}, 0, 0),
        ({}, 0, 0),
    ],
)
def test_retries_and_held_requests_are_counted(
    fields: dict[str, Any], retried: int, held: int
) -> None:
    """A further attempt that was answered, and a wait for a replica; in every view and a limit."""
    verdict = clean().but(access_log=[line(**fields)]).judge()
    assert (verdict.rescued.retried, verdict.rescued.held) == (retried, held)
    said = bool(retried or held)
    assert any("another balancer may drop" in limit for limit in verdict.limits) == said
    assert ("Saved by the balancer" in summary(verdict)) == said


def test_connections_that_were_closed_under_a_request_are_told_apart() -> None:
    """A retry after a refusal is another one than a retry of what was sent already."""
    lines = [line(attempts=2), line(attempts=2, resent=True), line(resent=True)]
    verdict = clean().but(access_log=lines).judge()
    assert (verdict.rescued.retried, verdict.rescued.closed) == (2, 1)
    assert "2 answered by a retry" in verdict.rescued.words
    assert "(1 of them on a connection that the replica closed" in verdict.rescued.words


def test_a_retry_that_failed_as_well_saved_nothing() -> None:
    """Only an answer below 500 counts."""
    failed = clean().but(access_log=[line(attempts=3, status=502)])
    assert failed.judge().rescued.retried == 0
