"""A simulated run of a scenario: the evidence, the verdict and the views of a real one."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from scenarios.cli.questions.expectation import surprise
from scenarios.errors import ScenarioError, UsageError
from scenarios.evidence.progress import Silence
from scenarios.evidence.run_folder import RunFolder
from scenarios.reports.github import annotations
from scenarios.reports.matrix import matrix_row
from scenarios.review import explain
from scenarios.scenario.overrides import Changes
from scenarios.simulation.run import SimulatedExperiment
from scenarios.verdict import Verdict
from tests.support.predicted import Predicted, predicted

PLANS = ("big-bang", "code-first", "with-default", "expand-contract")
STRATEGIES = ("naive", "rolling", "blue-green", "canary")


@pytest.fixture(scope="module")
def breaking(tmp_path_factory: pytest.TempPathFactory) -> Predicted:
    """A rolling release of the breaking plan."""
    return predicted("big-bang", tmp_path_factory.mktemp("runs") / "run", reports=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("plan", PLANS)
def test_every_plan_has_its_declared_result(plan: str, strategy: str, tmp_path: Path) -> None:
    """What the scenario of a plan declares for a real run is predicted as well: pass, or causes."""
    run = predicted(plan, tmp_path / "run", strategy=strategy)
    assert surprise(run.experiment.scenario.expect, run.verdict) is None
    assert run.verdict.predicted


@pytest.mark.parametrize(
    ("name", "strategy", "outcome"),
    [
        ("code-first-gated", "rolling", "rolled_back"),
        ("undo", "rolling", "completed"),
        ("undo-refused", "rolling", "failed"),
        ("take-back", "rolling", "completed"),
        ("take-back-refused", "rolling", "failed"),
        ("unhealthy", "rolling", "rolled_back"),
        ("slower", "canary", "rolled_back"),
        ("failing", "canary", "rolled_back"),
        ("slow-start", "rolling", "completed"),
        ("deaf", "rolling", "completed"),
    ],
)
def test_other_scenarios_end_as_they_declare(
    name: str, strategy: str, outcome: str, tmp_path: Path
) -> None:
    """Readiness, undo, rehearsals, canary analysis and signals that are ignored are predicted."""
    run = predicted(name, tmp_path / "run", strategy=strategy)
    assert run.verdict.rollout.outcome == outcome == run.verdict.rollout.expected
    expected_failures = run.experiment.scenario.expect.fails_with.get(strategy, ())
    assert bool(run.verdict.requests.failed) == bool(expected_failures)


def test_every_failed_request_has_its_cause_and_story(breaking: Predicted) -> None:
    """The evidence of a simulated run explains each failure as that of a real run does."""
    causes = {one.cause: one for one in breaking.verdict.causes}
    assert set(causes) == {"sqlstate:23502", "status:404"}
    assert all(one.confidence != "symptom" for one in causes.values())
    failed = [one for one in breaking.requests if not one.ok]
    assert len(failed) == breaking.verdict.requests.failed == sum(c.count for c in causes.values())
    clicked = next(one for one in failed if one.status == 404)
    assert clicked.cause_id is not None
    story = explain(breaking.folder, clicked.request_id)
    assert "404" in str(story)


def test_journeys_go_on_only_after_success(breaking: Predicted) -> None:
    """Whoever clicks has subscribed before, and got a mail; a failed request leads to nothing."""
    by_id = {one.request_id: one for one in breaking.requests}
    followers = [one for one in breaking.requests if one.cause_id is not None]
    assert len(by_id) == len(breaking.requests)
    assert len(followers) > 100
    for one in followers:
        assert by_id[str(one.cause_id)].ok
        assert by_id[str(one.cause_id)].done_ns <= one.planned_ns


def test_users_who_stay_come_back_on_schedule(breaking: Predicted) -> None:
    """Each of them comes every half second, whatever became of the last request."""
    visits: dict[str, list[int]] = {}
    for one in breaking.requests:
        if one.user is not None:
            visits.setdefault(one.user, []).append(one.planned_ns)
    assert len(visits) == 10
    for stamps in visits.values():
        assert {b - a for a, b in pairwise(stamps)} == {500_000_000}


def test_every_view_says_that_it_is_predicted(breaking: Predicted) -> None:
    """The terminal, Markdown, HTML, JUnit, Prometheus, GitHub, the matrix and the JSON say so."""
    from rich.console import Console  # noqa: PLC0415 - only here

    from scenarios.reports.terminal import print_verdict  # noqa: PLC0415 - only here

    console = Console(record=True, width=120)
    print_verdict(console, breaking.verdict)
    folder = breaking.folder
    assert "big-bang · rolling · predicted" in console.export_text()
    assert "big-bang · rolling · predicted" in (folder / "summary.md").read_text()
    assert "big-bang · rolling · predicted" in (folder / "report.html").read_text()
    assert 'name="big-bang.rolling.predicted"' in (folder / "junit.xml").read_text()
    assert "hitless_predicted{" in (folder / "metrics.prom").read_text()
    assert '"predicted": true' in (folder / "verdict.json").read_text()
    assert all("predicted" in line for line in annotations(breaking.verdict))
    assert matrix_row(breaking.verdict).where == "rolling (predicted)"
    assert any("predicted" in limit for limit in breaking.verdict.limits)


def evidence_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_seed_gives_the_same_bytes_in_another_process(
    breaking: Predicted, tmp_path: Path
) -> None:
    """Evidence and verdict of a seed are the same to the byte, and those of another one are not."""
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.support.predicted import predicted\n"
        "predicted('big-bang', Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "there")],
        check=True,
        env={"PYTHONHASHSEED": "17", "PATH": "/usr/bin:/bin", "TZ": "Asia/Tokyo"},
    )
    there = evidence_of(tmp_path / "there")
    here = evidence_of(breaking.folder)
    assert there == {name: here[name] for name in there}
    other = evidence_of(predicted("big-bang", tmp_path / "other", seed=2).folder)
    assert other["requests.ndjson"] != here["requests.ndjson"]


def numbers(verdict: Verdict) -> object:
    phases = [(one.name, one.requests) for one in verdict.phases]
    causes = [(one.cause, one.count) for one in verdict.causes]
    return phases, causes, verdict.requests, verdict.versions, verdict.rollout, verdict.verdict


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("good", ("policy.persona=kubernetes", "balancer.retry=false")),
        ("good", ("simulation.replica.crash_rate=60", "phases.baseline_seconds=0.1")),
        ("big-bang", ()),
    ],
)
def test_counts_tell_the_same_as_single_lines(
    name: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    """A run whose good requests are only counted has the same numbers and the same causes."""
    runs = {
        record: predicted(
            name, tmp_path / record, f"simulation.record={record}", *settings, rate=1500.0
        )
        for record in ("each", "counts")
    }
    each, counts = runs["each"].verdict, runs["counts"].verdict
    assert numbers(each) == numbers(counts)
    assert counts.latency.p50 == pytest.approx(each.latency.p50, rel=0.02)
    assert counts.latency.p99 == pytest.approx(each.latency.p99, rel=0.02)
    assert len(each.downtime) == len(counts.downtime)
    for one, other in zip(each.downtime, counts.downtime, strict=True):
        assert (one.failed, one.seconds_lower) == (other.failed, other.seconds_lower)
        assert other.requests == pytest.approx(one.requests, rel=0.1, abs=10)
    # What failed, was slow or was sent again has a line each, and the rest has none.
    lines = runs["counts"].requests
    assert sum(not one.ok for one in lines) == counts.requests.failed
    assert len(lines) < 0.5 * len(runs["each"].requests)
    counted = sum(line.total for line in RunFolder(runs["counts"].folder).counted.read())
    assert counted + len(lines) == len(runs["each"].requests) == counts.requests.planned


def test_a_large_fleet_is_replaced_by_shares(tmp_path: Path) -> None:
    """Above a hundred replicas the surge is Kubernetes' 25 %, unless the policy says another."""
    run = predicted("good", tmp_path / "run", replicas=1200, rate=6000.0)
    assert run.verdict.verdict == "pass"
    assert run.experiment.scenario.policy.max_surge == "25%"
    assert run.verdict.replicas == 1200
    own = Changes(platform="simulated", replicas=1200, settings=("policy.max_surge=7",))
    assert own.experiment("good", "rolling", 1).scenario.policy.max_surge == 7


