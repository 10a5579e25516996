"""A seed gives the same evidence on every supported Python that this machine has."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
CODE = """
import sys
from pathlib import Path
from tests.support.predicted import predicted
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
predicted("big-bang", folder / "each", seed=seed)
predicted("good", folder / "canary", strategy="canary", seed=seed)
predicted(
    "good", folder / "counted", "policy.replicas=40", "simulation.replica.crash_rate=10",
    'simulation.record="counts"', "phases.baseline_seconds=0.5", rate=1500.0, seed=seed,
)
"""


def simulated_by(
    python: str, folder: Path, seed: int = 7, hash_seed: str = "1"
) -> dict[str, bytes]:
    """The evidence that a Python makes of three runs, by the paths of the files."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [python, "-c", CODE, str(folder), str(seed)], check=True, cwd=ROOT, env=environment
    )
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def others() -> list[str]:
    """The supported Pythons here, but for the one that runs."""
    own = f"python{sys.version_info.major}.{sys.version_info.minor}"
    pyenvs = sorted(Path.home().glob(".pyenv/versions/*/bin"))
    places = os.pathsep.join([*map(str, pyenvs), os.environ["PATH"]])
    paths = [shutil.which(name, path=places) for name in PYTHONS if name != own]
    return [path for path in paths if path]


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_every_python_gives_the_same_bytes(tmp_path: Path) -> None:
    """Each supported Python that is here, with its own libraries, writes the same files."""
    here = simulated_by(sys.executable, tmp_path / "here")
    assert simulated_by(sys.executable, tmp_path / "again", hash_seed="2") == here
    assert simulated_by(sys.executable, tmp_path / "other", seed=8) != here
    pythons = others()
    if not pythons:
        pytest.skip("there is no other supported Python here")
    for python in pythons:
        place = tmp_path / Path(python).name
        subprocess.run([python, "-m", "venv", place], check=True)
        own = str(place / "bin" / "python")
        words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([own, *words, f"{ROOT}[simulated]"], check=True)
        there = simulated_by(own, place / "runs")
        assert {name for name in here if there.get(name) != here[name]} == set(), python
        assert there.keys() == here.keys()
