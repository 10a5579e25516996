"""What the machine refuses is one line and status 4: never a traceback, never a failed release."""

import errno
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import scenarios.cli
from scenarios.cli.files import new_folder, write_file
from scenarios.cli.main import status
from scenarios.errors import StorageError
from scenarios.evidence.mail import Mail
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.run_folder import write

HITLESS = (sys.executable, "-m", "hitless")


def told(error: bytes) -> str:
    """The one line of standard error."""
    lines = error.decode().splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith("hitless: ")
    return lines[0]


@pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("schema",), ("-h",)])
def test_a_closed_pipe(arguments: tuple[str, ...]) -> None:
    """Standard output that nobody reads any more (`| head`) is one line and status 4."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        run = subprocess.run([*HITLESS, *arguments], stdout=output, stderr=-1, check=False)
    assert run.returncode == 4
    assert "standard output was closed" in told(run.stderr)


@pytest.mark.parametrize(
    ("closed", "status"), [("<&-", 0), ("2>&-", 0), (">&-", 4), ("<&- >&-", 4)]
)
def test_a_closed_stream(closed: str, status: int) -> None:
    """A standard stream may be closed from the start; only nowhere to print to is one line."""
    command = f"{shlex.join(HITLESS)} --version {closed}"
    run = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert run.returncode == status
    if status:
        assert "standard output is closed" in told(run.stderr)
    else:
        assert run.stdout.startswith(b"hitless ")
        assert not run.stderr


@pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("help", "exit-status")])
def test_a_full_disk_under_standard_output(arguments: tuple[str, ...]) -> None:
    """A file that cannot grow is one line and status 4."""
    with Path("/dev/full").open("wb") as output:
        run = subprocess.run([*HITLESS, *arguments], stdout=output, stderr=-1, check=False)
    assert run.returncode == 4
    assert told(run.stderr) == f"hitless: standard output: {os.strerror(errno.ENOSPC)}"


def test_evidence_on_a_full_disk() -> None:
    """Evidence that cannot be written is the machine's fault, and names the file."""
    recorder = Recorder[Mail](Path("/dev/full"))
    recorder.write(Mail(at_ns=1, recipient="a@example.com"))
    with pytest.raises(StorageError, match=f"/dev/full: {os.strerror(errno.ENOSPC)}"):
        recorder.close()


def test_a_file_on_a_full_disk() -> None:
    """A report, or a file that a flag names, is named when there is no room for it."""
    full = Path("/dev/full")
    with pytest.raises(StorageError, match=f"^/dev/full: {os.strerror(errno.ENOSPC)}"):
        write(full, b"x")
    with pytest.raises(StorageError, match=f"^--html /dev/full: {os.strerror(errno.ENOSPC)}"):
        write_file("--html", full, "x")


def test_a_file_that_cannot_be_whole_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of a file would look like all of it, so a new file is removed; an old one stays."""

    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    old, new = tmp_path / "old", tmp_path / "new"
    old.touch()
    monkeypatch.setattr(Path, "write_bytes", half)
    for path in (old, new):
        with pytest.raises(StorageError):
            write_file("", path, "xyz")
    assert (old.exists(), new.exists()) == (True, False)


def test_no_folder_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--out` where the machine makes no folder is status 4, before anything is started."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="Read-only file system"):
        new_folder(tmp_path / "runs", "a", "b")
    assert status(["watch", "--url", "http://127.0.0.1:1/", "--out", str(tmp_path / "runs")]) == 4
    told(capsys.readouterr().err.encode())


def test_a_file_in_a_folder_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`init` into a folder that has vanished is one line."""
    assert status(["init", str(tmp_path / "gone" / "x.toml"), "--old", "node a.js"]) == 2
    assert "gone/x.toml: No such file or directory" in told(capsys.readouterr().err.encode())


def test_every_command_prints_on_the_same_kind_of_console() -> None:
    """A console of rich's own ends a command with status 1 when a pipe is closed."""
    folder = Path(scenarios.cli.__file__).parent
    own = [
        file.name
        for file in folder.rglob("*.py")
        if file.name != "console.py" and re.search(r"\bConsole\(", file.read_text())
    ]
    assert own == []
