"""The numbers of a verdict are those of its requests, counted anew."""

from collections import Counter

import pytest

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.outcome import Outcome
from scenarios.verdict import Verdict
from scenarios.verdict.measures.slo import percentile
from scenarios.verdict.model import Requests
from tests.support.evidence import SECOND, START, Evidence, at

PHASES = {"setup": (-1.1, 0.0), "baseline": (0.0, 2.0), "rollout": (2.0, 4.0), "settle": (4.0, 9.0)}
SLOW_NS = SECOND


def mixed(run: Evidence) -> Evidence:
    """The run with failures, slow answers, unsent requests and requests of unknown effect."""
    run = run.failing(2.5, 2.6, status=500, sqlstate="23502")
    run = run.failing(3.5, 3.55, status=None, error="reset", first_byte_ns=None)
    run = run.failing(4.5, 4.52, status=None, error="undispatched", sent_ns=None)
    for index, seconds in ((50, 1.5), (260, 2.5), (300, 1.2), (450, 0.9)):
        planned = run.outcomes[index].planned_ns
        run = run.with_request(index, done_ns=planned + round(seconds * SECOND))
    return run


def counted(outcomes: list[Outcome]) -> tuple[int, int, int, int, int]:
    """Planned, succeeded, failed, slow and not sent."""
    return (
        len(outcomes),
        sum(one.ok for one in outcomes),
        sum(one.dispatched and not one.ok for one in outcomes),
        sum(one.ok and one.done_ns - one.planned_ns > SLOW_NS for one in outcomes),
        sum(not one.dispatched for one in outcomes),
    )


def numbers(found: Requests) -> tuple[int, int, int, int, int]:
    return found.planned, found.ok, found.failed, found.slow, found.undispatched


@pytest.fixture(scope="module")
def run(clean_run: Evidence) -> Evidence:
    return mixed(clean_run)


@pytest.fixture(scope="module")
def verdict(run: Evidence) -> Verdict:
    return run.judge()


def test_requests_are_counted_by_phase(run: Evidence, verdict: Verdict) -> None:
    """Each phase has the requests that were planned in it, with their percentiles, and its time."""
    assert numbers(verdict.requests) == counted(list(run.outcomes))
    assert verdict.requests.slow == 3
    assert [phase.name for phase in verdict.phases] == list(PHASES)
    for phase in verdict.phases:
        start, end = PHASES[phase.name]
        mine = [one for one in run.outcomes if at(start) <= one.planned_ns < at(end)]
        assert numbers(phase.requests) == counted(mine), phase.name
        latencies = sorted(one.done_ns - one.planned_ns for one in mine if one.dispatched)
        found = phase.latency
        for share, value in ((0.5, found.p50), (0.99, found.p99), (0.999, found.p999)):
            expected = percentile(latencies, share)
            assert value == (None if expected is None else expected / 1e9), phase.name
        assert found.max == (latencies[-1] / 1e9 if latencies else None)
        assert phase.start == start
        assert phase.end == (end if phase.name != "settle" else verdict.seconds)


def test_requests_of_unknown_effect_are_counted(run: Evidence, verdict: Verdict) -> None:
    """A request that broke off after it was sent may have been carried out; a refused one not."""
    unknown = [one for one in run.outcomes if one.error == "reset"]
    assert unknown
    assert verdict.requests.unknown == len(unknown)


def test_the_slowest_requests_are_told(run: Evidence, verdict: Verdict) -> None:
    """The five slowest of all that were sent, the slowest first, each as it was."""
    sent = [one for one in run.outcomes if one.dispatched]
    expected = sorted(
        sent, key=lambda one: (one.done_ns - one.planned_ns, one.request_id), reverse=True
    )[:5]
    assert [one.request_id for one in verdict.latency.slowest] == [
        one.request_id for one in expected
    ]
    first, outcome = verdict.latency.slowest[0], expected[0]
    assert (first.endpoint, first.at, first.seconds, first.ok, first.replica) == (
        outcome.endpoint,
        (outcome.planned_ns - START) / 1e9,
        2.5,
        True,
        "a-1",
    )
    assert first.step == "start b-2"


def test_each_version_has_its_share(run: Evidence, verdict: Verdict) -> None:
    """Answers are counted by the version of the replica that gave them, the failed ones as well."""
    version = {"a-1": "a", "b-2": "b"}
    answered = [one for one in run.outcomes if one.dispatched and one.served_by is not None]
    every = Counter(version[str(one.served_by)] for one in answered)
    failed = Counter(version[str(one.served_by)] for one in answered if not one.ok)
    assert {one.version: (one.requests, one.failed) for one in verdict.versions} == {
        name: (every[name], failed[name]) for name in ("a", "b")
    }
    assert [one.version for one in verdict.versions] == ["a", "b"]
    assert failed["a"] > 0


def test_answers_of_a_stranger_have_no_version(clean_run: Evidence) -> None:
    """A replica that the journal does not know belongs to no version."""
    run = clean_run.failing(2.5, 2.6, served_by="somebody")
    shares = {one.version: one.requests for one in run.judge().versions}
    assert set(shares) == {"a", "b"}
    assert sum(shares.values()) == len(run.outcomes) - 10


def test_what_was_not_planned_contradicts_nothing(clean_run: Evidence) -> None:
    """Lines of other people's requests, and of answers that broke off, are not compared."""
    lines = [
        ExchangeRecord(at_ns=at(1.0), request_id="r-1", status=503, end="complete"),
        ExchangeRecord(at_ns=at(1.0), request_id="s7-000100-1", status=503, end="client_gone"),
    ]
    assert clean_run.but(access_log=lines).judge().verdict == "pass"
    late = clean_run.with_request(80, status=None, error="timeout")
    gave_up = ExchangeRecord(
        at_ns=at(1.0), request_id=late.outcomes[80].request_id, status=200, end="complete"
    )
    # The client may have given up just as the answer was sent.
    assert not any("contradicts" in one for one in late.but(access_log=[gave_up]).judge().reasons)


def test_the_run_is_named(clean_run: Evidence) -> None:
    """What was run, where, with which seed and when is in the verdict as in the manifest."""
    run = clean_run.asked(
        platform="local", router="envoy", persona="ecs", interrupted=True, rate=40.0, replicas=5
    )
    verdict, manifest = run.judge(), run.manifest
    for name in (
        *("scenario", "strategy", "platform", "router", "persona", "seed", "replicas", "rate"),
        *("existing_rows", "interrupted", "replay", "hitless", "started_at", "termination"),
    ):
        assert getattr(verdict, name) == getattr(manifest, name), name
    assert verdict.origin_ns == START
    assert verdict.seconds == (max(o.planned_ns for o in run.outcomes) - START) / 1e9
    assert (verdict.rollout.outcome, verdict.rollout.expected) == ("completed", "completed")
