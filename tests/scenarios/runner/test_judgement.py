"""The service's faults under every strategy: who finds them, when, and what it costs the users."""

from pathlib import Path

import pytest

from scenarios.evidence.event import Event
from scenarios.scenario.experiment import STRATEGY_NAMES
from scenarios.scenario.reader import load
from tests.support.runs import released

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]

FAULTS = ("unhealthy", "failing", "slower", "leaking", "deaf", "slow-start")
QUICK = {("failing", "canary"), ("failing", "blue-green"), ("slower", "canary")}
RATE = 100.0


SMALL = ("--rate", f"{RATE:g}", "--baseline", "1.5", "--settle", "0.5")


def cell(scenario: str, strategy: str) -> object:
    marks = [] if (scenario, strategy) in QUICK else [pytest.mark.soak]
    return pytest.param(scenario, strategy, marks=marks)


@pytest.mark.parametrize(
    ("scenario", "strategy"), [cell(fault, name) for fault in FAULTS for name in STRATEGY_NAMES]
)
def test_a_fault_ends_as_its_scenario_declares(
    scenario: str, strategy: str, tmp_path: Path
) -> None:
    """Each fault comes to the end that its scenario declares, and costs what it declares."""
    expect = load(scenario).scenario.expect
    run = released(scenario, tmp_path, "--strategy", strategy, *SMALL, "--seed", "1")
    code, verdict = run.code, run.verdict
    assert verdict.rollout.outcome == expect.outcomes.get(strategy, expect.outcome)
    if strategy not in expect.fails_with:
        assert verdict.requests.failed == 0, verdict.causes
        assert (code, verdict.verdict) == (0, "pass"), verdict.reasons
    elif causes := expect.fails_with[strategy]:
        assert set(causes) & {cause.cause for cause in verdict.causes}, verdict.causes
    if (scenario, strategy) == ("failing", "canary"):
        assert verdict.requests.failed <= share_at_risk(run.events)
        assert "requests to the canary failed" in (verdict.rollout.reason or "")
    if (scenario, strategy) == ("slower", "canary"):
        assert "the canary takes 30" in (verdict.rollout.reason or "")


def share_at_risk(events: list[Event]) -> float:
    """How many requests the canary got until it was found out, at most, as its shares say."""
    total = 0.0
    since, share = 0, 0.0
    for event in events:
        if event.verb in ("weigh", "switch") and event.state == "completed":
            total += (event.at_ns - since) / 1e9 * RATE * share
            shares = event.detail["shares"]
            assert isinstance(shares, dict)
            since, share = event.at_ns, shares.get("b", 0.0) / 100
    return total + 3 * total**0.5 + 1  # arrivals are Poisson's


def test_a_good_version_is_not_refused(tmp_path: Path) -> None:
    """A version that is as good as the old one passes a canary's judgement."""
    steps = ("--set", "policy.canary_steps=[50,100]")
    run = released("good", tmp_path, "--strategy", "canary", *SMALL, *steps, "--seed", "1")
    verdict = run.verdict
    assert (run.code, verdict.rollout.outcome) == (0, "completed"), verdict.reasons


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_good_version_is_never_refused(tmp_path: Path) -> None:
    """Twenty canaries of a good version in a row, and none is rolled back."""
    for seed in range(1, 21):
        out = tmp_path / str(seed)
        canary = ("--strategy", "canary", *SMALL, "--seed", str(seed))
        verdict = released("good", out, *canary).verdict
        assert verdict.rollout.outcome == "completed", verdict.rollout
        assert verdict.requests.failed == 0, verdict.causes
