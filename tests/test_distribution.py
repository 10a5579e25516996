"""What would be published can be built again byte by byte, and works in an empty environment."""

import email
import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("newsletter_app", "balancer", "orchestrator", "scenarios", "hitless")
MODULES = ("hitless_cli.py", "hitless_pytest.py")
UV = Path(sys.executable).with_name("uv")
MOST_BYTES = 150_000_000


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command prints; it sees nothing of the checkout that the tests run in."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def bare_environment(place: Path) -> Path:
    """An environment with the libraries of this one, but without hitless; its interpreter.

    A `.pth` file adds a path that is searched for modules, but whose own `.pth` files are not read.
    So the editable installation of this environment is not seen there.
    """
    run(sys.executable, "-m", "venv", "--without-pip", place)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return place / "bin" / "python"


@pytest.mark.timeout(180)
def test_what_would_be_published(tmp_path: Path) -> None:
    """The sdist builds a wheel that works without this checkout and is described completely.

    It is one test, since each worker that runs one of several would build again.
    """
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", ROOT)
    (sdist,) = tmp_path.glob("dist/*.tar.gz")
    with tarfile.open(sdist) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "docs", "tests", "action.yml"} <= top
    (wheel,) = tmp_path.glob("dist/*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        about = email.message_from_bytes(archive.read(metadata))
    # Migrations, scenarios, styles and the marks of types, too.
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == set(
        run("git", "ls-files", "-co", "--exclude-standard", *PACKAGES, *MODULES).split()
    )
    assert_described(about)
    assert_index_can_show(str(about.get_payload()))
    assert_starts(wheel, tmp_path)


def assert_described(about: Message) -> None:
    """Who, which licence, for which Python; it claims no system that is not tested."""
    assert about["Author"]
    assert about["License-Expression"] == "MIT"
    assert about["Requires-Python"] == ">=3.11"
    systems = [one for one in about.get_all("Classifier", []) if one.startswith("Operating")]
    assert systems == ["Operating System :: POSIX :: Linux"]


def assert_index_can_show(text: str) -> None:
    """It has no picture, and no link that leads to a file of the checkout."""
    assert text.startswith("# hitless\n")
    assert "<img" not in text
    assert "![" not in text
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links
    assert all(link.startswith("https://") for link in links)
    assert "In CI (`docs/ci.md`)" in text


def assert_starts(wheel: Path, folder: Path) -> None:
    """The installed program starts, and is the installed one."""
    python = bare_environment(folder / "place")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel)
    hitless = python.with_name("hitless")
    assert run(hitless, "--version", cwd=folder).strip() == f"hitless {version('hitless')}"
    assert "Usage" in run(hitless, "demo", "--help", cwd=folder)
    where = run(python, "-c", "import scenarios; print(scenarios.__file__)", cwd=folder)
    assert Path(where.strip()).is_relative_to(folder)


def uv(*arguments: str | Path) -> str:
    done = subprocess.run([UV, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def built(folder: Path) -> dict[str, str]:
    """The digest of each file that a build of a clean checkout makes."""
    checkout = folder / "checkout"
    subprocess.run(["git", "clone", "--quiet", ROOT, checkout], check=True)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", checkout)
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
