"""The newsletter on Kubernetes, ten seeds: what a preStop of 0 loses, and what covers it."""

from pathlib import Path

import pytest

from scenarios.verdict.causes.undrained import CAUSE, CLOSE_IDLE, PRE_STOP
from tests.support.runs import released

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

SMALL = (
    *("--strategy", "rolling", "--persona", "kubernetes", "--rate", "100"),
    *("--existing-rows", "2000", "--baseline", "2", "--settle", "2"),
)
# What the advice says that any seed needs: kube-proxy hears of it up to 1 s late.
ENOUGH = ("--set", f"{PRE_STOP}=1.1")


@pytest.mark.parametrize("seed", range(1, 11))
def test_the_advised_pre_stop_is_enough_for_any_seed(
    seed: int, postgres_url: str, tmp_path: Path
) -> None:
    """Each seed draws other lags; with the preStop for the longest of them, no request is lost.

    A connection that kube-proxy keeps in use may end under a request all the same. The verdict then
    says that no preStop covers it.
    """
    options = (*SMALL, "--seed", str(seed), "--database", postgres_url)
    verdict = released("expand-contract", tmp_path, *options, *ENOUGH).verdict
    beyond = sum(one.covers for one in verdict.advice if one.setting == CLOSE_IDLE)
    assert verdict.requests.failed == beyond, verdict.causes


def test_without_a_pre_stop_each_failure_is_undrained(postgres_url: str, tmp_path: Path) -> None:
    """All failed requests met a stopped replica, and the advice covers them."""
    verdict = released(
        "expand-contract", tmp_path, *SMALL, "--seed", "1", "--database", postgres_url
    ).verdict
    assert verdict.requests.failed > 0
    assert {cause.cause for cause in verdict.causes} == {CAUSE}
    assert sum(one.covers for one in verdict.advice) == verdict.requests.failed
