"""The verdict follows from the evidence, says why, and claims no more than was seen."""

import random
from collections.abc import Callable, Iterator

import msgspec
import pytest

from scenarios.evidence.manifest import Objectives
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.tick import Tick
from scenarios.verdict import decode, encode
from tests.support import evidence as make
from tests.support.evidence import Evidence

NO_BACKEND = {
    "status": 503,
    "proxy_status": 'hitless; error=destination_unavailable; details="no backend is up"',
    "served_by": None,
}


def test_clean_run_passes(clean_run: Evidence) -> None:
    """A clean run passes, with its numbers and without the words 100 %."""
    verdict = clean_run.judge()
    assert (verdict.verdict, verdict.exit_status, verdict.doubts) == ("pass", 0, ())
    assert verdict.requests.planned == verdict.requests.ok == len(clean_run.outcomes)
    assert verdict.causes == verdict.downtime == ()
    assert verdict.availability.request_based == 1.0
    assert verdict.availability.failure_rate_upper_95 == pytest.approx(3 / 628, rel=0.01)
    assert verdict.latency.p50 == verdict.latency.max == pytest.approx(0.004)
    assert verdict.rollout.seconds == 2.0
    assert verdict.rollout.floor_seconds == 1.1
    assert "100 %" not in encode(verdict).decode()
    assert any("shorter than" in limit for limit in verdict.limits)
    assert [phase.name for phase in verdict.phases] == ["setup", "baseline", "rollout", "settle"]
    assert sum(phase.requests.planned for phase in verdict.phases) == verdict.requests.planned
    assert {share.version: share.failed for share in verdict.versions} == {"a": 0, "b": 0}


def test_outage_fails(clean_run: Evidence) -> None:
    """An outage in the rollout fails the run, and its window is as long as the outage."""
    verdict = clean_run.failing(2.5, 3.5, **NO_BACKEND).judge()
    assert (verdict.verdict, verdict.exit_status) == ("fail", 1)
    assert verdict.reasons[0].startswith(f"failed {verdict.requests.failed:,} of ")
    assert "no backend" in verdict.reasons[0]
    (window,) = verdict.downtime
    assert window.start == pytest.approx(2.5)
    assert window.seconds_lower <= 1.0 <= window.seconds_upper + 1e-9
    assert window.peak_error_ratio == 1.0
    assert verdict.availability.time_based == pytest.approx(0.83, abs=0.02)


def test_one_endpoint_failing_has_its_own_window(clean_run: Evidence) -> None:
    """Where only one endpoint fails, its window is full though the service's is partial."""
    outcomes = [
        msgspec.structs.replace(o, status=500, sqlstate="23502")
        if o.endpoint == make.SUBSCRIBE and 2.5 <= (o.planned_ns - make.START) / 1e9 < 3.0
        else o
        for o in clean_run.outcomes
    ]
    verdict = clean_run.but(outcomes=outcomes).judge()
    assert verdict.downtime[0].peak_error_ratio < 0.5
    own = [w for w in verdict.downtime_by_endpoint if w.endpoint == make.SUBSCRIBE]
    assert own
    assert sum(w.failed for w in verdict.downtime_by_endpoint) == verdict.requests.failed


def test_lost_row_fails_though_every_request_succeeded(clean_run: Evidence) -> None:
    """A lost row is a fail of its own, and the reason names it."""
    after = [row for row in clean_run.after if row.subject != "u0@example.com"]
    verdict = clean_run.but(after=after).judge()
    assert verdict.verdict == "fail"
    assert "u0@example.com" in verdict.reasons[0]


def test_other_outcome_than_declared_fails(clean_run: Evidence) -> None:
    """A release that ended otherwise than declared is a fail, even when nothing else is."""
    run = clean_run.asked(outcome="rolled_back", outcome_reason="b-2 never became ready")
    verdict = run.judge()
    assert verdict.verdict == "fail"
    assert "rolled back" in verdict.reasons[0]
    assert "b-2 never became ready" in verdict.reasons[0]
    assert run.asked(expected_outcome="rolled_back").judge().verdict == "pass"


def test_some_failures_may_be_allowed(clean_run: Evidence) -> None:
    """With an objective of three failed requests, three pass and four do not."""
    objectives = Objectives(failed_requests=3)
    three = clean_run.asked(objectives=objectives).failing(2.51, 2.54, **NO_BACKEND)
    four = clean_run.asked(objectives=objectives).failing(2.51, 2.55, **NO_BACKEND)
    assert three.judge().verdict == "pass"
    assert four.judge().verdict == "fail"


