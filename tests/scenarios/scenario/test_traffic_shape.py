"""A scenario says how its traffic changes, and the run sends it so."""

from pathlib import Path

import pytest

from scenarios.cli.main import status
from scenarios.errors import ScenarioError
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.run_folder import RunFolder
from scenarios.scenario.reader import load


def sent(folder: Path, traffic: str) -> list[Outcome]:
    """Run a small release with this traffic; what it sent, in the order of its planned times."""
    scenario = folder / "scenario.toml"
    scenario.write_text(f'extends = "good"\nname = "shaped"\n[traffic]\n{traffic}\n')
    out = folder / "runs"
    options = ["--replicas", "1", "--baseline", "1", "--settle", "0.5", "--no-live"]
    assert status(["run", str(scenario), *options, "--out", str(out)]) == 0
    (run,) = out.iterdir()
    outcomes = list(RunFolder(run).requests.read())
    return sorted(outcomes, key=lambda outcome: outcome.planned_ns)


def test_a_rate_that_jumps(tmp_path: Path) -> None:
    """`profile` changes the rate while the run goes on, also over several processes."""
    outcomes = sent(
        tmp_path,
        'arrivals = "constant"\nprocesses = 2\nprofile = [{ at_seconds = 0, rate = 20 }, '
        "{ at_seconds = 1, rate = 20 }, { at_seconds = 1, rate = 100 }]",
    )
    start = outcomes[0].planned_ns
    first = sum(outcome.planned_ns - start < 0.9e9 for outcome in outcomes)
    second = sum(1e9 <= outcome.planned_ns - start < 1.9e9 for outcome in outcomes)
    assert first == pytest.approx(18, abs=2)
    assert second == pytest.approx(90, abs=8)


def test_recorded_arrivals(tmp_path: Path) -> None:
    """`arrivals_path` replays the times that it holds, until the run is over."""
    (tmp_path / "arrivals.txt").write_text("".join(f"{0.02 * n:g}\n" for n in range(6000)))
    outcomes = sent(tmp_path, 'arrivals = "recorded"\narrivals_path = "arrivals.txt"')
    start = outcomes[0].planned_ns
    offsets = [(outcome.planned_ns - start) / 1e9 for outcome in outcomes]
    assert len(offsets) > 50
    assert offsets == pytest.approx([0.02 * n for n in range(len(offsets))], abs=1e-6)


@pytest.mark.parametrize(
    ("traffic", "message"),
    [
        ('arrivals = "recorded"', "recorded arrivals need arrivals_path"),
        ('arrivals_path = "none.txt"', "key 'traffic.arrivals_path': there is no file '/"),
        ("profile = [{ at_seconds = 1, rate = 5 }]", "profile must begin at at_seconds = 0"),
        ("profile = [{ at_seconds = 0, rat = 5 }]", "unknown key; did you mean 'rate'?"),
        ("processes = 0", "key 'traffic.processes': expected int >= 1"),
    ],
)
def test_a_mistake_in_it(tmp_path: Path, traffic: str, message: str) -> None:
    """A shape that makes no sense is refused where it stands."""
    path = tmp_path / "scenario.toml"
    path.write_text(f'extends = "good"\n[traffic]\n{traffic}\n')
    with pytest.raises(ScenarioError) as caught:
        load(str(path))
    assert message in str(caught.value)
