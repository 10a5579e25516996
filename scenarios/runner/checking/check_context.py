"""What all trials of a check share, and how the schema of one of their databases is changed."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from orchestrator.database_server import ExternalServer
from orchestrator.pooler import PgBouncer
from orchestrator.postgres import EmbeddedServer
from scenarios.check.observed import SchemaKey
from scenarios.check.trial_plan import Advance
from scenarios.recording.ndjson_command import NdjsonCommand
from scenarios.runner import release as application
from scenarios.runner.checking.journey_player import JourneyPlayer
from scenarios.runner.checking.planned_release import PlannedRelease
from scenarios.runner.checking.replica_client import Mailboxes
from scenarios.runner.environment import Environment
from scenarios.scenario.placeholders import run_values, without_processes
from scenarios.scenario.reader import Loaded
from scenarios.scenario.spec import DatabaseSpec

_HOST = "check.localhost"


@dataclass(slots=True, kw_only=True)
class CheckContext:
    """What all trials of a check share.

    Attributes:
        loaded: the scenario.
        release: its release.
        environment: where the processes run.
        server: the database server; None if the application has no database.
        player: plays the journeys.
        mails: what the application mails.
        smtp: the address of the users' mailbox.
        folder: for logs.
        template: waits for the template of the databases with a schema.
        pooler: stands between the replicas and the server; None if there is none.
        tell: told what happens.
        numbers: for unique names.
    """

    loaded: Loaded
    release: PlannedRelease
    environment: Environment
    server: EmbeddedServer | ExternalServer | None
    player: JourneyPlayer
    mails: Mailboxes
    smtp: str
    folder: Path
    template: Callable[[SchemaKey], Awaitable[str]]
    pooler: PgBouncer | None = None
    tell: Callable[[str], None] = lambda _: None
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    @asynccontextmanager
    async def database(self, schema: SchemaKey) -> AsyncIterator[str]:
        """A database with this schema; yields its URL, or nothing if there is no database.

        Raises:
            EnvironmentFailure: it cannot be made.
        """
        if self.server is None:
            yield ""
            return
        template = await self.template(schema)
        name = f"check_{next(self.numbers)}"
        async with self.server.database(name, template=template) as url:
            yield url

    def asking(self, key: str, url: str) -> str | NdjsonCommand | None:
        """The query or the command of `[integrity]` with this key; None if there is none.

        Args:
            key: `subjects` or `settled_when`.
            url: the database that a command asks.
        """
        spec = self.loaded.scenario.integrity
        value = None if spec is None else getattr(spec, key)
        if spec is None or not isinstance(value, tuple):
            return value
        scenario = self.loaded.scenario
        using = spec.using or application.next_deployed(scenario, len(scenario.release.steps))
        values = {**self.values(url, migrates=True), "replica_dir": str(self.folder)}
        command = application.command(self.loaded, value, using, values)
        return NdjsonCommand(
            key=f"integrity.{key}",
            processes=self.environment.processes,
            command=command.command,
            env=command.env,
            cwd=command.cwd,
            log=self.folder / f"{key}-{next(self.numbers)}.log",
            timeout_seconds=spec.settle_timeout_seconds,
        )

    def values(self, url: str, *, migrates: bool = False) -> dict[str, str]:
        """What fills the placeholders of the processes that use the database with this URL.

        Args:
            url: the database.
            migrates: whether it is for a command that migrates, which may go around the pooler.
        """
        database = self.loaded.scenario.database
        direct = migrates and database is not None and not database.migrate_through_pooler
        if self.pooler is not None and not direct:
            url = self.pooler.url(url)
        return {
            **without_processes(
                self.loaded.scenario.application.processes, self.loaded.scenario.services
            ),
            **run_values(database_url=url, smtp=self.smtp, address=_HOST),
        }


def values_of(context: CheckContext, url: str) -> dict[str, str]:
    """What fills the placeholders of a command that migrates the database with this URL."""
    return {**context.values(url, migrates=True), "replica_dir": str(context.folder)}


async def carry_out(
    context: CheckContext,
    url: str,
    advances: Sequence[Advance],
) -> None:
    """Change the schema of a database.

    Raises:
        MigrationFailed: a migration failed.
    """
    spec = context.loaded.scenario.database or DatabaseSpec()
    release = application.release(context.loaded, values_of(context, url))
    migrator = context.environment.migrator(
        url, spec, context.folder / "migrations.log", lock_timeout=spec.lock_timeout_seconds
    )
    await context.release.carry_out(advances, release.steps, migrator)
