"""Start the programs of other people's routers, and let them check their configurations."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM, Signals

from orchestrator.errors import EnvironmentFailure, ProcessError
from orchestrator.processes import ChildProcess, Processes
from orchestrator.routers.capabilities import Kind
from orchestrator.routers.log_reader import LogReader
from orchestrator.routers.managed import ManagedRouter
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.settings import BackendState, RouterSettings
from orchestrator.tcp_ports import PortAllocator

_START_SECONDS = 30.0
_CHECK_SECONDS = 30.0
_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A router that runs; see `RunningRouter`."""

    kind: Kind
    version: str
    address: str
    router: ManagedRouter
    process: ChildProcess
    admin: None = None

    async def backends(self) -> list[BackendState]:
        """What it makes of its backends now."""
        return await self.router.backends()


async def output_of(
    command: Sequence[str], env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a command to its end; its exit status and all that it says.

    Raises:
        RouterConfigError: it cannot be run.
        EnvironmentFailure: it does not end.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=env,
        )
    except OSError as error:
        raise RouterConfigError(f"{command[0]}: {error.strerror}") from error
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError as error:
        raise EnvironmentFailure(
            f"{' '.join(command)}: no end within {_CHECK_SECONDS:g} s"
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode(errors="replace")


def refused(where: Path | str, name: str, words: str) -> RouterConfigError:
    """The error of a configuration that its router refuses, in the router's own words."""
    said = " | ".join(line.strip() for line in words.splitlines() if line.strip())
    return RouterConfigError(f"{where}: {name} refuses it: {said or '(it does not say why)'}")


@asynccontextmanager
async def listening(settings: RouterSettings) -> AsyncIterator[tuple[str, PortAllocator]]:
    """Where clients are to connect, and where more free ports come from."""
    host, _, port = settings.listen.rpartition(":")
    with PortAllocator(host.strip("[]")) as ports:
        yield f"{host}:{ports.take() if port == '0' else port}", ports


@asynccontextmanager
async def launched(
    processes: Processes,
    command: Sequence[str],
    *,
    name: str,
    log: Path,
    ready: Callable[[ChildProcess], Awaitable[bool]],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stop_signal: Signals = SIGTERM,
) -> AsyncIterator[ChildProcess]:
    """Run a router's process while the block runs.

    Args:
        processes: what owns it.
        command: the program and its arguments.
        name: what messages call it.
        log: the file that its output is appended to.
        ready: whether it serves by now.
        env: further environment variables.
        cwd: its working directory.
        stop_signal: what asks it to stop.

    Raises:
        EnvironmentFailure: it does not start.
    """
    try:
        child = await processes.start(
            command, name=name, log=log, env=env, cwd=cwd, stop_signal=stop_signal
        )
    except ProcessError as error:
        raise EnvironmentFailure(str(error)) from error
    try:
        until = time.monotonic() + _START_SECONDS
        while not await ready(child):
            if child.returncode is not None or time.monotonic() > until:
                last = " | ".join(child.last_lines(3).splitlines()) or "(it said nothing)"
                raise EnvironmentFailure(f"{name} does not start: {last}")
            await asyncio.sleep(_POLL_SECONDS)
        yield child
    finally:
        await child.stop(_GRACE_SECONDS)


async def connects(address: str) -> bool:
    """Whether something accepts connections there."""
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def translated(log: LogReader, target: Path | None) -> AsyncIterator[None]:
    """Translate the router's log when the block is left, which is after its process has ended.

    Raises:
        EnvironmentFailure: it cannot be read or written.
    """
    try:
        yield
    finally:
        if target is not None:
            try:
                await asyncio.to_thread(log.write, target)
            except FileNotFoundError:
                pass  # it had not begun to log
            except OSError as error:
                raise EnvironmentFailure(f"{target}: {error.strerror}") from error
