"""What the logs of a watched service explain, and what they do not."""

from typing import Any

import pytest

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.logged_error import LoggedError
from scenarios.reports.sentence import summary_of
from scenarios.verdict import Verdict
from scenarios.verdict.model import Cause
from scenarios.verdict.story import tell_story
from tests.support import evidence as make
from tests.support.evidence import Evidence


def judged(clean_run: Evidence, status: int, *errors: LoggedError, **said: Any) -> Verdict:
    """Ten requests of a watched service fail; the log of its proxy has a line of each."""
    run = clean_run.asked(platform="foreign", router="foreign").failing(
        3.0, 3.1, status=status, served_by=None
    )
    exchanges = [
        ExchangeRecord(
            **{
                "at_ns": one.planned_ns,
                "request_id": one.request_id,
                "status": status,
                "backend": "10.0.0.7:9000",
                "end": "complete",
                "joined": "time",
                "confidence": "likely",
                "resolution_ns": 1,
                **said,
            }
        )
        for one in run.outcomes
        if not one.ok and said
    ]
    return run.but(access_log=exchanges).judge(logged_errors=errors)


def only(verdict: Verdict) -> Cause:
    (cause,) = verdict.causes
    return cause


def error(seconds: float, **fields: Any) -> LoggedError:
    given: dict[str, Any] = {
        "at_ns": make.at(seconds),
        "source": "app.log",
        "language": "python",
        "type": "KeyError",
        "message": "'nickname'",
    }
    return LoggedError(**{**given, **fields})


def test_whom_the_proxy_could_not_reach(clean_run: Evidence) -> None:
    """The sentence names the upstream, and the note quotes the proxy with its count."""
    verdict = judged(
        clean_run, 502, end="connection_refused", reason="error.log: connect() failed (111)"
    )
    cause = only(verdict)
    assert (cause.cause, cause.confidence) == ("router:connection_refused", "likely")
    assert cause.evidence.replicas == {"10.0.0.7:9000": 10}
    assert "the proxy's log has 10 times: error.log: connect() failed (111)" in (
        cause.evidence.note or ""
    )
    sentence = summary_of(verdict).sentence
    assert sentence.startswith("The upstream 10.0.0.7:9000 refused the proxy's connection: 10 req")


def test_the_story_of_a_request_quotes_the_log(clean_run: Evidence) -> None:
    """Whoever asks for one request reads what the log says of it, and how it was found."""
    run = clean_run.asked(platform="foreign", router="foreign").failing(
        3.0, 3.01, status=502, served_by=None
    )
    (failed,) = [one for one in run.outcomes if not one.ok]
    said = ExchangeRecord(
        at_ns=failed.planned_ns,
        request_id=failed.request_id,
        status=502,
        backend="10.0.0.7:9000",
        end="connection_refused",
        reason="error.log: connect() failed (111)",
        joined="time",
        resolution_ns=1,
    )
    (one,) = run.but(access_log=[said]).judgement().failed
    story = tell_story(one.failure, one, run.outcomes[0].planned_ns)
    (moment,) = [moment for moment in story.moments if moment.source == "proxy"]
    assert moment.text == (
        "the log has status 502 from 10.0.0.7:9000, connection_refused: error.log: connect() "
        "failed (111); joined by method, path, status and time"
    )


def test_no_live_upstream(clean_run: Evidence) -> None:
    """A proxy that had nobody to ask is as sure of it as its line."""
    verdict = judged(clean_run, 502, end="destination_unavailable", backend=None)
    assert (only(verdict).cause, only(verdict).confidence) == ("no_backend", "likely")
    assert summary_of(verdict).sentence.startswith("The proxy had no live upstream: ")


@pytest.mark.parametrize(("upstream_status", "confidence"), [(500, "likely"), (None, "symptom")])
def test_what_the_upstream_answered(
    upstream_status: int | None, confidence: str, clean_run: Evidence
) -> None:
    """An error is the application's where the log says that its upstream gave it."""
    cause = only(judged(clean_run, 500, upstream_status=upstream_status))
    assert (cause.cause, cause.confidence) == ("status:500", confidence)
    assert ("from the application" in cause.title) is (upstream_status == 500)


@pytest.mark.parametrize(
    ("status", "fields", "explained"),
    [
        (500, {}, True),
        (503, {}, False),  # perhaps of the proxy, and an exception of that time is no reason
        (503, {"request_id": "s7-000300-1"}, True),
    ],
)
def test_an_exception_in_a_log_of_nobody_in_particular(
    status: int,
    fields: dict[str, Any],
    *,
    explained: bool,
    clean_run: Evidence,
) -> None:
    """Such a log may be that of any replica, and explains what an application answers."""
    verdict = judged(clean_run, status, error(3.05, **fields))
    titles = [cause.title for cause in verdict.causes]
    assert any("which logged KeyError: 'nickname'" in one for one in titles) is explained


def test_a_request_that_may_be_sent_again(clean_run: Evidence) -> None:
    """Of a request that the server has not processed, nobody knows better than the server."""
    run = clean_run.failing(3.0, 3.1, status=None, error="unprocessed", http2=True)
    cause = only(run.judge())
    assert (cause.cause, cause.confidence) == ("transport:unprocessed", "certain")


def test_a_replica_with_a_log_of_its_own_has_no_others(clean_run: Evidence) -> None:
    """In a run of our own, a log belongs to its replica alone."""
    run = clean_run.failing(3.0, 3.1, status=500)
    assert "KeyError" not in only(run.judge(logged_errors=[error(3.05)])).title
