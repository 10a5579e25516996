"""The files and folders that a user names: they are checked before anything is started."""

from datetime import datetime
from pathlib import Path

from scenarios.errors import StorageError, UsageError
from scenarios.evidence.run_folder import RunFolder


def new_folder(out: Path, scenario: str, strategy: str) -> Path:
    """Make a folder for a run under `out`.

    Raises:
        UsageError: `out` is, or lies in, something that is no folder.
        StorageError: the machine refuses it: the disk is full or read-only, for example.
    """
    try:
        return RunFolder.create(out, datetime.now().astimezone(), scenario, strategy).path
    except (NotADirectoryError, FileExistsError) as error:
        raise UsageError(f"--out {out}: {error.strerror}") from error
    except OSError as error:
        raise StorageError(f"--out {out}: {error.strerror}") from error


def check_junit(path: Path | None) -> None:
    """See that JUnit XML can be written to the file that `--junit` names.

    Raises:
        UsageError: the path is a folder, or its folder does not exist. None is created: a
            mistyped path would leave folders that nobody wanted.
    """
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"--junit {path}: this is a folder; expected the path of a file")
    if not path.parent.is_dir():
        raise UsageError(f"--junit {path}: there is no folder {path.parent}")
