"""PgBouncer between an application and Postgres: a process of the run, on a port of its own.

Its settings are PgBouncer's own defaults, but for where it listens, whom it lets in, and its pool
mode. It lets in whoever has the password of the database, as Postgres does; if the URL has none,
it asks for none. It encrypts its connections to the server as the URL says (`sslmode`); those of
its clients stay on this machine, and are not encrypted.
"""

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from orchestrator.database_url import host_and_port, parameters
from orchestrator.errors import EnvironmentFailure, ProcessError
from orchestrator.platforms.local import accepts
from orchestrator.processes import ChildProcess, Processes
from orchestrator.root import without_root
from orchestrator.tcp_ports import PortAllocator

PROGRAM = "pgbouncer"
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
_ERROR = re.compile(r"\b(?:ERROR|FATAL)\b (.*)")
_HOST = "127.0.0.1"
_START_SECONDS = 20.0
_STOP_SECONDS = 5.0
_PAUSE_SECONDS = 0.02
_ENCRYPTION: Mapping[str, str] = {
    "sslmode": "server_tls_sslmode",
    "sslrootcert": "server_tls_ca_file",
    "sslcert": "server_tls_cert_file",
    "sslkey": "server_tls_key_file",
}
"""The parameters of a database URL that say how to encrypt, and PgBouncer's words for them."""
_TO_THE_SERVER = frozenset({"host", "port", "channel_binding", *_ENCRYPTION})
"""The parameters that hold between the pooler and the server, and not for its clients."""
_INSTALL = "install it (Debian: apt-get install pgbouncer), or set database.pooler_binary"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolerSettings:
    """How PgBouncer runs.

    Attributes:
        binary: its program; None: the one on `PATH` or in a folder of system programs.
        pool_mode: when a connection to the server is given to another client: after a
            `transaction`, a `session` or a `statement`.
        settings: further settings of the section `[pgbouncer]`.
    """

    binary: str | None = None
    pool_mode: str = "transaction"
    settings: Mapping[str, str] = field(default_factory=dict)


class PoolerRefusedError(EnvironmentFailure):
    """PgBouncer did not start with these settings."""


def find_pgbouncer(binary: str | None) -> Path:
    """The program.

    Raises:
        EnvironmentFailure: there is none.
    """
    if binary is not None:
        if not os.access(binary, os.X_OK) or not Path(binary).is_file():
            raise EnvironmentFailure(f"{binary} is no program that can be run")
        return Path(binary)
    path = os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_FOLDERS))
    found = shutil.which(PROGRAM, path=path)
    if found is None:
        raise EnvironmentFailure(f"there is no {PROGRAM} on this machine; {_INSTALL}")
    return Path(found)


class PgBouncer:
    """A pooler before one database server; an async context manager that stops it.

    Attributes:
        log: what it logs.
    """

    def __init__(
        self,
        processes: Processes,
        server_url: str,
        *,
        settings: PoolerSettings,
        log: Path,
    ) -> None:
        """Describe it; entering the block starts it.

        Args:
            processes: owns its process.
            server_url: a database of the server; the pooler leads to all of them.
            settings: how it runs.
            log: the file for its log.
        """
        self.log = log
        self._processes = processes
        self._server_url = server_url
        self._settings = settings
        self._program = Path()
        self._folder = Path()
        self._port = 0
        self._child: ChildProcess | None = None
        self._stack = AsyncExitStack()

    def url(self, database_url: str) -> str:
        """The URL by which an application reaches a database of the server through the pooler."""
        if not database_url:
            return database_url
        parts = urlsplit(database_url)
        login, at, _ = parts.netloc.rpartition("@")
        asked = parameters(database_url).items()
        own = urlencode([(key, value) for key, value in asked if key not in _TO_THE_SERVER])
        return urlunsplit(parts._replace(netloc=f"{login}{at}{_HOST}:{self._port}", query=own))

    async def __aenter__(self) -> Self:
        """Start it, and wait until it listens.

        Raises:
            EnvironmentFailure: it is not installed, or does not start.
        """
        self._program = find_pgbouncer(self._settings.binary)
        async with AsyncExitStack() as stack:
            ports = stack.enter_context(PortAllocator(_HOST))
            self._port = ports.take()
            self._folder = await stack.enter_async_context(
                self._processes.directory("hitless-pooler-")
            )
            self._write()
            stack.push_async_callback(self.stop)
            await self.start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def start(self) -> None:
        """Start it, on the same port as before.

        Raises:
            EnvironmentFailure: it does not start.
        """
        command = [*without_root(_INSTALL), str(self._program), str(self._folder / "pgbouncer.ini")]
        try:
            # It logs to its standard error.
            child = await self._processes.start(
                command,
                name=PROGRAM,
                log=self.log,
                env={"TZ": "UTC"},  # of the times in its log
                stop_signal=signal.SIGINT,
            )
        except ProcessError as error:
            raise EnvironmentFailure(f"{error}; {_INSTALL}") from error
        self._child = child
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await accepts(_HOST, self._port):
                    if child.returncode is not None:
                        raise PoolerRefusedError(
                            f"{PROGRAM} ended with status {child.returncode}: {_said(child)}"
                        )
                    await asyncio.sleep(_PAUSE_SECONDS)
        except TimeoutError:
            raise EnvironmentFailure(
                f"{PROGRAM} did not listen within {_START_SECONDS:g} s: {_said(child)}"
            ) from None

    async def stop(self) -> None:
        """Stop it (SIGINT), and kill it if it still waits for clients after some seconds."""
        if self._child is not None:
            await self._child.stop(_STOP_SECONDS)

    def _write(self) -> None:
        """Write its configuration. Values of the scenario come last, so they win."""
        server, asked = urlsplit(self._server_url), parameters(self._server_url)
        host, port = host_and_port(self._server_url)
        if len(set(port.split(","))) > 1:
            raise EnvironmentFailure(
                f"{PROGRAM} cannot lead to hosts with different ports ({port}); give a database "
                "URL with one port"
            )
        user, password = unquote(server.username or ""), unquote(server.password or "")
        users = self._folder / "users.txt"
        users.write_text(f"{_quoted(user)} {_quoted(password)}\n")
        settings = {
            "listen_addr": _HOST,
            "listen_port": str(self._port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256" if password else "trust",
            "auth_file": str(users),
            "admin_users": user,
            "pool_mode": self._settings.pool_mode,
            **{_ENCRYPTION[key]: asked[key] for key in _ENCRYPTION if key in asked},
            **self._settings.settings,
        }
        lines = ["[databases]", f"* = host={host or _HOST} port={port.partition(',')[0]}"]
        lines += ["[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
        (self._folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _said(child: ChildProcess) -> str:
    """The errors among its last lines, without their time and process."""
    lines = child.last_lines(5).splitlines()
    told = [found[1] for line in lines if (found := _ERROR.search(line))]
    return " | ".join(told or lines) or "(no output)"
