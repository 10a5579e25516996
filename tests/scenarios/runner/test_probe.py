"""What a run finds out about its versions' servers before it begins."""

import html
from pathlib import Path

import msgspec
import pytest

from scenarios.cli.main import status
from scenarios.evidence.run_folder import RunFolder
from scenarios.probe.profile import Profile
from scenarios.probe.words import PART_OF, rows
from scenarios.verdict import decode

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
    """`probe = true` leaves what was found in the run's folder; others are not probed.

    The terminal, the page and the JSON of the verdict say it in the same words.
    """
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    words = ["run", str(tmp_path / "scenario.toml"), "--strategy", "rolling", "--no-live"]
    words.append("--verbose")
    code = status([*words, "--rate", "20", "--out", str(tmp_path / "runs")])
    said = capsys.readouterr()
    assert code == 0, said.err
    (folder,) = (tmp_path / "runs").iterdir()
    found = [path.name for path in folder.glob("probe-*.json")]
    assert found == ["probe-b.json"]
    profile = msgspec.json.decode((folder / found[0]).read_bytes(), type=Profile)
    assert profile.completes_in_flight
    assert profile.paths["health"] == "/"
    # Each experiment has a line of progress, and the same words are in the verdict everywhere.
    findings = {title: text for _, title, text in rows(profile)}
    lines = said.out + said.err
    assert "probe of b: " in lines
    assert len(findings) > 10
    run = RunFolder(folder)
    (probed,) = decode(run.verdict.read_bytes()).probed
    assert (probed.version, probed.findings) == ("b", findings)
    assert "How the server of b (uvicorn" in lines
    page = html.unescape(run.report.read_text())
    for name, title, text in rows(profile):
        assert title in lines[lines.index("How the server of b") :]
        assert text in page
        # What one experiment finds out is one line, also where it is several findings.
        if name not in PART_OF and name != "signalled":
            assert f"  {title}: {text}" in lines
