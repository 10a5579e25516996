"""Each objective decides: met it is held, broken it fails, and in doubt it is neither."""

from typing import Any

import pytest

from scenarios.evidence.machine import MachineSample
from scenarios.evidence.manifest import Objectives
from scenarios.evidence.tick import Tick
from scenarios.verdict import Verdict
from scenarios.verdict.model import Check
from tests.support.evidence import SECOND, Evidence, at, event

NO_BACKEND = {
    "status": 503,
    "proxy_status": 'hitless; error=destination_unavailable; details="no backend is up"',
    "served_by": None,
}
TIMEOUT = {"status": None, "error": "timeout", "first_byte_ns": None}
MANY = {"failed_requests": 1000}


def check(verdict: Verdict, name: str) -> Check:
    (found,) = [one for one in verdict.checks if one.check == name]
    return found


def objectives(run: Evidence, **limits: Any) -> Evidence:
    return run.asked(objectives=Objectives(**limits))


def behind(run: Evidence) -> Evidence:
    """The generator could not send one request, so it may have made timeouts itself."""
    return run.with_request(9, error="undispatched", status=None, sent_ns=None)


def starved() -> list[MachineSample]:
    return [
        MachineSample(at_ns=at(n / 2), seconds=0.5, cores=2, busy=1.0, own=0.4, cpu_pressure=0.9)
        for n in range(1, 14)
    ]


def test_without_limits_only_what_must_hold_is_checked(clean_run: Evidence) -> None:
    """No failed request, no lost data, the declared outcome: nothing else, unless it is asked."""
    names = [(one.check, one.held) for one in clean_run.judge().checks]
    assert names == [("failed_requests", True), ("integrity", True), ("outcome", True)]
    reasons = clean_run.judge().reasons
    assert reasons[0] == f"failed 0 of {len(clean_run.outcomes):,} requests (none allowed)"
    assert reasons[-1] == "the release completed, as expected"


def test_a_version_that_serves_must_be_able_to_start(clean_run: Evidence) -> None:
    """No request failed, and still no replica that dies after the migration could be replaced."""
    started = event(3.0, "fresh_start", "noted", 90, version="a", detail={"step": 1})
    why = "it answered GET /ready with 503"
    refused = event(3.5, "fresh_start", "noted", 91, version="a", error=why, detail={"step": 3})
    events = clean_run.events
    good = clean_run.but(events=[*events, started]).judge()
    assert check(good, "fresh_start").held is True
    bad = clean_run.but(events=[*events, started, refused]).judge()
    assert check(bad, "fresh_start").held is False
    assert bad.verdict == "fail"
    assert "after step 3, while version a served" in check(bad, "fresh_start").sentence
    assert why in check(bad, "fresh_start").sentence


def test_a_step_that_changed_nothing_is_a_doubt_and_decides_nothing(clean_run: Evidence) -> None:
    """A pass stays a pass, and a fail a fail; what could not be tried on a copy is no doubt."""
    nothing = event(4.5, "step_effect", "noted", 90, detail={"step": 2, "migration": "alembic"})
    unknown = event(4.5, "step_effect", "noted", 91, error="no room", detail={"step": 3})
    run = clean_run.but(events=[*clean_run.events, nothing, unknown])
    (doubt,) = run.judge().doubts
    assert doubt.startswith(
        "step 2 (alembic) changed nothing at all: no schema, no row, no history"
    )
    assert run.judge().verdict == "pass"
    failed = run.failing(2.5, 2.6, status=500).judge()
    assert (failed.verdict, failed.doubts) == ("fail", (doubt,))
    assert doubt in run.asked(interrupted=True).judge().doubts


@pytest.mark.parametrize(
    ("availability", "held"), [(0.983, True), (0.985, False), (1.0, False), (0.5, True)]
)
def test_availability(clean_run: Evidence, availability: float, held: bool) -> None:  # noqa: FBT001 - a case
    """10 failures of 628 are an availability of 98.40 %."""
    run = objectives(clean_run, **MANY, availability=availability).but(before=None)
    run = run.failing(2.5, 2.6, **NO_BACKEND)
    verdict = run.judge()
    assert check(verdict, "availability").held is held
    assert "98.40 % of the requests succeeded" in check(verdict, "availability").sentence
    assert verdict.verdict == ("pass" if held else "fail")
    clean = objectives(clean_run, availability=availability).judge()
    assert check(clean, "availability").held
    assert check(clean, "availability").sentence.startswith("all 628 requests succeeded")


@pytest.mark.parametrize(("limit", "held"), [(0.08, False), (0.1, True), (None, None)])
def test_the_longest_outage(clean_run: Evidence, limit: float | None, held: bool | None) -> None:  # noqa: FBT001 - a case
    """An outage of at least 0.09 s breaks an objective below that; the longest one counts."""
    run = objectives(clean_run, **MANY, longest_outage_seconds=limit)
    run = run.failing(2.5, 2.6, **NO_BACKEND).failing(4.5, 4.53, **NO_BACKEND)
    verdict = run.judge()
    if limit is None:
        assert all(one.check != "longest_outage" for one in verdict.checks)
        return
    assert check(verdict, "longest_outage").held is held
    assert "lasted at least 0.09 s" in check(verdict, "longest_outage").sentence
    clean = objectives(clean_run, longest_outage_seconds=limit).judge()
    assert check(clean, "longest_outage").held
    assert "no outage was seen" in check(clean, "longest_outage").sentence


