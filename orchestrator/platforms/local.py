"""The local platform: replicas are processes of this machine."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.adopted_process import AdoptedProcess
from orchestrator.errors import EnvironmentFailure, PlatformError, ProcessError
from orchestrator.http_probe import probe
from orchestrator.interfaces import ProbeResult, ReplicaExit
from orchestrator.model import Replica, Version
from orchestrator.placeholders import PlaceholderError, fill
from orchestrator.platforms.listening import wait_closed
from orchestrator.processes import ChildProcess, Processes
from orchestrator.tcp_ports import PortAllocator
from orchestrator.warm_up import warm_up

OnExit = Callable[[Replica, ReplicaExit], None]

REPLICA = "HITLESS_REPLICA"
"""The environment variable that has a replica's id."""

VERSION = "HITLESS_VERSION"
"""The environment variable that has the name of a replica's version."""

_LISTEN_PROBE_SECONDS = 0.02
_CLOSE_SECONDS = 0.5
_LOG_LINES = 5
_LOG_PART = 64 * 1024


class LocalPlatform:
    """Runs each replica as a process with a port of its own; an async context manager.

    The processes belong to the given `Processes` and end with it.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        log_directory: Path,
        replica_directories: Path | None = None,
        values: Mapping[str, str] | None = None,
        on_exit: OnExit | None = None,
        host: str = "127.0.0.1",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Make the platform; nothing is started yet.

        Args:
            processes: owns the replicas' processes.
            log_directory: the folder for the replicas' output, as `<replica id>.log`.
            replica_directories: the folder in which each replica gets a private folder,
                `{replica_dir}`; absent: replicas get none.
            values: further placeholders for commands and environments, such as `database_url`.
            on_exit: called when a replica ends that nobody stopped.
            host: the host that replicas listen on.
            env: environment variables of all replicas.
        """
        self._processes = processes
        self._logs = log_directory
        self._folders = replica_directories
        self._values = dict(values or {})
        self._on_exit = on_exit
        self._host = host
        self._env = dict(env or {})
        self._ports = PortAllocator(host)
        self._children: dict[str, ChildProcess | AdoptedProcess] = {}
        self._versions: dict[str, Version] = {}
        self._waiting_for: dict[str, str] = {}
        self._stopping: set[str] = set()
        self._watchers = asyncio.TaskGroup()
        self._watching: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._ports.__enter__()
        await self._watchers.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for watcher in self._watching:
            watcher.cancel()
        self._ports.__exit__(None, None, None)
        # The group must not see the error, or it would wrap it in an exception group.
        await self._watchers.__aexit__(None, None, None)

    async def start(self, version: Version, replica_id: str) -> Replica:
        """Start a replica on a free port.

        Raises:
            PlatformError: its command cannot be started, or has an unknown placeholder.
        """
        try:
            port = self._ports.take()
            values = {
                **self._values,
                "host": self._host,
                "port": str(port),
                "version": version.name,
                "replica_id": replica_id,
                "python": version.python or sys.executable,
            }
            if self._folders is not None:
                folder = self._folders / replica_id
                folder.mkdir(mode=0o700)
                values["replica_dir"] = str(folder)
            child = await self._processes.start(
                [fill(part, values) for part in version.command],
                name=f"replica {replica_id}",
                log=self._logs / f"{replica_id}.log",
                env={
                    # libpq names the replica's sessions by this, also in the server's log.
                    "PGAPPNAME": replica_id,
                    REPLICA: replica_id,
                    VERSION: version.name,
                    **self._env,
                    **{name: fill(value, values) for name, value in version.env.items()},
                },
                cwd=version.cwd,
                stop_signal=version.stop_signal,
                signal_group=version.signal_group,
                family=REPLICA if version.whole_family else None,
            )
        except (ProcessError, PlaceholderError, EnvironmentFailure, OSError) as error:
            raise PlatformError(f"{replica_id}: {error}") from error
        replica = Replica(
            id=replica_id,
            version=version.name,
            host=self._host,
            port=port,
            pid=child.pid,
            started_ns=child.started_ns,
        )
        self._take(replica, version, child)
        return replica

    def adopt(self, replica: Replica, version: Version) -> None:
        """Take over a replica that another process started, by its process id.

        Raises:
            PlatformError: it has ended.
        """
        try:
            log = self._logs / f"{replica.id}.log"
            child = AdoptedProcess(replica.pid, log=log, stop_signal=version.stop_signal)
        except ProcessError as error:
            raise PlatformError(f"{replica.id}: {error}") from error
        self._take(replica, version, child)

    def _take(
        self, replica: Replica, version: Version, child: ChildProcess | AdoptedProcess
    ) -> None:
        self._children[replica.id] = child
        self._versions[replica.id] = version
        watcher = self._watchers.create_task(self._watch(replica), name=f"watch {replica.id}")
        self._watching.add(watcher)
        watcher.add_done_callback(self._watching.discard)

    def is_running(self, replica: Replica) -> bool:
        """Whether the replica's process has not ended yet."""
        return self._child(replica).returncode is None

    async def wait_listening(self, replica: Replica) -> None:
        """Wait, without a limit, until the replica accepts connections and is warmed up.

        One that does not listen is ready when its log says so.
        """
        version = self._versions[replica.id]
        if version.listens:
            self._tell(replica, f"it does not listen on {replica.address}")
            while not await accepts(replica.host, replica.port):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(_LISTEN_PROBE_SECONDS)
        if version.ready_log is not None:
            self._tell(replica, f"no line of its log matches {version.ready_log!r}")
            await logged(self._logs / f"{replica.id}.log", version.ready_log)
        await warm_up(replica, version.warm_up, lambda why: self._tell(replica, why))

    def why_not_listening(self, replica: Replica) -> str:
        """What `wait_listening` still waits for."""
        return self._waiting_for.get(replica.id, f"it does not listen on {replica.address}")

    async def probe(self, replica: Replica, path: str, timeout: float) -> ProbeResult:  # noqa: ASYNC109 - a request's
        """Send the replica one GET on a connection of its own."""
        return await probe(replica.host, replica.port, path, timeout)

    async def wait_ended(self, replica: Replica) -> ReplicaExit:
        """Wait until the replica's process has ended."""
        child = self._child(replica)
        code = await child.wait()
        return ReplicaExit(reason=_reason(code), log=_last_lines(child))

    async def stop(self, replica: Replica, grace: float) -> ReplicaExit:
        """Send the version's stop signal, and kill the whole group after `grace` seconds."""
        child = self._child(replica)
        self._stopping.add(replica.id)
        closing = asyncio.ensure_future(wait_closed(replica.port))
        try:
            end = await child.stop(grace)
            # The last process of the group closes the port, unless one that left the group has it.
            await asyncio.wait([closing], timeout=_CLOSE_SECONDS)
            closed_ns = closing.result() if closing.done() else None
        finally:
            closing.cancel()
        asked = end.asked_ns <= end.ended_ns  # otherwise it had ended before
        return ReplicaExit(
            reason=_reason(end.code),
            log=_last_lines(child),
            killed=end.killed,
            seconds=end.seconds,
            exit_status=end.code,
            stop_asked_ns=end.asked_ns if asked else None,
            stopped_listening_ns=closed_ns if asked else None,
            ended_ns=end.ended_ns,
            children_ended_ns=end.group_ended_ns,
            left_behind=end.left_behind,
        )

    def send_signal(self, replica: Replica, number: signal.Signals, *, group: bool) -> None:
        """Send a signal to a replica that this run has started: to it alone, or to its group."""
        child = self._child(replica)
        if isinstance(child, ChildProcess):
            child.signal_to(number, group=group)

    def kill_family(self, replica: Replica) -> None:
        """Kill a replica of this run with all that it has started, also in groups of their own."""
        child = self._child(replica)
        if isinstance(child, ChildProcess):
            child.kill()
            for process in child.family():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    async def _watch(self, replica: Replica) -> None:
        ended = await self.wait_ended(replica)
        if replica.id not in self._stopping and self._on_exit is not None:
            self._on_exit(replica, ended)

    def _tell(self, replica: Replica, waiting_for: str) -> None:
        self._waiting_for[replica.id] = waiting_for

    def _child(self, replica: Replica) -> ChildProcess | AdoptedProcess:
        try:
            return self._children[replica.id]
        except KeyError:
            raise PlatformError(f"{replica.id} was not started here") from None


async def logged(log: Path, pattern: str) -> None:
    """Wait, without a limit, until a line of a log matches a regular expression.

    Each line is read once, and a part of the log at a time: a program may log without end.
    """
    wanted, offset, rest = re.compile(pattern), 0, b""
    while True:
        data = _part(log, offset)
        offset += len(data)
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[-_LOG_PART:]
        if any(wanted.search(line.decode(errors="replace")) for line in (*lines, rest)):
            return
        await asyncio.sleep(0 if data else _LISTEN_PROBE_SECONDS)


def _part(log: Path, offset: int) -> bytes:
    """The next part of a log; empty where there is none yet."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            return file.read(_LOG_PART)
    except FileNotFoundError:
        return b""


async def accepts(host: str, port: int) -> bool:
    """Whether something accepts a connection on this address."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):  # the replica can end or reset the connection at any moment
        await writer.wait_closed()
    return True


def _reason(code: int | None) -> str:
    if code is None:
        return "has ended"
    return f"was ended by signal {-code}" if code < 0 else f"exited with status {code}"


def _last_lines(child: ChildProcess | AdoptedProcess) -> tuple[str, ...]:
    return tuple(child.last_lines(_LOG_LINES).splitlines())
