"""What several runs share: the processes' guardian, and one Postgres server with its templates."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from orchestrator.database_server import ExternalServer
from orchestrator.errors import EnvironmentFailure
from orchestrator.journal import Journal
from orchestrator.migrations import YoyoMigrator
from orchestrator.postgres import EmbeddedServer
from orchestrator.processes import Processes
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.server_log import convert_log, parse_file
from scenarios.runner import release as application
from scenarios.runner.database import fill
from scenarios.runner.external_log import ExternalLog
from scenarios.scenario.paths import migrations_directory
from scenarios.scenario.placeholders import run_values
from scenarios.scenario.reader import Loaded
from scenarios.scenario.spec import DatabaseSpec


class Environment:
    """Where runs happen; made by `environment`.

    Attributes:
        processes: the owner of every process.
        private: a directory that is removed at the end.
        keep: whether it outlives a `kill -9` of this process.
    """

    def __init__(
        self,
        processes: Processes,
        private: Path,
        database_url: str | None,
        stack: AsyncExitStack,
        *,
        keep: bool = False,
    ) -> None:
        self.keep = keep
        self._external_logs: dict[Path, ExternalLog] = {}
        self.processes = processes
        self.private = private
        self._database_url = database_url
        self._stack = stack
        self._server: EmbeddedServer | ExternalServer | None = None
        self._starting = asyncio.Lock()
        self._databases = 0

    @property
    def has_server(self) -> bool:
        """Whether the Postgres server runs already."""
        return self._server is not None

    def own_processes(self) -> Processes:
        """An owner for one run's processes; with `keep` they carry the mark of all of it."""
        return Processes(keep=self.keep, mark=self.processes.mark if self.keep else None)

    async def server(self) -> EmbeddedServer | ExternalServer:
        """The Postgres server, started or looked at when it is first asked for.

        Raises:
            EnvironmentFailure: it does not start, or the given one does not answer.
        """
        async with self._starting:
            if self._server is None:
                server = (
                    EmbeddedServer(self.processes, log_directory=self.private)
                    if self._database_url is None
                    else ExternalServer(self._database_url)
                )
                await self._stack.enter_async_context(server)
                self._server = server
            return self._server

    @asynccontextmanager
    async def database(self, loaded: Loaded, spec: DatabaseSpec, log: Path) -> AsyncIterator[str]:
        """A database of its own as the scenario wants it before the run; yields its URL.

        Args:
            loaded: the scenario.
            spec: what its database is to be.
            log: what the output of the migrator is appended to.

        Raises:
            EnvironmentFailure: it cannot be made.
            MigrationFailed: its base cannot be applied.
        """
        server = await self.server()
        template = await self.template(loaded, spec, log)
        self._databases += 1
        name = f"run_{self._databases}"
        async with server.database(name, template=template) as url:
            yield url

    async def template(self, loaded: Loaded, spec: DatabaseSpec, log: Path) -> str:
        """The template of the databases that the scenario wants before a run.

        Args:
            loaded: the scenario.
            spec: what its database is to be.
            log: what the output of the migrator is appended to.

        Raises:
            EnvironmentFailure: it cannot be made.
            MigrationFailed: its base cannot be applied.
        """
        server = await self.server()
        using = spec.using or loaded.scenario.release.serving
        base = migrations_directory(spec.migrate) if isinstance(spec.migrate, str) else spec.migrate

        async def build(url: str) -> None:
            migrator = self.migrator(url, spec, log)
            with Journal() as journal:
                if isinstance(base, Path):
                    await migrator.apply(base, None, journal)
                elif base is not None:
                    step = application.command(loaded, base, using, self._values(url))
                    await migrator.run(step, journal)
            if spec.rows is not None and spec.rows.count:
                await fill(url, spec.rows)

        whose = "" if isinstance(base, Path) else f"{application.version(loaded, using)}"
        return await server.template(f"{base} {whose} {spec.rows}", build)

    def migrator(
        self, url: str, spec: DatabaseSpec, log: Path, *, lock_timeout: float | None = None
    ) -> YoyoMigrator:
        """What migrates the database with this URL.

        Args:
            url: the database.
            spec: its settings.
            log: what the output of the migrator is appended to.
            lock_timeout: how many seconds a statement waits for a lock; absent: without a limit.
        """
        return YoyoMigrator(
            self.processes,
            url,
            log=log,
            lock_timeout=lock_timeout,
            deadline=spec.migration_deadline_seconds,
            server_log=self.server_log,
        )

    def _values(self, url: str) -> dict[str, str]:
        """What fills the placeholders of a command that runs before there is anything else."""
        return {**run_values(database_url=url), "replica_dir": str(self.private)}

    @asynccontextmanager
    async def postgres_log(self, folder: Path, named: Path | None = None) -> AsyncIterator[None]:
        """Copy what the server logs inside the block into the folder, raw and as lines.

        Nothing is copied of a server of the user's own whose log nobody named.

        Args:
            folder: the run's.
            named: the log of the user's own server, as a file or a folder; the embedded server's is
                known.

        Raises:
            EnvironmentFailure: that is not the server's log, or it cannot be understood.
        """
        if self._database_url is not None and named is not None:
            async with _copied(await self._external(self._database_url, named), RunFolder(folder)):
                yield
            return
        start = self._log_size()
        try:
            yield
        finally:
            if isinstance(self._server, EmbeddedServer):
                with suppress(EnvironmentFailure):  # a server that is gone logs nothing more
                    await self._server.flush_log()
                run = RunFolder(folder)
                with self._server.log.open("rb") as file:
                    file.seek(start)
                    run.server_log.write_bytes(file.read())
                offset = time.monotonic_ns() - time.time_ns()
                convert_log(run.server_log, run.server_lines.path, offset)

    async def _external(self, url: str, path: Path) -> ExternalLog:
        """A log of the user's own server, with all in it that was logged until now."""
        log = self._external_logs.get(path)
        if log is None:
            log = ExternalLog(url, path)
            await log.check()
            self._external_logs[path] = log
        else:
            await log.flush()  # what an earlier run was told may still come
        return log

    @property
    def server_log(self) -> Path | None:
        """The log of the embedded server; None for a server of somebody else's."""
        return self._server.log if isinstance(self._server, EmbeddedServer) else None

    def _log_size(self) -> int:
        return self._server.log.stat().st_size if isinstance(self._server, EmbeddedServer) else 0


@asynccontextmanager
async def _copied(log: ExternalLog, run: RunFolder) -> AsyncIterator[None]:
    """Copy what is logged inside the block."""
    before = log.sizes()
    try:
        yield
    finally:
        with suppress(EnvironmentFailure):  # a server that is gone logs nothing more
            await log.flush()
        offset = time.monotonic_ns() - time.time_ns()
        written = log.since(before)
        run.server_log.write_bytes(b"".join(written.values()))
        with run.server_lines.recorder() as recorder:
            for path, data in written.items():
                for line in parse_file(path.suffix, data, offset, log.zone):
                    recorder.write(line)


@asynccontextmanager
async def environment(
    database_url: str | None = None, *, keep: bool = False
) -> AsyncIterator[Environment]:
    """An environment; everything that was started in it has ended when the block is left.

    Args:
        database_url: a Postgres server to use instead of an embedded one.
        keep: whether it outlives a `kill -9` of this process, for `hitless ctl` to finish.
    """
    async with (
        Processes(keep=keep) as processes,
        processes.directory("hitless-") as private,
        AsyncExitStack() as stack,
    ):
        yield Environment(processes, private, database_url, stack, keep=keep)
