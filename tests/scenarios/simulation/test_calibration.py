"""A simulation that is fitted to a run has the times of that run, and predicts it."""

import json
import math
import tomllib
from pathlib import Path

import msgspec
import pytest

from scenarios.cli.calibrate import predict, toml
from scenarios.cli.main import status
from scenarios.errors import EvidenceError
from scenarios.evidence.run_folder import RunFolder
from scenarios.review import review
from scenarios.scenario.reader import load
from scenarios.simulation.calibration import Calibration, calibrate, document
from scenarios.verdict import Verdict
from tests.support.predicted import predicted
from tests.support.runs import released

PLANS = ("big-bang", "code-first", "with-default", "expand-contract")
STRATEGIES = ("naive", "rolling", "blue-green", "canary")
SEEDS = 3
SETTINGS = (
    "simulation.replica.start_seconds=0.8",
    "simulation.versions.b.start_seconds=1.6",
    "simulation.replica.service_seconds=0.004",
    "simulation.replica.stop_seconds=0.3",
    "simulation.network.delay_seconds=0.001",
    "simulation.mail_seconds=0.2",
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evidence of a run whose times are known, as if it had been measured."""
    folder = predicted("big-bang", tmp_path_factory.mktemp("runs") / "run", *SETTINGS).folder
    files = RunFolder(folder)
    manifest = msgspec.structs.replace(files.read_manifest(), platform="local")
    files.write_manifest(manifest)
    return folder


@pytest.fixture(scope="module")
def found(recorded: Path) -> Calibration:
    return calibrate(recorded)


def test_times_are_found_again(found: Calibration) -> None:
    """What a run was made of is what is fitted to it."""
    fits = {".".join(one.key): one.median for one in found.fits}
    assert fits["versions.a.start_seconds"] == pytest.approx(0.8, rel=0.01)
    assert fits["versions.b.start_seconds"] == pytest.approx(1.6, rel=0.01)
    assert fits["versions.a.service_seconds"] == pytest.approx(0.006, rel=0.1)  # and two packets
    assert fits["versions.a.stop_seconds"] == pytest.approx(0.3, rel=0.05)
    assert fits["network.delay_seconds"] == pytest.approx(0.001)
    assert fits["mail_seconds"] == pytest.approx(0.2, abs=0.01)
    migrations = {one.name: one.seconds for one in found.migrations}
    assert migrations == {"big_bang.0001.status": 0.2, "big_bang.0002.tokens": 0.1}
    assert found.deregistration_lag_seconds == (0.0, 0.0)


def test_it_is_a_part_of_a_scenario(found: Calibration, tmp_path: Path) -> None:
    """What is printed is a table of a scenario file, which says what was fitted."""
    text = toml(document(found))
    assert tomllib.loads(text)["simulation"] == document(found)
    file = tmp_path / "own.toml"
    file.write_text(f'extends = "big-bang"\nname = "own"\n{text}')
    spec = load(str(file), (), "simulated").scenario.simulation
    assert spec.breaks  # from the scenario that it extends
    assert {one.name for one in spec.migrations} == {one.name for one in found.migrations}


def test_the_prediction_is_like_the_run(recorded: Path, found: Calibration) -> None:
    """The fitted simulation has the verdict, the causes and about the numbers of the run."""
    alike(review(recorded).verdict, recorded, found)


def alike(measured: Verdict, run: Path, found: Calibration) -> None:
    """Hold a run to what is predicted of it: verdict, causes, failed requests and time.

    The prediction of a count is its mean over some seeds, and the run is one draw. Below twenty
    requests chance alone makes a factor of two; there the count may be as far from the factor as
    chance brings a count with this mean (three standard deviations of a Poisson distribution).
    """
    foretold = [predict(run, found, seed) for seed in range(1, 1 + SEEDS)]
    failed, mean = measured.requests.failed, sum(v.requests.failed for v in foretold) / SEEDS
    assert {one.verdict for one in foretold} == {measured.verdict}
    assert {one.rollout.outcome for one in foretold} == {measured.rollout.outcome}
    main = {one.cause for one in measured.causes if one.count >= 5}
    assert main <= {one.cause for verdict in foretold for one in verdict.causes}
    chance = 3 * math.sqrt(max(mean, failed)) if min(mean, failed) < 20 else 0.0
    assert mean / 2 - chance <= failed <= 2 * mean + chance
    seconds = sum(one.rollout.seconds or 0.0 for one in foretold) / SEEDS
    assert seconds == pytest.approx(measured.rollout.seconds, rel=0.15)


def test_the_command_writes_and_compares(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints the table, writes a scenario file, and sets both runs side by side."""
    file = tmp_path / "calibrated.toml"
    assert status(["calibrate", str(recorded), "--out", str(file), "--compare"]) == 0
    said = capsys.readouterr().out
    assert "[simulation.versions.a]" in said
    assert "measured" in said
    assert "predicted" in said
    assert status(["run", str(file), "--platform", "simulated", "--out", str(tmp_path)]) == 1
    capsys.readouterr()
    assert status(["calibrate", str(recorded), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["simulation"]["versions"]["a"]


def test_a_simulated_run_has_measured_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A prediction is no ground for another one, and a folder without a run is none either."""
    run = predicted("good", tmp_path / "run", rate=20.0)
    with pytest.raises(EvidenceError, match="was simulated"):
        calibrate(run.folder)
    assert status(["calibrate", str(tmp_path)]) == 2
    assert "not the folder of a run" in capsys.readouterr().err


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("plan", PLANS)
def test_every_cell_is_predicted(plan: str, strategy: str, tmp_path: Path) -> None:
    """Fitted to a real run of a plan under a strategy, the simulation predicts that run."""
    run = released(plan, tmp_path, "--strategy", strategy, "--rate", "100")
    alike(run.verdict, run.folder, calibrate(run.folder))