def test_faults_are_made_in_virtual_time(tmp_path: Path) -> None:
    """A killed replica, a frozen one and a locked table have the effects of a real run."""
    killed = predicted(
        "good", tmp_path / "kill", "balancer.retry=false", faults=("kill@0.2",), rate=400.0
    )
    assert any(one.verb == "heal" for one in killed.events)
    frozen = predicted("good", tmp_path / "freeze", faults=("freeze:1.5@0.2",), rate=50.0)
    assert frozen.verdict.requests.failed == 0
    assert frozen.verdict.requests.slow > 0
    blocked = predicted("expand-contract", tmp_path / "block", faults=("block:1.5@0.2",))
    # Whatever needs the table waits, and nothing else does.
    slow = [one.endpoint for one in blocked.requests if one.done_ns - one.planned_ns > 1e9]
    assert len(slow) == blocked.verdict.requests.slow > 50
    assert set(slow) <= {"POST /subscriptions", "GET /subscriptions/confirm"}
    for run in (killed, frozen, blocked):
        assert [one.state for one in run.events if one.verb == "fault"] == ["started", "completed"]


def write(folder: Path, text: str) -> Path:
    file = folder / "own.toml"
    file.write_text(f'extends = "_service"\nname = "own"\n{text}', encoding="utf-8")
    return file


