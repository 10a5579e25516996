"""`--control`: what fails when the same version is deployed again is not the release's."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from scenarios.cli.main import status
from scenarios.evidence.run_folder import RunFolder
from scenarios.verdict import Verdict, decode
from scenarios.verdict.causes.control_comparison import EVERY_DEPLOYMENT

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]

APP = Path(__file__).with_name("limited_app.py")
SCENARIO = """
name = "limited"

[application]
command = ["{{python}}", {app}, "{{port}}", "{{version}}"]
health_path = "/health"

[versions]
a = {{}}
b = {{ command = ["{{python}}", {app}, "{{port}}", "{{version}}", "{mode}"] }}

[release]
from = "a"
steps = [{{ deploy = "b" }}]

[policy]
replicas = 2
min_ready_seconds = 1

[phases]
baseline_seconds = 1.5
settle_seconds = 1.5

[[traffic.journeys]]
name = "search"
weight = 2
steps = [{{ path = "/search" }}]

[[traffic.journeys]]
name = "look"
steps = [{{ path = "/home" }}]

[[traffic.journeys]]
name = "order"
steps = [{{ method = "POST", path = "/orders" }}]
"""


class Pair(NamedTuple):
    """A release and its control run.

    Attributes:
        code: the exit status of the command.
        verdict: on the release.
        folder: of the release.
        control: of the control run.
    """

    code: int
    verdict: Verdict
    folder: Path
    control: Path


def released(mode: str, tmp_path: Path, *options: str) -> Pair:
    """A release whose version b is in that mode, with a control run."""
    scenario, out = tmp_path / "limited.toml", tmp_path / "runs"
    scenario.write_text(SCENARIO.format(app=json.dumps(str(APP)), mode=mode))
    code = status(
        [
            *("run", str(scenario), "--control", "--rate", "120", "--no-live"),
            *("--out", str(out), *options),
        ]
    )
    (control,) = out.glob("*-limited-control-*")
    (folder,) = (one for one in out.iterdir() if one != control)
    return Pair(code, decode((folder / "verdict.json").read_bytes()), folder, control)


def test_limits_that_the_old_version_has_too_do_not_count(tmp_path: Path) -> None:
    """A rate limit and cold starts fail in both runs: the release passes, and all views say so."""
    code, verdict, folder, control = released("good", tmp_path)
    assert (code, verdict.verdict) == (0, "pass"), verdict.reasons
    found = verdict.control
    assert found is not None
    assert found.usable
    assert (found.own, found.every_deployment) == (0, 0)
    assert found.also == verdict.requests.failed > 100
    assert {row.result for row in found.rows} == {"429", "503"}
    assert all(row.control_failed for row in found.rows)
    # Both fail in the baseline already, which would otherwise make the run invalid.
    assert next(one for one in verdict.phases if one.name == "baseline").requests.failed
    said = f"{found.also:,} as in the control run, 0 the release's own (none allowed)"
    assert said in verdict.reasons[0]
    assert found.folder == str(control)
    manifest = RunFolder(control).read_manifest()
    assert (manifest.role, manifest.versions) == ("control", ("a", "a"))
    for name in ("report.html", "summary.md", "junit.xml"):
        assert "the control run" in (folder / name).read_text()
    assert "hitless_release_failures" in (folder / "metrics.prom").read_text()
    # The same verdict comes from the folder alone.
    before = (folder / "verdict.json").read_bytes()
    assert status(["report", str(folder)]) == 0
    assert (folder / "verdict.json").read_bytes() == before


def test_a_broken_release_fails_with_its_own_failures_alone(tmp_path: Path) -> None:
    """Under the same limits a release that breaks orders fails, and only its orders count."""
    code, verdict, _, _ = released("broken", tmp_path)
    assert (code, verdict.verdict) == (1, "fail")
    found = verdict.control
    assert found is not None
    own = {(row.endpoint, row.result): row.own for row in found.rows if row.own}
    assert set(own) == {("POST /orders", "500")}
    assert found.own == own["POST /orders", "500"]
    assert found.own + found.also == verdict.requests.failed
    assert verdict.reasons == (verdict.reasons[0],)
    assert f"{found.own:,} the release's own" in verdict.reasons[0]
    assert verdict.reasons[0].endswith(f"({found.own:,})")
    counted = {one.cause: one.count - one.excused for one in verdict.causes}
    assert sum(counted.values()) == found.own


@pytest.mark.parametrize(
    ("mode", "endpoint", "result"),
    [
        ("strict", "GET /search", "429"),
        pytest.param("colder", "GET /home", "503", marks=pytest.mark.soak),
    ],
)
def test_more_of_the_same_failures_count(
    mode: str, endpoint: str, result: str, tmp_path: Path
) -> None:
    """A release that fails in the ways of the old version, but more often, fails for the excess."""
    code, verdict, _, _ = released(mode, tmp_path)
    assert (code, verdict.verdict) == (1, "fail")
    found = verdict.control
    assert found is not None
    (row,) = (one for one in found.rows if one.own)
    assert (row.endpoint, row.result) == (endpoint, result)
    assert 0 < row.own < row.failed
    assert row.chance < 0.01


def test_what_every_deployment_drops_counts(tmp_path: Path) -> None:
    """The outage of a strategy that stops all replicas first is no version's, and still a fail."""
    code, verdict, _, _ = released("good", tmp_path, "--strategy", "naive")
    assert (code, verdict.verdict) == (1, "fail")
    found = verdict.control
    assert found is not None
    assert found.every_deployment > 0
    assert "every deployment with this strategy loses such requests" in verdict.reasons[0]
    counted = {one.cause for one in verdict.causes if one.count > one.excused}
    assert "no_backend" in counted
    assert counted <= EVERY_DEPLOYMENT
