"""A real Postgres, one database a schema state, and a real mail server."""

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg
import psycopg
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from yoyo import get_backend, read_migrations

from newsletter_app.app import serving
from newsletter_app.settings import Settings
from newsletter_app.versions import load

# Whether every mail that is owed has been accepted: what a scenario may wait for.
DRAINED = (
    "SELECT NOT EXISTS (SELECT FROM subscription_tokens t JOIN subscriptions s"
    " ON s.id = t.subscriber_id WHERE t.sent_at IS NULL AND s.status = 'pending_confirmation')"
)

MIGRATIONS = Path(sys.modules["newsletter_app"].__path__[0]) / "migrations"

EXPANDED = [
    "expand_contract.0001.status-nullable",
    "expand_contract.0002.tokens",
    "expand_contract.0003.tokens-foreign-key",
    "expand_contract.0004.tokens-foreign-key-valid",
]
STATES: dict[str, list[str]] = {
    "S0": [],
    "S0+tokens": EXPANDED[1:],
    "S1": EXPANDED[:1],
    "S1+tokens": EXPANDED,
    "S2": ["big_bang.0001.status"],
    "S3": ["big_bang.0001.status", "big_bang.0002.tokens"],
    "SD": ["with_default.0001.status"],
    "SD+tokens": ["with_default.0001.status", "with_default.0002.tokens"],
}
"""Which migrations after `base` lead to each schema state of the compatibility table."""


@dataclass
class Server:
    """The session's Postgres, and the databases of these tests in it."""

    any_database: str
    templates: set[str] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str) -> str:
        return urlunsplit(urlsplit(self.any_database)._replace(path=f"/{database}"))

    def create(self, template: str = "template0") -> str:
        """A new database; returns its URL."""
        name = f"test_{next(self.numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE {name} TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, url: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def in_state(self, state: str) -> str:
        """A new database with the schema of that state, cloned from one that yoyo made."""
        if state not in self.templates:
            with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{state}"')
            url = self.url(state)
            migrate(url, "base")
            for migration_id in STATES[state]:
                migrate(url, migration_id.split(".")[0], only=[migration_id])
            self.templates.add(state)
        return self.create(state)


def migrate(
    url: str, folder: str, *, only: Sequence[str] | None = None, rollback: bool = False
) -> list[str]:
    """Apply or roll back what is due of a folder, as yoyo does it; returns the ids."""
    backend = get_backend(url.replace("postgresql://", "postgresql+psycopg://"))
    done = []
    try:
        migrations = read_migrations(str(MIGRATIONS / folder))
        if only is not None:
            migrations = migrations.filter(lambda migration: migration.id in only)
        with backend.lock():
            if rollback:
                for migration in backend.to_rollback(migrations):
                    backend.rollback_one(migration)
                    done.append(migration.id)
            else:
                for migration in backend.to_apply(migrations):
                    backend.apply_one(migration)
                    done.append(migration.id)
    finally:
        backend.connection.close()
    return done


@pytest.fixture(scope="session")
def postgres(postgres_url: str) -> Server:
    return Server(postgres_url)


@dataclass
class Mailbox:
    """A real SMTP server that keeps what it accepts."""

    port: int = 0
    refusals: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None
    hang_up: bool = False
    arrived: asyncio.Queue[EmailMessage] = field(default_factory=asyncio.Queue)
    in_data: asyncio.Event = field(default_factory=asyncio.Event)
    sessions: set[Session] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, _: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.hang_up:
            self.hang_up = False
            assert server.transport
            server.transport.close()
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.sessions.add(session)
        self.in_data.set()
        if self.hold:
            await self.hold.wait()
        if self.refusals:
            return self.refusals.pop(0)
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=default)
        message["X-Envelope-To"] = ",".join(envelope.rcpt_tos)
        self.arrived.put_nowait(message)
        return "250 OK"


