"""What the result of a trial depends on, as a digest: the key under which it is cached."""

import hashlib
import importlib.util
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version as installed_version
from itertools import pairwise
from pathlib import Path

import msgspec

import scenarios
from orchestrator.model import Version
from scenarios.runner import release as application
from scenarios.scenario.reader import Loaded

_LEFT_OUT = frozenset(
    {"__pycache__", "node_modules", "venv", "runs", "dist", "build", "target", "htmlcov"}
)
_MOST_FILES = 20_000
_MOST_BYTES = 4_000_000  # of a larger file, size and time stand for its content


class TooManyFilesError(Exception):
    """A version's folder has too many files to read them all; its trials are not cached."""


def scenario_digest(loaded: Loaded, migrations: Iterable[Path]) -> str:
    """The digest of what all trials of a scenario depend on.

    Args:
        loaded: the scenario, with the changes that flags made.
        migrations: the files of its migrations.

    Raises:
        TooManyFilesError: a folder has too many files.
    """
    digest = hashlib.sha256()
    scenario = loaded.scenario
    for part in (
        installed_version("hitless"),
        scenario.traffic,
        scenario.integrity,
        scenario.database,
        scenario.application,
        scenario.release,
        os.environ.get("HITLESS_POSTGRES"),
    ):
        digest.update(msgspec.json.encode(part))
    own = Path(scenarios.__path__[0])
    references = [one.python for one in scenario.traffic.journeys if one.python is not None]
    files = [
        *sorted(migrations),
        *(Path(one.rpartition(":")[0]) for one in references),
        *sorted((own / "runner" / "checking").glob("*.py")),
    ]
    for file in files:
        _add_file(digest, file)
    commands = [step.migrate for step in scenario.release.steps if isinstance(step.migrate, tuple)]
    if commands or (scenario.database and isinstance(scenario.database.migrate, tuple)):
        # A command reads its migrations from where it runs.
        for name in scenario.versions:
            digest.update(version_digest(loaded, name).encode())
    return digest.hexdigest()


def version_digest(loaded: Loaded, name: str) -> str:
    """The digest of a version: its command, its environment, its files, and what is installed.

    Raises:
        TooManyFilesError: its folder has too many files.
    """
    settings = application.version(loaded, name)
    digest = hashlib.sha256(
        msgspec.json.encode(
            [name, settings.command, dict(settings.env), str(settings.cwd), settings.python]
        )
    )
    for file in _files_of(settings):
        _add_file(digest, file)
    for line in _installed(settings):
        digest.update(line.encode())
    return digest.hexdigest()


def _files_of(settings: Version) -> Iterator[Path]:
    folder = settings.cwd or Path()
    yield from _tree(folder)
    words = list(settings.command)
    for word in words:
        path = folder / word
        if "{" not in word and path.is_file() and path.stat().st_size < _MOST_BYTES:
            yield path
    if settings.python is None:
        for flag, module in pairwise(words):
            if flag == "-m":
                yield from _module(module)


def _module(name: str) -> Iterator[Path]:
    """The files of a module that our own interpreter runs."""
    try:
        spec = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        return
    for place in (spec and spec.submodule_search_locations) or ():
        if "site-packages" not in place:  # what is installed is named by its version
            yield from _tree(Path(place))


def _tree(folder: Path) -> Iterator[Path]:
    """The files of a folder, without what tools write there."""
    found = 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(
            one for one in folders if one not in _LEFT_OUT and not one.startswith(".")
        )
        for name in sorted(files):
            found += 1
            if found > _MOST_FILES:
                raise TooManyFilesError(f"{folder} has more than {_MOST_FILES:,} files")
            if not name.endswith((".pyc", ".log")):
                yield Path(place) / name


def _installed(settings: Version) -> Iterator[str]:
    """What is installed where the version runs: names with versions."""
    python = Path(settings.python or sys.executable)
    for site in sorted(python.parent.parent.glob("lib/python*/site-packages")):
        yield from sorted(one.name for one in site.glob("*.dist-info"))
    lock = (settings.cwd or Path()) / "node_modules" / ".package-lock.json"
    if lock.is_file():
        yield hashlib.sha256(lock.read_bytes()).hexdigest()


def _add_file(digest: "hashlib._Hash", path: Path) -> None:
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return  # reading a pipe or a device might never end
        content = (
            path.read_bytes()
            if state.st_size < _MOST_BYTES
            else f"{state.st_size} {state.st_mtime_ns}".encode()
        )
    except OSError:
        return  # a file that went away meanwhile, or that nobody may read
    digest.update(f"{path}\n{len(content)}\n".encode())
    digest.update(content)
