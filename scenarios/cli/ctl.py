"""`hitless ctl`: sends a command to a run."""

import asyncio
import shlex
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from orchestrator.control_socket import CommandResponse, ControlSocketError, send_command
from orchestrator.errors import RollbackRefused
from orchestrator.migrations import YoyoMigrator
from orchestrator.recovery import PLAN, recovering
from scenarios.cli.console import output
from scenarios.cli.options import JsonOption
from scenarios.cli.program import program
from scenarios.errors import UsageError, near
from scenarios.evidence.control_file import ControlFile
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.run_status import RunStatus
from scenarios.reports.live.status import status_lines
from scenarios.runner.operator_commands import COMMANDS, STATUS_JSON

# The commands that need no orchestrator: they also work after it was killed.
_RECOVERY_COMMANDS = ("resume", "retry", "undo", "abort", "finish")


def ctl_command(
    run: Annotated[Path, typer.Argument(help="The folder of the run.")],
    command: Annotated[str, typer.Argument(help=f"What to do: {', '.join(COMMANDS)}.")],
    as_json: JsonOption = False,
) -> int:
    """Pause, resume, promote, abort, retry or undo the release of a run.

    `promote` ends the current pause; `promote-full` skips all further pauses and analyses.
    `abort` shifts the traffic back to the previous version, at the pace of the rollout. `retry`
    and `undo` work after a release, while the run settles or waits (`hitless run --hold`).
    `status` shows the release, its step, its next pause and the fleet.

    These also work after the run was killed (`kill -9`), if it was started with `--keep`: `resume`
    and `retry` finish the release; `abort` returns all traffic to the version that was serving when
    the run was killed; `undo` deploys the version before that one; `finish` stops all replicas.
    Migrations are not rolled back then, because hitless cannot rehearse the rollback first.
    """
    if command not in COMMANDS:
        raise UsageError(f"unknown command {command!r}; {near(command, COMMANDS)}")
    try:
        control = msgspec.json.decode(RunFolder(run).control.read_bytes(), type=ControlFile)
    except OSError as error:
        raise UsageError(f"{run}: no run is active in this folder ({error.strerror})") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{RunFolder(run).control} is damaged: {error}") from error
    try:
        sent = STATUS_JSON if command == "status" else command
        response = asyncio.run(send_command(Path(control.socket), sent))
    except ControlSocketError:
        if not (run / PLAN).is_file():
            raise
        response = CommandResponse(*asyncio.run(_recover(run, command)))
    if command == "status" and response.ok:
        told = msgspec.json.decode(response.message, type=RunStatus)
        _show_status(told, run, as_json=as_json)
    elif as_json:
        _write_json(response)
    else:
        output().print(Text(response.message, "" if response.ok else "red"), soft_wrap=True)
    return 0 if response.ok else 1


def _show_status(status: RunStatus, run: Path, *, as_json: bool) -> None:
    if as_json:
        _write_json(status)
        return
    console = output(highlight=False)
    for line in status_lines(status, f"{program()} ctl {shlex.quote(str(run))}"):
        console.print(Text(line), soft_wrap=True)


def _write_json(what: msgspec.Struct) -> None:
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(what), indent=2) + b"\n")


async def _recover(run: Path, command: str) -> tuple[bool, str]:
    """Carry the command out in place of an orchestrator that was killed."""
    if command not in _RECOVERY_COMMANDS:
        raise UsageError(
            f"{run}: its orchestrator is gone, so only these work: {', '.join(_RECOVERY_COMMANDS)}"
        )
    async with recovering(run) as recovery:
        if command == "abort":
            try:
                return True, await recovery.abort()
            except RollbackRefused as refused:
                return False, f"abort: {refused}"
        if command == "finish":
            RunFolder(run).control.unlink(missing_ok=True)
            return True, await recovery.finish()
        url = recovery.plan.values.get("database_url", "")
        migrator = YoyoMigrator(recovery.processes, url, log=RunFolder(run).migrator_log)
        carry_on = recovery.undo if command == "undo" else recovery.resume
        result = await carry_on(migrator)
        reason = f": {result.reason}" if result.reason else ""
        return result.outcome == "completed", f"{command}: {result.outcome}{reason}"
