"""The files, folders and programs that a user names: looked at before anything is started."""

import contextlib
import os
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from scenarios.errors import StorageError, UsageError
from scenarios.evidence.run_folder import RunFolder

_MOST_BYTES = 64 << 20


def new_folder(out: Path, scenario: str, strategy: str) -> Path:
    """Make a folder for a run under `out`.

    Raises:
        UsageError: `out` is, or lies in, something that is no folder.
        StorageError: the machine refuses it: the disk is full or read-only, for example.
    """
    check_folder("--out", out)
    try:
        return RunFolder.create(out, datetime.now().astimezone(), scenario, strategy).path
    except OSError as error:
        raise StorageError(f"--out {out}: {error.strerror}") from error


def check_folder(flag: str, path: Path) -> None:
    """See that a folder can be made where a flag says so.

    Raises:
        UsageError: the path is, or lies in, something that is no folder.
    """
    existing = next((one for one in (path, *path.parents) if one.exists()), None)
    if existing is not None and not existing.is_dir():
        raise UsageError(f"{flag} {path}: {existing} is no folder")


def read_file(flag: str, path: Path) -> bytes:
    """Read a file that a flag names.

    Raises:
        UsageError: it cannot be read, or is too large; a device may have no end at all.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{flag} {path}: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{flag} {path}: larger than {_MOST_BYTES >> 20} MiB")
    return content


def check_file(flag: str, path: Path | None) -> None:
    """See that there is a place for the file that a flag names.

    Args:
        flag: the flag, for the message.
        path: the file; None where the flag is not given.

    Raises:
        UsageError: the path is a folder, or its folder does not exist. None is created: a
            mistyped path would leave folders that nobody wanted.
    """
    if path is None:
        return
    try:
        if path.is_dir():
            raise UsageError(f"{flag} {path}: this is a folder; expected the path of a file")
        if not path.parent.is_dir():
            raise UsageError(f"{flag} {path}: there is no folder {path.parent}")
    except OSError as error:  # a name that is too long, or a folder that may not be entered
        raise UsageError(f"{flag} {path}: {error.strerror}") from error


def write_file(flag: str, path: Path, data: str | bytes) -> None:
    """Write the file that a flag names.

    Raises:
        UsageError: the path cannot be that of a file.
        StorageError: the machine refuses it: the disk is full or read-only, for example.
    """
    where, is_new = f"{flag} {path}".strip(), not path.exists()
    try:
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    except (NotADirectoryError, IsADirectoryError, FileNotFoundError) as error:
        raise UsageError(f"{where}: {error.strerror}") from error
    except OSError as error:
        if is_new:  # a part of it would look like all of it
            with contextlib.suppress(OSError):
                path.unlink()
        raise StorageError(f"{where}: {error.strerror}") from error


def check_program(words: Sequence[str]) -> None:
    """See that a command can be started.

    Args:
        words: the command; none at all is right, and so is a placeholder in the program's name.

    Raises:
        UsageError: there is no such program.
    """
    if not words or "{" in words[0]:
        return
    program = words[0]
    path = Path(program)
    if "/" in program and path.is_file() and not os.access(path, os.X_OK):
        raise UsageError(f"{program} is not executable (chmod +x)")
    if shutil.which(program) is None:
        where = "" if "/" in program else " on PATH"
        hint = f"; for the file {program} write ./{program}" if where and path.is_file() else ""
        raise UsageError(f"there is no program {program or repr(program)}{where}{hint}")