@asynccontextmanager
async def running_mailbox(port: int = 0) -> AsyncIterator[Mailbox]:
    mailbox = Mailbox()
    protocols: list[SMTP] = []

    def protocol() -> SMTP:
        protocols.append(SMTP(mailbox, hostname="localhost", enable_SMTPUTF8=False))
        return protocols[-1]

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        for one in protocols:
            if one.transport:
                one.transport.close()
            if one._handler_coroutine:
                one._handler_coroutine.cancel()
                await asyncio.wait([one._handler_coroutine])


def link_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body
    (link,) = (word for word in body.get_content().split() if word.startswith("http"))
    return str(link)


@dataclass
class Client:
    """A user of one replica."""

    session: aiohttp.ClientSession
    base: str

    async def subscribe(
        self, email: str = "ursula@example.com", name: str = "le guin", **options: Any
    ) -> tuple[int, dict[str, Any]]:
        form = {"name": name, "email": email}
        return await self.request("POST", "/subscriptions", data=form, **options)

    async def confirm(self, token: str) -> tuple[int, dict[str, Any]]:
        return await self.request("GET", "/subscriptions/confirm", params={"token": token})

    async def request(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        async with self.session.request(method, self.base + path, **options) as response:
            body = await response.read()
            if response.content_type == "application/problem+json":
                problem = json.loads(body)
                assert problem["status"] == response.status
                assert problem["title"]
                return response.status, problem
            assert body == b""
            return response.status, {}


def settings_for(url: str, mailbox: Mailbox | None = None, **changes: str) -> Settings:
    environment = {
        "DATABASE_URL": url,
        "SMTP_URL": mailbox.url if mailbox else "smtp://127.0.0.1:9",
        "BASE_URL": "http://127.0.0.1:8000",
        "REPLICA_ID": "b-1",
        **changes,
    }
    return Settings.from_environment(environment, sends_mail=True)


@asynccontextmanager
async def replica(
    version: str, url: str, mailbox: Mailbox | None = None, **changes: str
) -> AsyncIterator[Client]:
    """A replica in this process, and a user of it."""
    settings = settings_for(url, mailbox, **changes)
    async with (
        serving(load(version), settings, host="127.0.0.1", port=0) as (host, port),
        aiohttp.ClientSession() as session,
    ):
        yield Client(session, f"http://{host}:{port}")


@dataclass
class Process:
    """A replica in a process of its own, as a user starts it."""

    process: asyncio.subprocess.Process
    port: int
    lines: list[dict[str, Any]]
    reader: asyncio.Task[None]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ended(self) -> int:
        await self.reader
        return await self.process.wait()


@asynccontextmanager
async def replica_process(
    version: str, url: str, mailbox: Mailbox | None = None, **changes: str
) -> AsyncIterator[Process]:
    """Start `python -m newsletter_app`, and wait until it says that it listens."""
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "SMTP_URL": mailbox.url if mailbox else "smtp://127.0.0.1:9",
        "BASE_URL": "http://127.0.0.1:8000",
        "REPLICA_ID": f"{version}-1",
        **changes,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "newsletter_app", "--version", version, "--port", "0",
        env=environment, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    lines: list[dict[str, Any]] = []
    assert process.stderr

    async def read() -> dict[str, Any]:
        assert process.stderr
        line: dict[str, Any] = json.loads(await process.stderr.readline())
        lines.append(line)
        return line

    async def read_on() -> None:
        assert process.stderr
        async for line in process.stderr:
            lines.append(json.loads(line))  # noqa: PERF401 - tests look at them as they come

    try:
        while (line := await read())["message"] != "listening":
            pass
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(read_on())
            yield Process(process, int(line["address"].rpartition(":")[2]), lines, reader)
            if process.returncode is None:
                process.terminate()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def rows(url: str, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql, *arguments)]
    finally:
        await connection.close()


async def drained(url: str) -> None:
    """Wait until mails that have arrived are also noted as sent; only then a duplicate re-sends."""
    while await rows(url, DRAINED) != [(True,)]:
        pass


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with running_mailbox() as started:
        yield started


Database = Callable[[str], str]


@pytest.fixture
def database(postgres: Server) -> Iterator[Database]:
    made: list[str] = []

    def make(state: str) -> str:
        made.append(postgres.in_state(state))
        return made[-1]

    yield make
    for url in made:
        postgres.drop(url)
