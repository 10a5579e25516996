"""The suite that the project is for: every release plan under every strategy, on real processes."""

from pathlib import Path

import pytest

from scenarios.cli.matrix import PLANS
from scenarios.scenario.experiment import STRATEGY_NAMES
from scenarios.scenario.reader import load
from scenarios.verdict import Verdict
from tests.support.runs import released

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]

CLEAN = [
    (plan, strategy)
    for plan in PLANS
    for strategy in STRATEGY_NAMES
    if strategy not in load(plan).scenario.expect.fails_with
]
CONTROLS = [
    (plan, strategy, causes)
    for plan in PLANS
    for strategy, causes in load(plan).scenario.expect.fails_with.items()
]


SMALL = (
    *("--replicas", "2", "--rate", "60", "--existing-rows", "2000", "--seed", "1"),
    *("--baseline", "1", "--settle", "0.5"),
    # At this rate a small share brings no sample, however long one waits for it.
    *("--set", "policy.analysis.patience_seconds=0.5"),
)


def small(plan: str, strategy: str, url: str, out: Path) -> tuple[int, Verdict]:
    """Release it small, with all its reports; the status and the verdict."""
    run = released(plan, out, "--strategy", strategy, "--database", url, *SMALL)
    reports = {"report.html", "junit.xml", "summary.md", "metrics.prom"}
    assert reports <= {path.name for path in run.folder.iterdir()}
    return run.code, run.verdict


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
def test_ten_seeds_in_a_row_drop_nothing(strategy: str, postgres_url: str, tmp_path: Path) -> None:
    """At full size, ten runs with ten seeds fail no request and lose no row."""
    for seed in range(1, 11):
        out = tmp_path / str(seed)
        how = ("--strategy", strategy, "--seed", str(seed), "--database", postgres_url)
        size = ("--replicas", "3", "--rate", "200", "--existing-rows", "20000")
        run = released("expand-contract", out, *how, *size)
        verdict = run.verdict
        assert (run.code, verdict.requests.failed) == (0, 0), (seed, verdict.reasons)
        assert verdict.integrity.violations == (), seed


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
@pytest.mark.parametrize("router", ["haproxy", "envoy"])
def test_ten_seeds_behind_another_router_drop_nothing(
    router: str, strategy: str, postgres_url: str, tmp_path: Path
) -> None:
    """HAProxy and Envoy, as their documentation recommends, lose no request of a safe plan."""
    for seed in range(1, 11):
        out = tmp_path / str(seed)
        how = ("--strategy", strategy, "--router", router, "--database", postgres_url)
        run = released("expand-contract", out, *how, *SMALL, "--seed", str(seed))
        assert (run.code, run.verdict.requests.failed) == (0, 0), (seed, run.verdict.reasons)


def test_all_cells_are_promised_something() -> None:
    """Each of the sixteen cells is either promised to be clean or declared as a control."""
    assert len(CLEAN) + len(CONTROLS) == 16
    assert CLEAN == [
        ("with-default", "blue-green"),
        ("expand-contract", "rolling"),
        ("expand-contract", "blue-green"),
        ("expand-contract", "canary"),
    ]


@pytest.mark.parametrize(("plan", "strategy"), CLEAN)
def test_a_plan_that_promises_it_drops_nothing(
    plan: str, strategy: str, postgres_url: str, tmp_path: Path
) -> None:
    """Zero failed requests, and everything that was acknowledged is there."""
    code, verdict = small(plan, strategy, postgres_url, tmp_path)
    assert verdict.requests.failed == 0, verdict.causes
    assert verdict.integrity.violations == ()
    assert verdict.integrity.checked > 0
    assert verdict.rollout.outcome == "completed"
    assert (code, verdict.verdict) == (0, "pass"), verdict.reasons


@pytest.mark.parametrize(("plan", "strategy", "causes"), CONTROLS)
def test_a_negative_control_fails(
    plan: str, strategy: str, causes: tuple[str, ...], postgres_url: str, tmp_path: Path
) -> None:
    """What must fail does, and the evidence names the cause that was declared."""
    code, verdict = small(plan, strategy, postgres_url, tmp_path)
    assert (code, verdict.verdict) == (1, "fail"), verdict.reasons
    assert set(causes) & {cause.cause for cause in verdict.causes}, verdict.causes
    assert verdict.unattributed == 0, verdict.causes
    assert verdict.requests.failed > 0
    if strategy == "naive":
        full = [window for window in verdict.downtime if window.peak_error_ratio == 1.0]
        assert full, verdict.downtime
        assert "no_backend" in {cause.cause for cause in verdict.causes}


@pytest.mark.parametrize(
    "strategy",
    [
        "rolling",
        pytest.param("blue-green", marks=pytest.mark.soak),
        pytest.param("canary", marks=pytest.mark.soak),
    ],
)
def test_a_gate_that_knows_the_schema_keeps_the_mistake_out(
    strategy: str, postgres_url: str, tmp_path: Path
) -> None:
    """Probing `/ready` instead of `/health_check` rolls code-first back, and nothing fails."""
    code, verdict = small("code-first-gated", strategy, postgres_url, tmp_path)
    assert verdict.rollout.outcome == "rolled_back"
    assert verdict.requests.failed == 0, verdict.causes
    assert verdict.integrity.violations == ()
    assert (code, verdict.verdict) == (0, "pass"), verdict.reasons
