"""What a run finds out about its versions' servers before it begins."""

from pathlib import Path

import msgspec
import pytest

from scenarios.cli.main import status
from scenarios.probe.profile import Profile

APPS = Path(__file__).parents[3] / "benchmarks" / "server_apps"
SCENARIO = f"""
name = "probed"

[application]
command = ["{{python}}", "-m", "uvicorn", "hello_asgi:app", "--port", "{{port}}"]
cwd = {str(APPS)!r}

[versions]
a = {{}}
b = {{ probe = true }}

[release]
from = "a"
steps = [{{ deploy = "b" }}]

[policy]
replicas = 1

[phases]
baseline_seconds = 0.5
settle_seconds = 0.5

[[traffic.journeys]]
name = "look"
steps = [{{ path = "/" }}]
"""


@pytest.mark.timeout(180)
def test_a_version_that_asks_for_it_is_probed_before_the_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`probe = true` leaves what was found in the run's folder; others are not probed."""
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    words = ["run", str(tmp_path / "scenario.toml"), "--strategy", "rolling", "--json"]
    code = status([*words, "--rate", "20", "--out", str(tmp_path / "runs")])
    assert code == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "runs").iterdir()
    found = [path.name for path in folder.glob("probe-*.json")]
    assert found == ["probe-b.json"]
    profile = msgspec.json.decode((folder / found[0]).read_bytes(), type=Profile)
    assert profile.completes_in_flight
    assert profile.paths["health"] == "/"
