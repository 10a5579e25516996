"""What a release has in common with its control run is told from what is its own."""

from typing import Any

import hypothesis.strategies as some
import msgspec
import pytest
from hypothesis import given, settings

from scenarios.evidence.control_run import ControlRun
from scenarios.evidence.manifest import Objectives
from scenarios.verdict.model import ControlComparison, Verdict
from tests.support import evidence as make
from tests.support.evidence import Evidence

LIMITED: dict[str, Any] = {"status": 429}
CONFLICT: dict[str, Any] = {"status": 409, "sqlstate": "40001"}
LATE: dict[str, Any] = {"status": None, "error": "timeout", "first_byte_ns": None}


def as_control(run: Evidence) -> ControlRun:
    """What a release is compared with, if this was its control run."""
    found = run.asked(role="control", versions=("a", "a")).judgement().as_control
    assert found is not None
    return msgspec.structs.replace(found, folder="runs/control")


def beside(run: Evidence, control: Evidence) -> Verdict:
    """The verdict on a run that has such a control run."""
    return run.asked(control=as_control(control)).judge()


def compared(verdict: Verdict) -> ControlComparison:
    assert verdict.control is not None
    return verdict.control


def some_failing(run: Evidence, every: int, since: float = 0.0, **fields: Any) -> Evidence:
    """The same run, in which one of so many subscriptions fails from an instant on."""
    asked = [
        index
        for index, one in enumerate(run.outcomes)
        if one.endpoint == make.SUBSCRIBE and one.planned_ns >= make.at(since)
    ]
    subjects = [run.outcomes[index].subject for index in asked[::every]]
    for index in asked[::every]:
        run = run.with_request(index, **fields)
    # What was refused is not in the database, and nobody got a mail for it.
    return run.but(
        after=[one for one in run.after or () if one.subject not in subjects],
        mails=[one for one in run.mails if one.recipient not in subjects],
        outcomes=[
            one
            for one in run.outcomes
            if one.endpoint != make.CONFIRM or one.subject not in subjects
        ],
    )


@pytest.mark.parametrize("fields", [LIMITED, CONFLICT])
def test_the_same_failures_do_not_count(clean_run: Evidence, fields: dict[str, Any]) -> None:
    """What fails as often when the old version is deployed again is not the release's."""
    run = some_failing(clean_run, 4, **fields)
    assert run.judge().verdict == "invalid"  # it fails in the baseline already
    verdict = beside(run, run)
    assert (verdict.verdict, compared(verdict).own) == ("pass", 0), verdict.reasons
    assert compared(verdict).also == verdict.requests.failed == 30
    assert "30 as in the control run, 0 the release's own (none allowed)" in verdict.reasons[0]
    (cause,) = verdict.causes
    assert (cause.count, cause.excused) == (30, 30)


def test_what_the_control_run_did_not_have_is_the_release_s_own(clean_run: Evidence) -> None:
    """The step, the result and the cause must be the same; one request of another kind fails."""
    control = some_failing(clean_run, 4, 2.5, **LIMITED)
    for fields in (CONFLICT, {"status": 500}, {"status": 429, "endpoint": make.HEALTH}):
        index = next(
            index
            for index, one in enumerate(control.outcomes)
            if one.planned_ns > make.at(3) and one.ok and one.endpoint == make.HEALTH
        )
        verdict = beside(control.with_request(index, **fields), control)
        assert verdict.verdict == "fail"
        assert compared(verdict).own == 1
        assert "1 the release's own" in verdict.reasons[0]
        assert any("too few to be sure" in limit for limit in verdict.limits)


def test_other_words_for_it_are_another_kind(clean_run: Evidence) -> None:
    """Two problems with the same status are two kinds, unless only numbers and names differ."""
    control = some_failing(clean_run, 4, 2.5, status=503, problem="warming up: 3 of 12 loaded")
    alike = some_failing(clean_run, 4, 2.5, status=503, problem="warming up: 11 of 12 loaded")
    other = some_failing(clean_run, 4, 2.5, status=503, problem="no such column")
    assert compared(beside(alike, control)).own == 0
    assert compared(beside(other, control)).also == 0


def test_only_a_rate_that_is_higher_for_sure_counts(clean_run: Evidence) -> None:
    """A few more may be chance; twice as many are not, and those above the rate are its own."""
    control = some_failing(clean_run, 4, **LIMITED)
    few = compared(beside(some_failing(clean_run, 3, **LIMITED), control))
    assert (few.own, few.also) == (0, 40)
    verdict = beside(some_failing(clean_run, 2, **LIMITED), control)
    found = compared(verdict)
    assert (verdict.verdict, found.own, found.also) == ("fail", 30, 30)
    (row,) = found.rows
    assert (row.control_failed, row.control_requests, row.failed, row.requests) == (
        30,
        120,
        60,
        120,
    )
    assert row.chance < 0.001
    assert "most frequent cause: the application limits the rate" in verdict.reasons[0]
    assert verdict.reasons[0].endswith("(30)")


