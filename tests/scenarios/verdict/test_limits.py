"""A verdict says what its run could not have seen: each limit where it holds, and only there."""

from collections.abc import Callable

import msgspec
import pytest

from scenarios.evidence.exchange import ExchangeRecord
from tests.support.evidence import Evidence, at

NO_BACKEND = {"status": 503, "served_by": None}


def limits(run: Evidence) -> str:
    return "\n".join(run.judge(lock_waits=()).limits)


def unnamed(run: Evidence) -> Evidence:
    return run.but(
        outcomes=[msgspec.structs.replace(one, served_by=None) for one in run.outcomes],
        ticks=[msgspec.structs.replace(one, served_by={}) for one in run.ticks],
    )


def late(run: Evidence) -> Evidence:
    """The generator once sent a request 150 ms late; its objectives allow that."""
    planned = run.outcomes[101].planned_ns
    return run.with_request(
        101, connection="reused", sent_ns=planned + 150_000_000, done_ns=planned + 160_000_000
    )


def pausing(run: Evidence) -> Evidence:
    """Nobody planned a request for a second."""
    return run.but(
        outcomes=[one for one in run.outcomes if not at(4.5) <= one.planned_ns < at(5.5)]
    )


def unanswered(run: Evidence) -> Evidence:
    """A subscription of which the client knows nothing, and whose row is there."""
    index = next(n for n, one in enumerate(run.outcomes) if one.subject == "u100@example.com")
    return run.with_request(index, status=None, error="reset", done_ns=at(1.01))


def promising_nothing(run: Evidence) -> Evidence:
    return run.but(
        outcomes=[msgspec.structs.replace(one, subject=None) for one in run.outcomes],
        mails=[],
        after=run.before,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (unnamed, "no response named its replica (X-Served-By)"),
        (late, "the load generator was once 150 ms late and observed nothing during that time"),
        (
            lambda run: run.failing(2.5, 2.6, **NO_BACKEND),
            "the balancer's access log has none of the failed requests",
        ),
        (
            unanswered,
            "its requests about 1 subject took effect; the database has 1 of them",
        ),
        (pausing, "no request was planned in 1.0 s of 6.1 s; that time counts neither"),
        (promising_nothing, "no request promised anything about the data"),
        (
            lambda run: run.but(before=None),
            "the database was not read, so lost or duplicated data cannot be detected",
        ),
    ],
)
def test_a_limit_is_said_where_it_holds(
    clean_run: Evidence, change: Callable[[Evidence], Evidence], said: str
) -> None:
    """What hides something from a run is one of its limits; a run without it does not say so."""
    assert said not in limits(clean_run)
    assert said in limits(change(clean_run))


def test_failures_that_the_balancer_logged_are_no_limit(clean_run: Evidence) -> None:
    """The log that has a failed request is worth more than what the client saw."""
    run = clean_run.failing(2.5, 2.6, **NO_BACKEND)
    first = next(one for one in run.outcomes if not one.ok)
    line = ExchangeRecord(
        at_ns=first.planned_ns, request_id=first.request_id, status=503, end="complete"
    )
    assert "access log has none" in limits(run)
    assert "access log has none" not in limits(run.but(access_log=[line]))


def test_lock_waits_that_nobody_recorded_are_a_limit(clean_run: Evidence) -> None:
    """Where nobody looked for locks, no delay can be blamed on one."""
    words = "lock waits in the database were not recorded"
    assert any(words in one for one in clean_run.judge().limits)
    assert not any(words in one for one in clean_run.judge(lock_waits=()).limits)


def test_how_little_a_good_rollout_shows(clean_run: Evidence) -> None:
    """A run without failures says what one rollout shows of the next; a failed one does not."""
    words = "one good rollout only shows that fewer than 95 % of such rollouts fail"
    assert words in limits(clean_run)
    assert words not in limits(clean_run.failing(2.5, 2.6, **NO_BACKEND))


def test_the_bounds_are_those_of_the_numbers(clean_run: Evidence) -> None:
    """The failure rate and the outages that may go unnoticed are those of the availability."""
    verdict = clean_run.judge()
    found = verdict.availability
    text = "\n".join(verdict.limits)
    whole = found.smallest_detectable_outage_seconds
    one = found.smallest_detectable_outage_one_replica_seconds
    assert whole is not None
    assert one is not None
    assert whole < one
    assert f"shorter than {whole * 1e3:.0f} ms (all replicas) or {one * 1e3:.0f} ms" in text
    assert "one of 3 replicas" in text
    assert "the true failure rate may be up to 0.48 % (95 % confidence" in text
