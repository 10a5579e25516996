"""What a scenario says of services is checked before anything is started."""

from pathlib import Path

import pytest

from orchestrator.policy import Policy
from scenarios.errors import ScenarioError, UsageError
from scenarios.scenario.control_run import control_of
from scenarios.scenario.overrides import Changes
from scenarios.scenario.reader import load
from scenarios.scenario.service_checks import service_policy

BASE = """
extends = "good"
name = "with-services"
"""
PRICES = """
[[services]]
name = "prices"
command = ["{python}", "prices.py"]
from = "v1"
[services.versions.v1]
[services.versions.v2]
"""
STEPS = "[release]\nsteps = [{ services = { prices = 'v2' } }, { deploy = 'b' }]\n"


def written(folder: Path, text: str) -> str:
    path = folder / "scenario.toml"
    path.write_text(BASE + text)
    return str(path)


def test_services_are_read_with_their_defaults(tmp_path: Path) -> None:
    """A service needs a name, a command and its versions; others find it by placeholders."""
    use = "[application.env]\nPRICES = 'http://{prices_host}:{prices_port}'\n"
    scenario = load(written(tmp_path, use + PRICES + STEPS)).scenario
    (prices,) = scenario.services
    assert (prices.replicas, prices.serving, prices.health_path) == (2, "v1", "/")
    assert scenario.release.steps[0].services == {"prices": "v2"}
    policy = service_policy(prices, Policy(replicas=9, min_ready_seconds=1.5))
    assert (policy.replicas, policy.min_ready_seconds, policy.preview) == (2, 1.5, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PRICES.replace('"prices"', '"a"'), "there is a version 'a', too"),
        (PRICES + PRICES, "another service or set of processes 'prices'"),
        (PRICES.replace('"prices"', '"balancer"'), "the run has a log of that name"),
        (PRICES.replace('"prices"', '"database"'), "{database_port} has another meaning already"),
        (PRICES.replace('from = "v1"', 'from = "v9"'), "'prices' has no version 'v9'"),
        (PRICES.replace('from = "v1"', ""), "this key is required"),
        (PRICES.replace('command = ["{python}", "prices.py"]', ""), "has a 'command'"),
        (PRICES.replace("prices.py", "{stock_port}"), "no placeholder {stock_port}"),
        (PRICES + "env = { A = '{nothing}' }\n", "no placeholder {nothing}"),
        (PRICES.replace('from = "v1"', 'from = "v1"\nreplicas = 0'), "expected int >= 1"),
        (PRICES + STEPS.replace("prices", "price"), "unknown service 'price'; did you mean"),
        (PRICES + STEPS.replace("v2", "v3"), "'prices' has no version 'v3'"),
        (STEPS, "the scenario has no [[services]]"),
        (PRICES + "[release]\nsteps = [{ services = {} }]\n", "needs exactly one of"),
        (
            PRICES + "[release]\nsteps = [{ undo = true, services = { prices = 'v2' } }]\n",
            "needs exactly one of",
        ),
        (PRICES + "[[faults]]\ndo = 'block'\nservice = 'prices'\ntable = 'x'\n", "[database]"),
        (PRICES + "[[faults]]\ndo = 'freeze-load'\nservice = 'prices'\n", "has no meaning for"),
        (PRICES + "[[faults]]\ndo = 'kill'\nservice = 'stock'\n", "unknown service 'stock'"),
        (
            PRICES + "[[faults]]\ndo = 'kill'\nservice = 'prices'\nversion = 'b'\n",
            "'prices' has no version 'b'",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    """The line names the file, the key, what is wrong, and what would be right."""
    with pytest.raises(ScenarioError) as failure:
        load(written(tmp_path, text))
    assert said in str(failure.value)
    assert "scenario.toml" in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_control_run_deploys_each_service_anew(tmp_path: Path) -> None:
    """Its steps deploy the version that serves already, of the services, too."""
    control = control_of(load(written(tmp_path, PRICES + STEPS)).scenario)
    assert [(step.deploy, step.services) for step in control.release.steps] == [
        (None, {"prices": "v1"}),
        ("a", {}),
    ]


def test_what_services_cannot_be_combined_with_is_said(tmp_path: Path) -> None:
    """Services are not simulated, and a release of services alone is not repeated."""
    path = written(tmp_path, PRICES + STEPS)
    with pytest.raises(ScenarioError, match="services are not simulated"):
        load(path, platform="simulated")
    only = written(tmp_path, PRICES + STEPS.replace(", { deploy = 'b' }", ""))
    with pytest.raises(UsageError, match="deploys only services"):
        Changes(repeat=2).experiment(only, "rolling", 1)
