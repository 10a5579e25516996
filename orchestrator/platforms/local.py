"""Replicas as processes of this machine."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.asking import ask
from orchestrator.errors import EnvironmentFailure, PlatformError
from orchestrator.model import Replica, Version
from orchestrator.placeholders import PlaceholderError, fill
from orchestrator.platform import Answer, Ended
from orchestrator.ports import Ports
from orchestrator.processes import Adopted, Child, ProcessError, Processes
from orchestrator.warm_up import warm_up

OnExit = Callable[[Replica, Ended], None]

REPLICA = "HITLESS_REPLICA"
"""The environment variable that holds a replica's id."""

_LISTEN_PROBE_SECONDS = 0.02
_LOG_LINES = 5


class LocalPlatform:
    """Each replica is a process on a port of its own; an async context manager.

    The replicas' processes belong to the `Processes` that it is given, and end with that.
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
    ) -> None:
        """Describe the platform.

        Args:
            processes: what owns the replicas' processes.
            log_directory: where each replica's output goes, as `<replica id>.log`.
            replica_directories: where each replica gets a private folder, `{replica_dir}`, of its
                own id; absent: there is none.
            values: further placeholders of commands and environments, such as `database_url`.
            on_exit: called when a replica ends that nobody told to.
            host: where the replicas listen.
        """
        self._processes = processes
        self._logs = log_directory
        self._folders = replica_directories
        self._values = dict(values or {})
        self._on_exit = on_exit
        self._host = host
        self._ports = Ports(host)
        self._children: dict[str, Child | Adopted] = {}
        self._warm_ups: dict[str, tuple[str, ...]] = {}
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
        # The group is not told of the error: it would wrap it in one of its own.
        await self._watchers.__aexit__(None, None, None)

    async def start(self, version: Version, replica_id: str) -> Replica:
        """Start a replica on a free port.

        Raises:
            PlatformError: its command cannot be started, or holds an unknown placeholder.
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
                    # libpq's name for its sessions: the server's log then says whose they are.
                    "PGAPPNAME": replica_id,
                    REPLICA: replica_id,
                    **{name: fill(value, values) for name, value in version.env.items()},
                },
                cwd=version.cwd,
                stop_signal=version.stop_signal,
                signal_group=version.signal_group,
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
        """Take on a replica that somebody else started, by its process id.

        Raises:
            PlatformError: it has ended.
        """
        try:
            log = self._logs / f"{replica.id}.log"
            child = Adopted(replica.pid, log=log, stop_signal=version.stop_signal)
        except ProcessError as error:
            raise PlatformError(f"{replica.id}: {error}") from error
        self._take(replica, version, child)

    def _take(self, replica: Replica, version: Version, child: Child | Adopted) -> None:
        self._children[replica.id] = child
        self._warm_ups[replica.id] = version.warm_up
        watcher = self._watchers.create_task(self._watch(replica), name=f"watch {replica.id}")
        self._watching.add(watcher)
        watcher.add_done_callback(self._watching.discard)

    def is_running(self, replica: Replica) -> bool:
        """Whether the replica's process has not ended yet."""
        return self._child(replica).returncode is None

    async def wait_listening(self, replica: Replica) -> None:
        """Wait until the replica accepts connections and is warm; for ever, if it never is."""
        self._tell(replica, f"it does not listen on {replica.address}")
        while not await _accepts(replica.host, replica.port):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(_LISTEN_PROBE_SECONDS)
        await warm_up(
            replica, self._warm_ups.get(replica.id, ()), lambda why: self._tell(replica, why)
        )

    def why_not_listening(self, replica: Replica) -> str:
        """What `wait_listening` still waits for."""
        return self._waiting_for.get(replica.id, f"it does not listen on {replica.address}")

    async def ask(self, replica: Replica, path: str, timeout: float) -> Answer:  # noqa: ASYNC109 - a request's
        """Send the replica one GET on a connection of its own."""
        return await ask(replica.host, replica.port, path, timeout)

    async def wait_ended(self, replica: Replica) -> Ended:
        """Wait until the replica's process has ended."""
        child = self._child(replica)
        code = await child.wait()
        return Ended(_reason(code), _last_lines(child))

    async def stop(self, replica: Replica, grace: float) -> Ended:
        """Send the version's stop signal, and kill the whole group after `grace` seconds."""
        child = self._child(replica)
        self._stopping.add(replica.id)
        end = await child.stop(grace)
        return Ended(_reason(end.code), _last_lines(child), end.killed, end.seconds)

    async def _watch(self, replica: Replica) -> None:
        ended = await self.wait_ended(replica)
        if replica.id not in self._stopping and self._on_exit is not None:
            self._on_exit(replica, ended)

    def _tell(self, replica: Replica, waiting_for: str) -> None:
        self._waiting_for[replica.id] = waiting_for

    def _child(self, replica: Replica) -> Child | Adopted:
        try:
            return self._children[replica.id]
        except KeyError:
            raise PlatformError(f"{replica.id} was not started here") from None


async def _accepts(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):  # the replica may end, or reset us, at any moment
        await writer.wait_closed()
    return True


def _reason(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"exited with status {code}"


def _last_lines(child: Child | Adopted) -> tuple[str, ...]:
    return tuple(child.last_lines(_LOG_LINES).splitlines())
