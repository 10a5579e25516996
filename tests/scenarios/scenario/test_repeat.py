"""Several releases in a row."""

from pathlib import Path

import pytest

from scenarios.cli.main import status
from scenarios.scenario.reader import load
from scenarios.scenario.repeat import repeated
from scenarios.verdict import decode


def test_versions_alternate_where_the_schema_stays() -> None:
    """Without migrations the versions take turns."""
    scenario = repeated(load("good").scenario, 4)
    assert [step.deploy for step in scenario.release.steps] == ["b", "a", "b", "a"]


def test_nothing_goes_back_over_a_migration() -> None:
    """With migrations the last version is deployed anew, under a name of its own."""
    scenario = repeated(load("expand-contract").scenario, 3)
    deploys = [step.deploy for step in scenario.release.steps if step.deploy]
    assert deploys == ["bridge", "b", "b.2", "b.3"]
    command = scenario.versions["b.3"].command or ()
    assert command[command.index("--version") + 1] == "b"


@pytest.mark.timeout(120)
def test_two_releases_in_a_row(tmp_path: Path) -> None:
    """Two releases under one traffic drop nothing."""
    options = ["--repeat", "2", "--rate", "50", "--replicas", "1", "--baseline", "0.5"]
    arguments = ["run", "good", "--strategy", "rolling", "--no-live", *options]
    assert status([*arguments, "--out", str(tmp_path)]) == 0
    (folder,) = tmp_path.iterdir()
    verdict = decode((folder / "verdict.json").read_bytes())
    assert verdict.requests.failed == 0
    assert "--repeat 2" in verdict.replay


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", ["good", "expand-contract"])
def test_ten_releases_in_a_row(scenario: str, tmp_path: Path, postgres_url: str) -> None:
    """Ten releases in a row at 200 arrivals a second: zero failed requests."""
    options = ["--repeat", "10", "--rate", "200", "--database", postgres_url]
    arguments = ["run", scenario, "--strategy", "rolling", "--no-live", *options]
    assert status([*arguments, "--out", str(tmp_path)]) == 0
    (folder,) = tmp_path.iterdir()
    verdict = decode((folder / "verdict.json").read_bytes())
    assert verdict.requests.failed == 0, verdict.causes
    assert verdict.rollout.outcome == "completed"
