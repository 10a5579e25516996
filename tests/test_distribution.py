"""What would be published can be built again byte by byte, and works in an empty environment."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")
MOST_BYTES = 150_000_000


def uv(*arguments: str | Path) -> str:
    done = subprocess.run([UV, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def built(folder: Path) -> dict[str, str]:
    """The digest of each file that a build of a clean checkout makes."""
    checkout = folder / "checkout"
    subprocess.run(["git", "clone", "--quiet", ROOT, checkout], check=True)
    uv("build", "--quiet", "--out-dir", folder / "dist", checkout)
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (folder / "dist").iterdir()
        if path.suffix in {".whl", ".gz"}
    }


@pytest.mark.soak
def test_a_build_can_be_repeated_and_installed(tmp_path: Path) -> None:
    """Two builds are alike; wheel and sdist install, start, and take at most 150 MB."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = built(tmp_path / "one")
    assert first == built(tmp_path / "two")
    assert sorted(name.rpartition(".")[2] for name in first) == ["gz", "whl"]
    for name in first:
        place = tmp_path / name.rpartition(".")[2]
        uv("venv", "--quiet", "--python", sys.executable, place)
        python = place / "bin" / "python"
        uv("pip", "install", "--quiet", "--python", python, tmp_path / "one" / "dist" / name)
        said = subprocess.run(
            [place / "bin" / "hitless", "list"], check=True, capture_output=True, text=True
        )
        assert "expand-contract" in said.stdout
        installed = (path for path in place.rglob("*") if path.is_file() and not path.is_symlink())
        assert sum(path.stat().st_size for path in installed) <= MOST_BYTES
        scenario = ["run", "good", "--rate", "20", "--baseline", "0.5", "--settle", "0.5"]
        ended = subprocess.run(
            [place / "bin" / "hitless", *scenario, "--no-live", "--out", tmp_path / f"runs-{name}"],
            check=False,
            capture_output=True,
            cwd=tmp_path,
        )
        assert ended.returncode in {0, 3}, ended.stderr