def test_an_outage_of_the_deployment_itself_counts(clean_run: Evidence) -> None:
    """Without a backend nobody is served, whatever version is deployed: that is no excuse."""
    gone = clean_run.failing(
        2.5, 3.0, status=503, served_by=None,
        proxy_status='hitless; error=destination_unavailable; details="no backend is up"',
    )  # fmt: skip
    verdict = beside(gone, gone)
    found = compared(verdict)
    assert verdict.verdict == "fail"
    assert (found.own, found.also, found.every_deployment) == (0, 50, 50)
    assert "50 of them count all the same" in verdict.reasons[0]


def test_a_control_run_that_says_nothing_excuses_nothing(clean_run: Evidence) -> None:
    """The generator fell behind in it, or its deployment did not end: all failures count."""
    run = some_failing(clean_run, 4, 2.5, **LIMITED)
    late = run.but(
        outcomes=[
            msgspec.structs.replace(one, sent_ns=one.planned_ns + 200_000_000) if one.ok else one
            for one in run.outcomes
        ]
    )
    for control, why in (
        (late, "fell behind its schedule"),
        (run.asked(interrupted=True), "the run was interrupted"),
        (
            run.asked(outcome="rolled_back", outcome_reason="a-2 was not ready"),
            "rolled back: a-2 was not ready",
        ),
    ):
        verdict = beside(run, control)
        assert verdict.verdict == "fail"
        assert not compared(verdict).usable
        assert (compared(verdict).also, compared(verdict).own) == (0, 0)
        assert verdict.causes[0].excused == 0
        assert any(why in limit and "every failure counts" in limit for limit in verdict.limits)
        assert verdict.reasons[0].startswith("failed 18 of")
        assert "control" not in verdict.reasons[0]


def test_a_control_run_may_fail_in_its_baseline(clean_run: Evidence) -> None:
    """A release whose baseline fails is invalid; a control run is there to show such failures."""
    run = some_failing(clean_run, 4, **LIMITED)
    assert as_control(run).unusable == ()
    # And what only this run has in its baseline still makes it invalid.
    early = run.with_request(1, status=500)
    assert beside(early, run).verdict == "invalid"


def test_outages_slow_requests_and_availability_follow(clean_run: Evidence) -> None:
    """Objectives about time and shares leave out what the control run had as well."""
    objectives = Objectives(availability=0.999, longest_outage_seconds=0.1, slow_requests=0)
    run = clean_run.asked(objectives=objectives)
    run = some_failing(run, 1, 2.5, **LIMITED)
    index = next(index for index, one in enumerate(run.outcomes) if one.endpoint == make.HEALTH)
    run = run.with_request(index, done_ns=run.outcomes[index].planned_ns + 2_000_000_000)
    alone = run.judge()
    broken = {check.check for check in alone.checks if check.held is False}
    assert broken == {"failed_requests", "availability", "longest_outage", "slow_requests"}
    verdict = beside(run, run)
    assert verdict.verdict == "pass", verdict.reasons
    said = {check.check: check.sentence for check in verdict.checks}
    for name in broken:
        assert "as in the control run" in said[name]
    assert verdict.slow_causes[0].excused == 1


def test_lost_data_is_never_excused(clean_run: Evidence) -> None:
    """A row that is lost in both runs fails the release, and the control run is named."""
    lost = clean_run.but(after=[one for one in clean_run.after or () if one.subject != "old-1"])
    verdict = beside(lost, lost)
    assert verdict.verdict == "fail"
    assert "old-1" in compared(verdict).broken[0]


@settings(max_examples=30, deadline=None)
@given(
    control=some.sampled_from([1, 2, 3, 5, 8, 40]),
    release=some.sampled_from([1, 2, 3, 5, 8, 40]),
    fields=some.sampled_from([LIMITED, CONFLICT]),
)
def test_the_numbers_add_up(control: int, release: int, fields: dict[str, Any]) -> None:
    """What is as in the control run and what is the release's own are all failures together."""
    clean = make.clean()
    verdict = beside(
        some_failing(clean, release, 2.5, **fields), some_failing(clean, control, 2.5, **fields)
    )
    found = compared(verdict)
    assert found.also + found.own == verdict.requests.failed
    assert sum(cause.excused for cause in verdict.causes) == found.also
    assert (verdict.verdict == "fail") == (found.own > 0)
    if release >= control:
        assert found.own == 0
