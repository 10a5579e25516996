"""The load generator's process, as the harness sees it.

The messages are those of `scenarios.traffic.process.dialogue`. The generator aborts when its
standard input closes, so it never outlives the harness.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO

import msgspec

from orchestrator.processes import ChildProcess, Processes
from scenarios.errors import LoadError
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.tick import Tick
from scenarios.traffic.plan import Plan
from scenarios.traffic.process.dialogue import MESSAGES, Command, Finished, Ready, TickReport


class LoadGenerator:
    """A generator that is ready, and does what it is told.

    Attributes:
        smtp: `host:port` of the users' mailbox.
    """

    def __init__(
        self, child: ChildProcess, smtp: str, ticks: IO[bytes], on_tick: Callable[[Tick], None]
    ) -> None:
        self.smtp = smtp
        self._child = child
        self._ticks = ticks
        self._on_tick = on_tick

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group's."""
        return self._child.pid

    async def start(self, values: Mapping[str, str] = MappingProxyType({})) -> None:
        """Let the first arrival come now.

        Args:
            values: what fills the plan's `known` placeholders.
        """
        await self._send(Command(do="start", values=dict(values)))

    async def released(self) -> None:
        """Let those go on who wait for the end of the release."""
        await self._send(Command(do="released"))

    async def stop(self) -> None:
        """Let no further arrival come; what follows from earlier ones goes on."""
        await self._send(Command(do="stop"))

    async def finish(self) -> None:
        """Let it complete what is under way and exit."""
        await self._send(Command(do="finish"))

    async def _send(self, command: Command) -> None:
        try:
            self._child.stdin.write(msgspec.json.encode(command) + b"\n")
            await self._child.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _ended(self._child) from error

    async def listen(self) -> int:
        """Record its ticks until it has finished; returns how many requests it recorded.

        Raises:
            LoadError: it ended before that.
        """
        finished: int | None = None
        async for line in self._child.stdout:
            message = MESSAGES.decode(line)
            if isinstance(message, TickReport):
                tick = msgspec.convert(message, Tick, from_attributes=True)
                self._ticks.write(msgspec.json.encode(tick) + b"\n")
                self._on_tick(tick)
            elif isinstance(message, Finished):
                finished = message.requests
        code = await self._child.wait()
        if finished is None or code != 0:
            raise _ended(self._child)
        return finished


@asynccontextmanager
async def load_generator(
    processes: Processes,
    plan: Plan,
    *,
    python: str,
    folder: Path,
    on_tick: Callable[[Tick], None],
    ready_seconds: float = 30.0,
) -> AsyncIterator[LoadGenerator]:
    """Start the generator and wait until its mailbox listens; it has ended when the block is left.

    Args:
        processes: whose child it becomes.
        plan: what it shall do.
        python: the interpreter that runs it.
        folder: where its log and `ticks.ndjson` go.
        on_tick: called with each tick.
        ready_seconds: how long it may take to start.

    Raises:
        LoadError: it did not start.
    """
    child = await processes.start(
        [python, "-P", "-m", "scenarios.traffic"],
        name="the load generator",
        log=RunFolder(folder).load_log,
        dialogue=True,
    )
    try:
        child.stdin.write(msgspec.json.encode(plan) + b"\n")
        try:
            async with asyncio.timeout(ready_seconds):
                line = await child.stdout.readline()
        except TimeoutError as error:
            raise LoadError(f"the load generator is not ready after {ready_seconds:g} s") from error
        if not line:
            await child.wait()
            raise _ended(child)
        ready = MESSAGES.decode(line)
        if not isinstance(ready, Ready):
            raise LoadError(f"the load generator began with {line!r}")
        with RunFolder(folder).ticks.path.open("wb") as ticks:
            yield LoadGenerator(child, ready.smtp, ticks, on_tick)
    finally:
        await child.stop(grace=5.0)


def _ended(child: ChildProcess) -> LoadError:
    return LoadError(
        f"the load generator ended early (exit status {child.returncode}): {child.last_lines(1)}"
    )
