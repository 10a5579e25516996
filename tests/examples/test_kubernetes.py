"""Applications of other people on Kubernetes: what a preStop of 0 loses, and what covers it.

Our balancer is the router, and does what the persona says: it tries nothing again and checks
nothing. gunicorn, uvicorn and Node are the servers.
"""

from pathlib import Path

import pytest

from scenarios.cli.questions.counterfactual import ADVICE_MARGIN_SECONDS
from scenarios.verdict.causes.undrained import CAUSE, PRE_STOP
from tests.examples.test_examples import EXAMPLES, PATIENT, needs_node
from tests.support.runs import Released, released

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]

# The news takes so long that requests meet a stopped replica on a slow machine, too.
LAG_SECONDS = 2.0
ON_KUBERNETES = (
    *("--persona", "kubernetes", "--strategy", "rolling", *PATIENT),
    *("--set", f"policy.termination.deregistration_lag_seconds={LAG_SECONDS:g}"),
    # Whether a request meets the end of a connection that kube-proxy keeps in use is luck, and no
    # preStop prevents it: that has an advice of its own.
    *("--set", "policy.termination.close_idle=true"),
)


@pytest.mark.parametrize(
    "name",
    [
        "uvicorn",
        pytest.param("flask-alembic", marks=pytest.mark.soak),
        pytest.param("node", marks=[needs_node, pytest.mark.soak]),
    ],
)
def test_the_advised_pre_stop_covers_what_a_release_loses(
    name: str, postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a preStop each failure is undrained; with the advised one, nothing fails."""

    def run(folder: str, pre_stop: float) -> Released:
        setting = ("--set", f"{PRE_STOP}={pre_stop:g}", "--database", postgres_url)
        path = EXAMPLES / name / "scenario.toml"
        return released(path, tmp_path / folder, *ON_KUBERNETES, *setting)

    without = run("without", 0)
    verdict = without.verdict
    assert (without.code, verdict.verdict) == (1, "fail"), verdict.reasons
    assert verdict.requests.failed > 0
    assert {cause.cause for cause in verdict.causes} == {CAUSE}
    lags = verdict.causes[0].evidence.undrained
    assert lags is not None
    assert lags.longest_seconds is not None
    assert lags.longest_seconds > 0
    (advice,) = (one for one in verdict.advice if one.setting == PRE_STOP)
    assert advice.value is not None
    assert advice.value > LAG_SECONDS - 0.1
    out = " ".join(capsys.readouterr().out.split())
    assert "kubernetes: order together, router told 2 s late, preStop 0 s" in out
    assert "balancer: no retry, no passive checks, no active checks" in out
    assert f"a preStop of {advice.value:g} s covers" in out

    verdict = run("with", advice.value + ADVICE_MARGIN_SECONDS).verdict
    assert verdict.requests.failed == 0, verdict.causes
    assert verdict.rollout.outcome == "completed"
