"""`hitless ctl`: steers a run that is under way."""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from orchestrator.control_socket import CommandResponse, ControlSocketError, send_command
from orchestrator.errors import RollbackRefused
from orchestrator.migrations import YoyoMigrator
from orchestrator.recovery import PLAN, recovering
from scenarios.errors import UsageError, near
from scenarios.evidence.run_folder import RunFolder
from scenarios.runner.operator_commands import COMMANDS

# What can be asked for when the orchestrator is gone.
_LEFT = ("resume", "retry", "undo", "abort", "finish")


class _Place(msgspec.Struct, frozen=True):
    socket: str
    pid: int


def ctl_command(
    run: Annotated[Path, typer.Argument(help="The folder of the run.")],
    wish: Annotated[str, typer.Argument(help=f"What to do: {', '.join(COMMANDS)}.")],
) -> int:
    """Pause, resume, promote, abort, retry or undo the release of a run.

    `promote` ends the current pause; `promote-full` skips all further pauses and analyses.
    `abort` shifts the traffic back to the previous version, at the pace of the rollout. `retry`
    and `undo` work after a release, while the run settles or waits (`hitless run --hold`).

    These also work after the run was killed (`kill -9`), if it was started with `--keep`: `resume`
    and `retry` finish the release; `abort` returns all traffic to the version that was serving when
    the run was killed; `undo` deploys the version before that one; `finish` stops all replicas.
    Migrations are not rolled back then, because hitless cannot rehearse the rollback first.
    """
    if wish not in COMMANDS:
        raise UsageError(f"unknown action {wish!r}; {near(wish, COMMANDS)}")
    try:
        place = msgspec.json.decode(RunFolder(run).control.read_bytes(), type=_Place)
    except OSError as error:
        raise UsageError(f"{run}: no run is active in this folder ({error.strerror})") from error
    try:
        said = asyncio.run(send_command(Path(place.socket), wish))
    except ControlSocketError:
        if not (run / PLAN).is_file():
            raise
        said = CommandResponse(*asyncio.run(_recover(run, wish)))
    Console().print(Text(said.message, "" if said.ok else "red"))
    return 0 if said.ok else 1


async def _recover(run: Path, wish: str) -> tuple[bool, str]:
    """Do it in the place of an orchestrator that was killed."""
    if wish not in _LEFT:
        raise UsageError(f"{run}: its orchestrator is gone, so only these work: {', '.join(_LEFT)}")
    async with recovering(run) as recovery:
        if wish == "abort":
            try:
                return True, await recovery.abort()
            except RollbackRefused as refused:
                return False, f"abort: {refused}"
        if wish == "finish":
            RunFolder(run).control.unlink(missing_ok=True)
            return True, await recovery.finish()
        url = recovery.plan.values.get("database_url", "")
        migrator = YoyoMigrator(recovery.processes, url, log=RunFolder(run).migrator_log)
        again = recovery.undo if wish == "undo" else recovery.resume
        result = await again(migrator)
        done = result.outcome == "completed"
        return done, f"{wish}: {result.outcome}" + (f": {result.reason}" if result.reason else "")
