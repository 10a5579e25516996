"""What needs our balancer is refused where strategies of ours make pods behind a Service."""

from pathlib import Path

import pytest

from scenarios.errors import ScenarioError
from scenarios.scenario.overrides import Changes

BASE = 'extends = "good"\n[platform]\nkind = "kubernetes"\nmanifests = "web.yaml"\n'

JUDGED = "[policy.analysis]\nminimum_requests = 5\n"


def experiment(folder: Path, text: str = "", strategy: str | None = "canary") -> str:
    (folder / "web.yaml").write_text("")
    path = folder / "scenario.toml"
    path.write_text(BASE + text)
    return Changes().experiment(str(path), strategy, 1).strategy


@pytest.mark.parametrize("strategy", ["naive", "rolling", "blue-green", "canary", "deployment"])
def test_each_strategy_runs_on_a_cluster(tmp_path: Path, strategy: str) -> None:
    """The flag names it, or the scenario; without both, the cluster's own controller deploys."""
    assert experiment(tmp_path, strategy=strategy) == strategy
    assert experiment(tmp_path, f'strategy = "{strategy}"\n', None) == strategy
    assert experiment(tmp_path, "", None) == "deployment"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[balancer]\nhold_seconds = 1\n", "hold_seconds': only our own balancer"),
        ("[policy.autoscaling]\ntarget = 2\n", "autoscaling': a Service of the cluster does not"),
        (JUDGED, "analysis': a canary is judged by"),
        (
            "[policy]\ncanary_steps = [{ weight = 100 }, { analysis = true }]\n",
            "canary_steps': a canary is judged by",
        ),
    ],
)
def test_what_needs_our_balancer_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    """The line names the file, the key and what would be right; nothing is started."""
    with pytest.raises(ScenarioError) as refused:
        experiment(tmp_path, text)
    line = str(refused.value)
    assert "scenario.toml:" in line
    assert said in line
    assert "leave" in line
    assert "\n" not in line


def test_a_command_that_applies_a_version_makes_its_own_pods(tmp_path: Path) -> None:
    """Such a command fits the strategy `deployment` alone."""
    text = BASE.replace('manifests = "web.yaml"', 'apply = ["./deploy.sh", "{version}"]')
    (tmp_path / "scenario.toml").write_text(text)
    path = str(tmp_path / "scenario.toml")
    assert Changes().experiment(path, None, 1).strategy == "deployment"
    with pytest.raises(ScenarioError, match="apply': a command that applies a version makes its"):
        Changes().experiment(path, "rolling", 1)


@pytest.mark.parametrize("strategy", ["rolling", "blue-green"])
def test_a_judge_that_nobody_asks_is_not_refused(tmp_path: Path, strategy: str) -> None:
    """Only a canary is judged."""
    assert experiment(tmp_path, JUDGED, strategy) == strategy