def test_slow_requests(clean_run: Evidence) -> None:
    """Slow answers are counted, and fail the run only when an objective says so."""
    run = clean_run
    for index in (100, 101):
        planned = run.outcomes[index].planned_ns
        run = run.with_request(index, done_ns=planned + 1_500_000_000)
    verdict = run.judge()
    assert (verdict.verdict, verdict.requests.slow) == ("pass", 2)
    assert verdict.latency.max == verdict.latency.slowest[0].seconds == 1.5
    strict = run.asked(objectives=Objectives(slow_requests=1)).judge()
    assert strict.verdict == "fail"
    assert "2 requests took longer than 1 s (1 allowed)" in strict.reasons


def test_users_who_take_their_time_make_nobody_slow(clean_run: Evidence) -> None:
    """What a user sends or reads slowly has no latency to be judged by; it can only fail."""
    planned = clean_run.outcomes[100].planned_ns
    paced = clean_run.with_request(100, done_ns=planned + 1_500_000_000, paced=True)
    verdict = paced.judge()
    assert (verdict.verdict, verdict.requests.slow) == ("pass", 0)
    assert verdict.latency.max < 1.5
    cut = paced.with_request(100, status=None, error="reset").judge()
    assert (cut.verdict, cut.requests.failed) == ("fail", 1)


def test_the_verdict_says_how_many_were_not_judged_for_slowness(clean_run: Evidence) -> None:
    """As many as their users took their time over; without any there is no word of it."""
    said = [
        [limit.partition(",")[0] for limit in run.judge().limits if "slowness" in limit]
        for run in (
            clean_run,
            clean_run.with_request(100, paced=True),
            clean_run.with_request(100, paced=True).with_request(101, paced=True),
        )
    ]
    assert said == [
        [],
        ["1 request was not judged for slowness"],
        ["2 requests were not judged for slowness"],
    ]


def test_availability_objective(clean_run: Evidence) -> None:
    """A share of successes below the objective is a fail with both numbers."""
    objectives = Objectives(failed_requests=1000, availability=0.999)
    run = clean_run.asked(objectives=objectives).failing(2.5, 2.6, **NO_BACKEND)
    assert "99.9 %" in run.judge().reasons[0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda run: run.but(outcomes=[], mails=[], after=run.before), "no request was made"),
        (lambda run: run.asked(interrupted=True), "interrupted"),
        (lambda run: run.failing(0.5, 0.6, **NO_BACKEND), "failed in the baseline"),
        (
            lambda run: run.with_request(9, error="undispatched", status=None, sent_ns=None),
            "could not send 1 of",
        ),
        (
            lambda run: run.but(
                outcomes=[
                    msgspec.structs.replace(o, sent_ns=o.planned_ns + 150_000_000)
                    for o in run.outcomes
                ]
            ),
            "fell behind its schedule: its p99 lag was 150 ms (limit 100 ms)",
        ),
        (
            lambda run: run.but(ticks=[msgspec.structs.replace(t, cpu=1.0) for t in run.ticks]),
            "saturated",
        ),
        (
            lambda run: run.but(
                outcomes=[msgspec.structs.replace(o, served_by="a-1") for o in run.outcomes]
            ),
            "version b never answered",
        ),
    ],
)
def test_invalid(clean_run: Evidence, fault: Callable[[Evidence], Evidence], words: str) -> None:
    """What undermines the measurement makes it invalid, never a pass, and is named."""
    verdict = fault(clean_run).judge()
    assert verdict.verdict == "invalid"
    assert verdict.exit_status == (130 if verdict.interrupted else 3)
    assert any(words in reason for reason in verdict.reasons)


def test_proven_failures_are_not_hidden_by_a_slow_generator(clean_run: Evidence) -> None:
    """A refused insert stays a fail when the generator lags, which is then a doubt."""
    run = clean_run.failing(2.5, 2.8, status=500, sqlstate="23502")
    run = run.with_request(9, error="undispatched", status=None, sent_ns=None)
    verdict = run.judge()
    assert verdict.verdict == "fail"
    assert any("could not send" in doubt for doubt in verdict.doubts)


def test_timeouts_do_not_count_when_the_generator_made_them(clean_run: Evidence) -> None:
    """A generator that fell behind cannot accuse the application of timeouts."""
    timeouts = clean_run.failing(2.5, 2.8, status=None, error="timeout")
    assert timeouts.judge().verdict == "fail"
    behind = timeouts.with_request(9, error="undispatched", status=None, sent_ns=None)
    assert behind.judge().verdict == "invalid"