def test_an_outage_of_a_starved_machine_proves_nothing(clean_run: Evidence) -> None:
    """Timeouts of a machine that others used count neither as failures nor as an outage."""
    limits = {**MANY, "longest_outage_seconds": 0.05}
    run = objectives(clean_run, **limits).failing(2.5, 2.6, **TIMEOUT, done_ns=at(4.0))
    assert check(run.judge(), "longest_outage").held is False
    quiet, busy = run.judge(), run.judge(machine_samples=starved())
    assert {one.kind for one in busy.causes} == {"machine"}
    assert check(busy, "longest_outage").held is None
    assert (quiet.verdict, busy.verdict) == ("fail", "pass")
    strict = clean_run.failing(2.5, 2.6, **TIMEOUT, done_ns=at(4.0))
    doubtful = strict.judge(machine_samples=starved())
    assert (doubtful.verdict, doubtful.exit_status) == ("invalid", 3)
    assert doubtful.reasons[0].startswith(
        "10 requests failed while the machine was starved: other processes"
    )
    assert "cannot tell whether the release is to blame" in doubtful.reasons[0]
    assert check(doubtful, "failed_requests").held


def test_slow_answers_of_a_generator_that_fell_behind_prove_nothing(clean_run: Evidence) -> None:
    """Slow answers fail a run only if the generator sent in time."""
    run = objectives(clean_run, slow_requests=0)
    planned = run.outcomes[100].planned_ns
    run = run.with_request(100, done_ns=planned + 2 * SECOND)
    assert check(run.judge(), "slow_requests").held is False
    doubtful = behind(run).judge()
    assert check(doubtful, "slow_requests").held is None
    assert doubtful.verdict == "invalid"
    fine = behind(objectives(clean_run, slow_requests=0)).judge()
    assert check(fine, "slow_requests").held is True


def test_timeouts_of_a_generator_that_fell_behind_are_no_availability(clean_run: Evidence) -> None:
    """What the generator may have made itself counts against no objective."""
    run = objectives(clean_run, availability=0.99).failing(2.5, 2.7, **TIMEOUT, done_ns=at(4.0))
    assert check(run.judge(), "availability").held is False
    assert check(behind(run).judge(), "availability").held is True


def test_a_stall_of_the_generator_is_invalid(clean_run: Evidence) -> None:
    """Nobody looked while it stalled; a shorter stall than the objective is allowed."""
    tick = Tick(at_ns=at(3.0), seconds=0.25, planned=1, schedule_lag_p99_seconds=0.5)
    run = clean_run.but(ticks=[*clean_run.ticks, tick])
    verdict = run.judge()
    assert (verdict.verdict, verdict.exit_status) == ("invalid", 3)
    (reason,) = verdict.reasons
    assert reason == (
        "the load generator stalled for 0.50 s and observed nothing during that time (limit 0.40 s)"
    )
    assert objectives(run, schedule_lag_max_seconds=0.5).judge().verdict == "pass"


def test_a_fault_that_did_not_happen_is_invalid(clean_run: Evidence) -> None:
    """A run shows nothing about a fault that it did not make."""
    run = clean_run.asked(faults=("kill", "block"))
    made = [
        event(2.6, "fault", state, 80, detail={"name": "kill"})
        for state in ("started", "completed")
    ]
    verdict = run.but(events=[*run.events, *made]).judge()
    (reason,) = verdict.reasons
    assert verdict.verdict == "invalid"
    assert reason.startswith("only 1 of 2 planned faults happened (kill, block), so the run does")
    assert clean_run.asked(faults=("kill",)).but(events=[*run.events, *made]).judge().verdict == (
        "pass"
    )


def test_a_release_without_requests_is_invalid(clean_run: Evidence) -> None:
    """Whoever looks away while it is deployed has seen nothing of the deployment."""
    run = clean_run.but(
        outcomes=[one for one in clean_run.outcomes if not at(2.0) <= one.planned_ns < at(4.0)],
        before=None,
    )
    assert "no request was made during the release" in run.judge().reasons


def test_breaches_of_an_invalid_run_are_doubts(clean_run: Evidence) -> None:
    """What cannot be blamed on the release is still told."""
    run = clean_run.asked(interrupted=True).failing(2.5, 2.6, **NO_BACKEND)
    verdict = run.judge()
    assert verdict.reasons == ("the run was interrupted",)
    assert any(doubt.startswith("failed 10 of 628 requests") for doubt in verdict.doubts)


def test_the_reason_of_another_outcome_is_told_only_then(clean_run: Evidence) -> None:
    """An aborted release that should have been aborted is as expected, whatever the reason."""
    run = clean_run.asked(outcome="aborted", outcome_reason="asked for")
    found = check(run.judge(), "outcome")
    assert (found.held, found.sentence) == (
        False,
        "the release was aborted: asked for (expected outcome: completed)",
    )
    expected = check(run.asked(expected_outcome="aborted").judge(), "outcome")
    assert (expected.held, expected.sentence) == (True, "the release was aborted, as expected")
    interrupted = run.asked(interrupted=True).judge()
    assert check(interrupted, "outcome").held is None
