"""Commands that deploy: run to their ends, or until the run is cancelled."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from orchestrator.errors import EnvironmentFailure

_STOP_SECONDS = 10.0
_LAST_LINES = 3


async def run_command(command: Sequence[str], log: Path, cwd: Path | None = None) -> str | None:
    """Run a command that deploys; None if it succeeded, else why not.

    What it leaves running is the deployment itself, so nothing of it is ended here.

    Args:
        command: the program and its arguments.
        log: what its output is appended to.
        cwd: where it runs.

    Raises:
        EnvironmentFailure: it cannot be started.
    """
    with log.open("ab") as output:
        code = await _run(command, output, output, cwd)
    if code == 0:
        return None
    last = " | ".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
    return f"{command[0]} {_how(code)}: {last or '(it printed nothing)'}"


async def printed_by(command: Sequence[str], printed: Path, log: Path, cwd: Path) -> str | None:
    """Run a command whose output is wanted; None if it succeeded, else why not.

    Args:
        command: the program and its arguments.
        printed: the file that gets what it prints.
        log: what its messages (standard error) are appended to.
        cwd: where it runs.

    Raises:
        EnvironmentFailure: it cannot be started.
    """
    with printed.open("wb") as output, log.open("ab") as messages:
        code = await _run(command, output, messages, cwd)
    if code == 0:
        return None
    last = " | ".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
    return f"{command[0]} {_how(code)}: {last or '(it printed nothing)'}"


async def _run(
    command: Sequence[str], output: IO[bytes], messages: IO[bytes], cwd: Path | None
) -> int:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=messages,
            cwd=cwd,
            start_new_session=True,  # Ctrl-C reaches hitless alone, which passes it on
        )
    except OSError as error:
        raise EnvironmentFailure(f"{command[0]} cannot be started: {error}") from error
    try:
        return await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        raise


def _how(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