def test_what_the_harness_caused_is_no_failure_of_the_application(clean_run: Evidence) -> None:
    """Undispatched requests are in the plan, but neither failed nor part of a downtime."""
    run = clean_run.failing(2.5, 2.6, error="undispatched", status=None, sent_ns=None)
    verdict = run.judge()
    requests = verdict.requests
    assert (requests.failed, requests.undispatched) == (0, 10)
    assert requests.planned == requests.ok + 10
    assert verdict.downtime == ()


def test_request_under_way_when_the_rollout_began_is_no_baseline_failure(
    clean_run: Evidence,
) -> None:
    """A request planned in the baseline that the rollout broke is the rollout's."""
    index = next(i for i, o in enumerate(clean_run.outcomes) if o.request_id == "s7-000199-1")
    planned = clean_run.outcomes[index].planned_ns
    run = clean_run.with_request(index, done_ns=planned + 100_000_000, **NO_BACKEND)
    assert run.judge().verdict == "fail"


def test_one_busy_tick_is_no_saturation(clean_run: Evidence) -> None:
    """The generator is saturated when it is busy for a second, not for a quarter of one."""
    ticks = list(clean_run.ticks)
    ticks[5] = msgspec.structs.replace(ticks[5], cpu=1.0)
    assert clean_run.but(ticks=ticks).judge().verdict == "pass"


def test_lag_is_taken_from_the_ticks_when_requests_tell_none(clean_run: Evidence) -> None:
    """Without reused connections the generator's own account counts, weighted by its requests."""
    outcomes = [msgspec.structs.replace(o, connection="new") for o in clean_run.outcomes]
    ticks = [
        Tick(at_ns=1, seconds=0.25, planned=9_950, schedule_lag_p99_seconds=0.002),
        Tick(at_ns=2, seconds=0.25, planned=50, schedule_lag_p99_seconds=0.5),
    ]
    harness = clean_run.but(outcomes=outcomes, ticks=ticks).judge().harness
    assert (harness.schedule_lag_p99, harness.schedule_lag_max) == (0.002, 0.5)


def test_same_evidence_same_verdict(clean_run: Evidence) -> None:
    """Evidence in any order gives the same bytes."""
    run = clean_run.failing(2.5, 2.8, status=500, sqlstate="23502").failing(3.1, 3.2, **NO_BACKEND)
    shuffled = {}
    for kind in ("outcomes", "events", "ticks", "mails", "before", "after"):
        lines = list(getattr(run, kind))
        random.Random(3).shuffle(lines)
        shuffled[kind] = lines
    assert encode(run.but(**shuffled).judge()) == encode(run.judge())


def test_round_trip(clean_run: Evidence) -> None:
    """What is written is read again, byte for byte."""
    verdict = clean_run.failing(2.5, 2.8, **NO_BACKEND).judge()
    assert decode(encode(verdict)) == verdict
    assert encode(decode(encode(verdict))) == encode(verdict)


def test_no_journal(clean_run: Evidence) -> None:
    """Without a journal there is still a verdict on the requests."""
    verdict = clean_run.but(events=[]).judge()
    assert (verdict.verdict, verdict.phases) == ("pass", ())
    assert verdict.rollout.seconds is None


def test_many_requests() -> None:
    """Two hundred thousand requests are judged from an iterator that is read once."""
    run = make.clean(seconds=20.0)
    base = run.outcomes

    def stream() -> Iterator[Outcome]:
        for copy in range(100):
            for outcome in base:
                yield msgspec.structs.replace(
                    outcome, request_id=f"{copy}-{outcome.request_id}", subject=None
                )

    verdict = run.but(outcomes=stream(), mails=[], after=run.before).judge()
    assert verdict.requests.planned == 100 * len(base)


@pytest.mark.parametrize("hidden", ["told as a success", "left out"])
def test_a_failure_that_the_record_hides(clean_run: Evidence, hidden: str) -> None:
    """A failed request that is missing or painted over contradicts the balancer's log: invalid."""
    failed = clean_run.outcomes[100]
    log = [
        make.ExchangeRecord(
            at_ns=outcome.planned_ns,
            request_id=outcome.request_id,
            status=503 if outcome is failed else outcome.status,
            end="complete",
        )
        for outcome in clean_run.outcomes
    ]
    told = [one for one in clean_run.outcomes if hidden != "left out" or one is not failed]
    verdict = clean_run.but(outcomes=told, access_log=log).judge()
    assert (verdict.verdict, verdict.exit_status) == ("invalid", 3)
    assert any("contradicts itself" in reason for reason in verdict.reasons)
    honest = [one for one in log if one.status != 503]
    assert clean_run.but(access_log=honest).judge().verdict == "pass"
