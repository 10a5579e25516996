"""A finished run's folder is read in one place, and once."""

import ast
import sys
from collections import Counter
from pathlib import Path

import pytest

import scenarios
from orchestrator.recovery import JOURNAL
from scenarios.cli.main import status
from scenarios.errors import EvidenceError
from scenarios.evidence.manifest import read_manifest
from scenarios.evidence.run_folder import RecordFile, RunFolder
from scenarios.review import explain, review
from tests.support import evidence as make

ROOT = Path(scenarios.__file__).parent
_OF_THE_SERVER = "postgres.log"
"""The embedded server's own log has the same name in its private directory."""


def names() -> set[str]:
    """The names of all files that a run folder has."""
    run = RunFolder(Path())
    members = (
        getattr(run, name)
        for name, member in vars(RunFolder).items()
        if isinstance(member, property)
    )
    return {(one.path if isinstance(one, RecordFile) else one).name for one in members}


def spelled(module: Path) -> set[str]:
    """The texts in a module."""
    tree = ast.parse(module.read_text())
    nodes = ast.walk(tree)
    return {one.value for one in nodes if isinstance(one, ast.Constant) and type(one.value) is str}


def test_nobody_else_spells_the_name_of_a_file() -> None:
    """The name of a run's file stands in `run_folder.py` alone; the journal's also for recovery."""
    # The folder `router` has the name of a table of scenarios, so only files with endings count.
    ours = {name for name in names() if "." in name} - {_OF_THE_SERVER}
    assert len(ours) > 20
    found = {
        str(module.relative_to(ROOT)): known
        for module in ROOT.rglob("*.py")
        if (known := spelled(module) & ours)
    }
    assert set(found) == {"evidence/run_folder.py"}
    assert RunFolder(Path()).events.path.name == JOURNAL


class Opened(Counter[str]):
    """How often each file in a folder is opened, while it is told to count."""

    def __init__(self) -> None:
        super().__init__()
        self.folder: Path | None = None

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.folder is None or event != "open" or not isinstance(arguments[0], str | Path):
            return
        path = Path(arguments[0])
        if path.parent == self.folder:
            self[path.name] += 1


OPENED = Opened()
sys.addaudithook(OPENED.hear)  # it cannot be taken away again


@pytest.mark.parametrize("broken", [True, False])
def test_each_file_is_opened_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, broken: bool
) -> None:
    """The verdict and all reports come from one reading, with every file's digest compared."""
    run = make.clean()
    if broken:
        run = run.failing(2.4, 3.1, status=500, sqlstate="23502")
    more: dict[str, list[object]] = {"lock_waits": [], "reads": [], "server_lines": []}
    folder = run.write(tmp_path / "run", **more)
    digests = RunFolder(folder).digests()
    run.asked(files=digests).write(folder, **more)
    OPENED.clear()
    OPENED.folder = folder
    try:
        assert status(["report", str(folder)]) == int(broken)
    finally:
        OPENED.folder = None
    capsys.readouterr()
    assert set(digests) == {name for name in OPENED if name.endswith(".ndjson")}
    assert set(OPENED.values()) == {1}


def test_an_unread_file_is_checked_as_well(tmp_path: Path) -> None:
    """A recorded file of a kind that nobody knows must be as it was recorded, too."""
    folder = make.clean().write(tmp_path / "run")
    (folder / "later.ndjson").write_text("{}\n")
    make.clean().asked(files=RunFolder(folder).digests()).write(folder)
    assert review(folder).verdict.verdict == "pass"
    (folder / "later.ndjson").write_text("{} \n")
    with pytest.raises(EvidenceError, match=r"later\.ndjson: damaged"):
        review(folder)


def test_rows_of_one_side_alone_are_read_too(tmp_path: Path) -> None:
    """Where rows are known of one side only, nothing is checked with them but their own file."""
    run = make.clean().but(after=None)
    folder = run.write(tmp_path / "run")
    run.asked(files=RunFolder(folder).digests()).write(folder)
    assert review(folder).verdict.integrity.status == "unchecked"
    path = RunFolder(folder).subjects_before.path
    path.write_bytes(path.read_bytes().replace(b"old-1", b"old-3"))
    with pytest.raises(EvidenceError, match="damaged"):
        review(folder)


def test_logs_of_the_run_itself_are_no_replica_s(tmp_path: Path) -> None:
    """A hook's or a command's line that names a request is not told as a replica's."""
    folder = make.clean().write(tmp_path / "run")
    for name in ("hooks", "command", "migrator", "a-1"):
        (folder / f"{name}.log").write_text("about s7-000225-1\n")
    story = explain(folder, "s7-000225-1")
    assert [one.source for one in story.moments if one.at is None] == ["a-1"]


def test_the_manifest_is_read_as_written(tmp_path: Path) -> None:
    """What is written into a folder is what is read from it."""
    run = RunFolder(make.clean().write(tmp_path / "run"))
    assert run.read_manifest() == read_manifest(run.manifest) == make.MANIFEST
