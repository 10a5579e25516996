"""A server with the databases of runs, and the kind that the user gives by its URL.

Each server creates databases from templates. A template has a schema and its rows. It is built once
for its key, and is cloned for each run, which is much faster than building it again. The other kind
of server is the embedded one (`orchestrator/postgres.py`).
"""

import asyncio
import contextlib
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit, urlunsplit

from orchestrator.database import run_sql
from orchestrator.database_url import is_database_url, redacted
from orchestrator.errors import EnvironmentFailure

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class DatabaseServer:
    """What both kinds of server share: named databases, and templates."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._base_url = ""
        self._created: list[str] = []
        self._templates: dict[str, str] = {}
        self._building = asyncio.Lock()

    def url(self, name: str) -> str:
        """Return the URL of one of our databases.

        Raises:
            ValueError: this is not a valid name.
        """
        return _with_database(self._base_url, self._database(name))

    async def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create a database, empty or as a copy of a template, and return its URL.

        Args:
            name: lower-case letters, digits and underscores.
            template: what `template` returned.

        Raises:
            EnvironmentFailure: the server refuses or does not answer.
        """
        statement = f"CREATE DATABASE {self._database(name)}"
        if template is not None:
            statement += f" TEMPLATE {self._database(template)}"
        await self._administer(statement)
        self._created.append(name)
        return self.url(name)

    async def drop_database(self, name: str) -> None:
        """Drop a database and end its sessions; fine if it does not exist.

        Raises:
            EnvironmentFailure: the server refuses or does not answer.
        """
        await self._administer(f"DROP DATABASE IF EXISTS {self._database(name)} WITH (FORCE)")
        with contextlib.suppress(ValueError):
            self._created.remove(name)

    @contextlib.asynccontextmanager
    async def database(self, name: str, *, template: str | None = None) -> AsyncIterator[str]:
        """A database for as long as the context is open; yields its URL.

        Args:
            name: as for `create_database`.
            template: likewise.

        Raises:
            EnvironmentFailure: the server refuses or does not answer.
        """
        url = await self.create_database(name, template=template)
        try:
            yield url
        except BaseException:
            # What went wrong inside is the news, not that the server is gone, too.
            with contextlib.suppress(EnvironmentFailure):
                await self.drop_database(name)
            raise
        await self.drop_database(name)

    async def template(
        self, key: str, build: Callable[[str], Awaitable[None]], *, base: str | None = None
    ) -> str:
        """Return the name of the template for the key, building it the first time.

        Args:
            key: everything that its contents depend on, such as migrations and number of rows.
            build: gets the URL of a database, fills it, and leaves no connection open.
            base: another template, of which the database is a copy; absent: it is empty.

        Raises:
            EnvironmentFailure: the server refuses or does not answer.
        """
        async with self._building:
            if key not in self._templates:
                name = f"template_{hashlib.sha256(key.encode()).hexdigest()[:12]}"
                url = await self.create_database(name, template=base)
                try:
                    await build(url)
                    # So each clone has statistics, and no autovacuum that is due.
                    await run_sql(url, ["VACUUM (ANALYZE)"])
                    await self._administer(
                        f"ALTER DATABASE {self._database(name)} ALLOW_CONNECTIONS false"
                    )
                except BaseException:
                    await self.drop_database(name)
                    raise
                self._templates[key] = name
            return self._templates[key]

    def _database(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a valid name for a database: {name!r}")
        return self._prefix + name

    async def _administer(self, statement: str) -> None:
        await run_sql(self._base_url, [statement])


class ExternalServer(DatabaseServer):
    """The user's server; our databases on it begin with `hitless_` and are dropped at the end."""

    def __init__(self, url: str) -> None:
        """Make the server; entering the block checks that it answers.

        Args:
            url: `postgresql://user:password@host:port/database`; this user must be allowed to
                create databases; the database itself is only used to connect.
        """
        super().__init__(prefix=f"hitless_{secrets.token_hex(4)}_")
        self._base_url = url

    async def __aenter__(self) -> Self:
        """Check that the server answers.

        Raises:
            EnvironmentFailure: it does not answer, or the URL is not a database URL.
        """
        if not is_database_url(self._base_url):
            raise EnvironmentFailure(
                f"not a database URL: {redacted(self._base_url)}; "
                "it should look like postgresql://user:password@host:5432/database"
            )
        await self._administer("SELECT 1")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name in tuple(self._created):
            await self.drop_database(name)


def _with_database(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{quote(database)}"))