NEVER_READY = """\
[[simulation.breaks]]
version = "a"
ready = false

[policy]
progress_deadline_seconds = 2
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[simulation.replica]\nservice_seconds = -1",
            "own.toml:4: key 'simulation.replica.service",
        ),
        ("[simulation.network]\ndelay_seconds = nan", "own.toml:4: key 'simulation.network.delay_"),
        ("[simulation.versions.c]\nworkers = 2", "unknown version 'c'"),
        (
            '[simulation.endpoints."GET /x"]\nlock = "t"',
            "no journey of [traffic] asks for 'GET /x'",
        ),
        ('[[simulation.breaks]]\nversion = "z"', "unknown version 'z'"),
        ("[policy]\ncanary_steps = [50, { pause = 'promoted' }, 100]", "waits for a person"),
        ('[router]\nkind = "haproxy"', "haproxy is not simulated"),
        ("[simulation]\nlimit_seconds = 4", "the run has not ended after 4 s of virtual time"),
        (
            NEVER_READY,
            "the simulated version a did not become ready, so there is nothing to release",
        ),
    ],
)
def test_nonsense_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    """What cannot be simulated is refused in one line that says what and where."""
    with pytest.raises(ScenarioError) as caught:
        predicted(write(tmp_path, text), tmp_path / "run")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_can_be_stopped(tmp_path: Path) -> None:
    """A run that somebody stops leaves its evidence, and says that it was interrupted."""
    experiment = Changes(platform="simulated").experiment("good", "rolling", 1)
    simulated = SimulatedExperiment(experiment, tmp_path, Silence())
    simulated.stop()
    simulated.run()
    assert RunFolder(tmp_path).read_manifest().interrupted


def test_flags_without_a_meaning_are_refused() -> None:
    """What only a real run can do is refused for a simulated one."""
    for further in ({"hold": True}, {"existing_rows": 5}, {"router": "envoy"}):
        with pytest.raises(UsageError, match="simulated"):
            Changes(platform="simulated", **further).experiment("good", "rolling", 1)
