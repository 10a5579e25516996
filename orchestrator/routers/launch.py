"""Start the programs of other people's routers, and let them check their configurations.

An adapter says which command it is, when the router is ready and what steers it (`running`). How
the program is found and asked for its version, how a refused configuration becomes one line, and
how the process and its log begin and end is the same for all of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM, Signals

from orchestrator.errors import EnvironmentFailure, ProcessError, RouterError
from orchestrator.processes import ChildProcess, Processes
from orchestrator.routers.binaries import Program, find
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


@dataclass(frozen=True, slots=True)
class Installed:
    """A router's program on this machine.

    Attributes:
        kind: which router.
        path: the program.
        version: its name and version, such as `HAProxy 2.8.25`.
    """

    kind: Kind
    path: str
    version: str


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


async def installed(program: Program, settings: RouterSettings) -> Installed:
    """Find a router's program, and ask it for its version.

    Raises:
        RouterConfigError: it is not there, or it is another program.
    """
    path = find(program, settings.binary)
    _, said = await _output_of([str(path), program.asks_version])
    found = program.says_version.search(said)
    if found is None:
        first = said.strip().partition("\n")[0]
        raise RouterConfigError(f"{path}: this is not {program.title}: {first}")
    return Installed(program.name, str(path), f"{program.title} {found[1]}")


async def need_accepted(
    command: Sequence[str],
    *,
    config: Path,
    name: str,
    words: Callable[[str], str],
    env: Mapping[str, str] | None = None,
) -> None:
    """Let a router check a configuration.

    Args:
        command: what checks it; an exit status above 0 means that it is refused.
        config: the user's own file.
        name: the router's.
        words: takes the reason out of all that the command says.
        env: the environment of the command.

    Raises:
        RouterConfigError: the router refuses it.
        EnvironmentFailure: the command does not end.
    """
    status, said = await _output_of(command, env)
    if status:
        raise refused(config, name, words(said))


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
async def running(
    processes: Processes,
    program: Installed,
    arguments: Sequence[str],
    *,
    settings: RouterSettings,
    address: str,
    log: LogReader,
    ready: Callable[[ChildProcess], Awaitable[bool]],
    router: Callable[[ChildProcess], ManagedRouter],
    env: Mapping[str, str] | None = None,
    stop_signal: Signals = SIGTERM,
) -> AsyncIterator[Launched]:
    """Run a router while the block runs, and translate its log when it has ended.

    Args:
        processes: what owns its process.
        program: it.
        arguments: its arguments.
        settings: what it is started with. Its output goes to `KIND.log` among the logs.
        address: where clients connect.
        log: its access log.
        ready: whether it serves by now.
        router: makes what steers it, once it is ready.
        env: further environment variables.
        stop_signal: what asks it to stop.

    Raises:
        EnvironmentFailure: it does not start, or its log cannot be translated.
    """
    output = settings.logs / f"{program.kind}.log"
    async with _translated(log, settings.access_log):
        try:
            child = await processes.start(
                [program.path, *arguments],
                name=program.kind,
                log=output,
                env=env,
                stop_signal=stop_signal,
            )
        except ProcessError as error:
            raise EnvironmentFailure(str(error)) from error
        try:
            await _until_ready(child, program.kind, ready)
            yield Launched(
                kind=program.kind,
                version=program.version,
                address=address,
                router=router(child),
                process=child,
            )
        finally:
            await child.stop(_GRACE_SECONDS)


async def answers(question: Awaitable[object]) -> bool:
    """Whether a router answers a question by now."""
    try:
        await question
    except RouterError:
        return False
    return True


async def connects(address: str) -> bool:
    """Whether something accepts connections there."""
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError:
        return False
    writer.close()
    return True


async def _until_ready(
    child: ChildProcess, name: str, ready: Callable[[ChildProcess], Awaitable[bool]]
) -> None:
    until = time.monotonic() + _START_SECONDS
    while not await ready(child):
        if child.returncode is not None or time.monotonic() > until:
            last = " | ".join(child.last_lines(3).splitlines()) or "(it said nothing)"
            raise EnvironmentFailure(f"{name} does not start: {last}")
        await asyncio.sleep(_POLL_SECONDS)


async def _output_of(
    command: Sequence[str], env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a command to its end; its exit status and all that it says."""
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


@asynccontextmanager
async def _translated(log: LogReader, target: Path | None) -> AsyncIterator[None]:
    """Translate the router's log when the block is left, which is after its process has ended."""
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
