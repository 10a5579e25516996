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
from scenarios.evidence.folder import WHEEL
from scenarios.runner.steering import WISHES

# What can be asked for when the orchestrator is gone.
_LEFT = ("resume", "retry", "undo", "abort", "finish")


class _Place(msgspec.Struct, frozen=True):
    socket: str
    pid: int


def ctl_command(
    run: Annotated[Path, typer.Argument(help="The folder of a run that is under way.")],
    wish: Annotated[str, typer.Argument(help=f"One of: {', '.join(WISHES)}.")],
) -> int:
    """Pause, resume, promote, abort, retry or undo a release, while its run is on.

    `promote` ends the pause that waits; `promote-full` skips all further pauses and analyses.
    `abort` gives the version before its traffic back, at the pace at which it was taken. `retry`
    and `undo` come after a release, while its run settles, or holds (`hitless run --hold`).

    When the run was killed (`kill -9`) and had been told to `--keep` its fleet, `resume` and
    `retry` finish the release, `abort` lets the version serve again that served when it was
    killed, `undo` deploys the one before that, and `finish` ends the fleet. Migrations are not
    taken back then, for there is nowhere to try that first.
    """
    if wish not in WISHES:
        raise UsageError(f"unknown wish {wish!r}; {near(wish, WISHES)}")
    try:
        place = msgspec.json.decode((run / WHEEL).read_bytes(), type=_Place)
    except OSError as error:
        raise UsageError(f"{run}: no run is under way there ({error.strerror})") from error
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
        raise UsageError(f"{run}: its orchestrator is gone; there are: {', '.join(_LEFT)}")
    async with recovering(run) as recovery:
        if wish == "abort":
            try:
                return True, await recovery.abort()
            except RollbackRefused as refused:
                return False, f"abort: {refused}"
        if wish == "finish":
            (run / WHEEL).unlink(missing_ok=True)
            return True, await recovery.finish()
        url = recovery.plan.values.get("database_url", "")
        migrator = YoyoMigrator(recovery.processes, url, log=run / "migrator.log")
        again = recovery.undo if wish == "undo" else recovery.resume
        result = await again(migrator)
        done = result.outcome == "completed"
        return done, f"{wish}: {result.outcome}" + (f": {result.reason}" if result.reason else "")
