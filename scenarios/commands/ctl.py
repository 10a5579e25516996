"""`hitless ctl`: steers a run that is under way."""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from orchestrator.wheel import ask_wheel
from scenarios.evidence.folder import WHEEL
from scenarios.mistakes import near
from scenarios.overrides import UsageError
from scenarios.steering import WISHES


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
    """
    if wish not in WISHES:
        raise UsageError(f"unknown wish {wish!r}; {near(wish, WISHES)}")
    try:
        place = msgspec.json.decode((run / WHEEL).read_bytes(), type=_Place)
    except OSError as error:
        raise UsageError(f"{run}: no run is under way there ({error.strerror})") from error
    said = asyncio.run(ask_wheel(Path(place.socket), wish))
    Console().print(Text(said.said, "" if said.ok else "red"))
    return 0 if said.ok else 1
