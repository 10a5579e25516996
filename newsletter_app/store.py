"""SQL: everything that is asked of Postgres, with explicit columns, and its errors translated.

Every operation here may be run twice without harm, so a transaction that Postgres gave up, or a
connection that was lost, is healed by running it again.
"""

import asyncio
import secrets
import string
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

import asyncpg
from aiohttp import web

from newsletter_app.errors import StoreError
from newsletter_app.schema import Column
from newsletter_app.subscriber import Subscriber

ACQUIRE_SECONDS = 2.0
COMMAND_SECONDS = 30.0
CLOSE_SECONDS = 2.0
TOKEN_LENGTH = 25

HANDOVER_SECONDS = 1.0
"""How long a new outbox entry is left to the replica that made it, before any may take it."""

_ATTEMPTS = 3
# 0A000: a cached plan met a changed schema, and the driver has dropped its caches.
# 40001, 40P01: Postgres gave up this transaction in favour of another.
# 08003, 08006: the connection was lost, perhaps one that had long been idle.
_HEALED = frozenset({"0A000", "40001", "40P01", "08003", "08006"})
_TOKEN_ALPHABET = frozenset(string.ascii_letters + string.digits)

T = TypeVar("T")
Connection: TypeAlias = asyncpg.Connection
Work = Callable[[Connection], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A confirmation mail that is owed.

    Attributes:
        token: the token that it carries, which also identifies the entry.
        email: whom it goes to.
    """

    token: str
    email: str


def new_token() -> str:
    """25 letters and digits, about 149 bits, from the system's CSPRNG."""
    return "".join(
        secrets.choice(string.ascii_letters + string.digits) for _ in range(TOKEN_LENGTH)
    )


class Store:
    """The database, through a pool of connections that are opened when they are needed."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def add(self, subscriber: Subscriber) -> None:
        """Add a subscriber as version A knows it, unless the address is there already.

        Raises:
            StoreError: the database refused or did not answer.
        """
        await self._run(
            lambda connection: connection.execute(
                "INSERT INTO subscriptions (id, email, name, subscribed_at)"
                " VALUES ($1, $2, $3, $4) ON CONFLICT (email) DO NOTHING",
                *_row(subscriber),
            )
        )

    async def add_active(self, subscriber: Subscriber) -> None:
        """Add a subscriber who needs no confirmation, unless the address is there already.

        Raises:
            StoreError: the database refused or did not answer.
        """
        await self._run(
            lambda connection: connection.execute(
                "INSERT INTO subscriptions (id, email, name, subscribed_at, status)"
                " VALUES ($1, $2, $3, $4, 'active') ON CONFLICT (email) DO NOTHING",
                *_row(subscriber),
            )
        )

    async def add_pending(self, subscriber: Subscriber, *, request_id: str) -> OutboxEntry | None:
        """Add a subscriber who has to confirm, together with the mail that asks for it.

        A known address that is still pending gets its mail once more, with the same token; an
        active one gets none. The mail is the token's row: it commits with the subscriber or not
        at all.

        Returns:
            The entry to deliver, now that it is committed; None where no mail is owed, or where
            one is just on its way.

        Raises:
            StoreError: the database refused or did not answer.
        """

        async def work(connection: Connection) -> OutboxEntry | None:
            async with connection.transaction():
                await connection.execute(
                    "INSERT INTO subscriptions (id, email, name, subscribed_at, status)"
                    " VALUES ($1, $2, $3, $4, 'pending_confirmation')"
                    " ON CONFLICT (email) DO NOTHING",
                    *_row(subscriber),
                )
                token = await connection.fetchval(
                    "INSERT INTO subscription_tokens"
                    " (subscription_token, subscriber_id, request_id, due_at)"
                    " SELECT $1, id, $2, now() + make_interval(secs => $3) FROM subscriptions"
                    " WHERE email = $4 AND status = 'pending_confirmation'"
                    " ON CONFLICT (subscriber_id) DO NOTHING RETURNING subscription_token",
                    new_token(),
                    request_id,
                    HANDOVER_SECONDS,
                    subscriber.email,
                )
                # A row that is locked is being mailed at this moment: that mail serves.
                token = token or await connection.fetchval(
                    "UPDATE subscription_tokens SET sent_at = NULL, attempts = 0,"
                    " request_id = $1, due_at = now() + make_interval(secs => $2)"
                    " WHERE subscription_token IN ("
                    "  SELECT t.subscription_token FROM subscription_tokens t"
                    "  JOIN subscriptions s ON s.id = t.subscriber_id"
                    "  WHERE s.email = $3 AND s.status = 'pending_confirmation'"
                    "  AND t.sent_at IS NOT NULL FOR UPDATE OF t SKIP LOCKED)"
                    " RETURNING subscription_token",
                    request_id,
                    HANDOVER_SECONDS,
                    subscriber.email,
                )
            return OutboxEntry(token, subscriber.email) if token else None

        return await self._run(work)

    async def confirm(self, token: str) -> bool:
        """Make the token's subscriber active, who may be it already.

        Returns:
            Whether the token is known.

        Raises:
            StoreError: the database refused or did not answer.
        """
        if len(token) != TOKEN_LENGTH or not _TOKEN_ALPHABET.issuperset(token):
            return False

        async def work(connection: Connection) -> bool:
            subscriber_id = await connection.fetchval(
                "SELECT subscriber_id FROM subscription_tokens WHERE subscription_token = $1", token
            )
            if subscriber_id is None:
                return False
            await connection.execute(
                "UPDATE subscriptions SET status = 'active'"
                " WHERE id = $1 AND status IS DISTINCT FROM 'active'",
                subscriber_id,
            )
            return True

        return await self._run(work)

    async def columns(self, tables: Iterable[str]) -> list[Column]:
        """The columns of those of these tables that are there.

        Raises:
            StoreError: the database refused or did not answer.
        """
        rows = await self._run(
            lambda connection: connection.fetch(
                "SELECT name AS table, a.attname AS column,"
                " a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS demanded"
                " FROM unnest($1::text[]) AS name"
                " JOIN pg_attribute a ON a.attrelid = to_regclass(name)"
                " WHERE a.attnum > 0 AND NOT a.attisdropped",
                list(tables),
            )
        )
        return [Column(row["table"], row["column"], row["demanded"]) for row in rows]

    async def due(self, limit: int) -> list[OutboxEntry]:
        """Mails that are owed and that no replica has delivered in time, longest owed first.

        Raises:
            StoreError: the database refused or did not answer.
        """
        rows = await self._run(
            lambda connection: connection.fetch(
                "SELECT t.subscription_token, s.email FROM subscription_tokens t"
                " JOIN subscriptions s ON s.id = t.subscriber_id"
                " WHERE t.sent_at IS NULL AND t.due_at <= now()"
                " AND s.status = 'pending_confirmation'"
                " ORDER BY t.due_at LIMIT $1",
                limit,
            )
        )
        return [OutboxEntry(row["subscription_token"], row["email"]) for row in rows]

    @asynccontextmanager
    async def claimed(self, token: str) -> AsyncIterator["Claim | None"]:
        """Hold an outbox entry for the length of the block; None if it is sent or held already.

        The claim is a row lock, so it ends with the transaction, also when this process is
        killed. Only `subscription_tokens` is locked: a slow mail server must not hold up a
        migration of `subscriptions`.

        Raises:
            StoreError: the database refused or did not answer.
        """
        async with self._connection() as connection, connection.transaction():
            row = await connection.fetchrow(
                "SELECT request_id, attempts FROM subscription_tokens"
                " WHERE subscription_token = $1 AND sent_at IS NULL FOR UPDATE SKIP LOCKED",
                token,
            )
            yield Claim(connection, token, row["request_id"], row["attempts"]) if row else None

    async def _run(self, work: Work[T]) -> T:
        for _ in range(_ATTEMPTS - 1):
            try:
                async with self._connection() as connection:
                    return await work(connection)
            except StoreError as error:
                if error.sqlstate not in _HEALED:
                    raise
        async with self._connection() as connection:
            return await work(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        with _translated():
            try:
                connection = await self._pool.acquire(timeout=ACQUIRE_SECONDS)
            except TimeoutError as error:
                raise StoreError("No database connection in time") from error
            try:
                yield connection
            finally:
                await self._pool.release(connection, timeout=CLOSE_SECONDS)


class Claim:
    """An outbox entry that is held, and how it ends.

    Attributes:
        request_id: of the request that asked for the mail.
        attempts: how often its delivery has failed.
    """

    def __init__(self, connection: Connection, token: str, request_id: str, attempts: int) -> None:
        self._connection = connection
        self._token = token
        self.request_id = request_id
        self.attempts = attempts

    async def sent(self) -> None:
        """Note that the mail was accepted."""
        await self._connection.execute(
            "UPDATE subscription_tokens SET sent_at = now() WHERE subscription_token = $1",
            self._token,
        )

    async def postpone(self, seconds: float) -> None:
        """Note a failed delivery; the next one is due after so many seconds."""
        await self._connection.execute(
            "UPDATE subscription_tokens SET attempts = attempts + 1,"
            " due_at = clock_timestamp() + make_interval(secs => $2) WHERE subscription_token = $1",
            self._token,
            seconds,
        )


STORE = web.AppKey("store", Store)
"""Where handlers find the store of requests."""


@asynccontextmanager
async def open_store(url: str, *, name: str, connections: int) -> AsyncIterator[Store]:
    """Open a store without connecting yet: the database need not be there.

    Args:
        url: `postgresql://...`.
        name: what the server's own views and logs call us (`application_name`).
        connections: the most connections at a time.
    """
    pool = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=connections,
        command_timeout=COMMAND_SECONDS,
        timeout=ACQUIRE_SECONDS,
        server_settings={"application_name": name},
    )
    await pool
    try:
        yield Store(pool)
    finally:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()


def _row(subscriber: Subscriber) -> tuple[uuid.UUID, str, str, datetime]:
    return uuid.uuid4(), subscriber.email, subscriber.name, datetime.now(UTC)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except asyncpg.PostgresError as error:
        # The driver raises these too, with values in the message, but without a severity.
        # The server repeats values in data exceptions, class 22.
        told = getattr(error, "severity", None) and not error.sqlstate.startswith("22")
        raise StoreError(
            "The database refused", sqlstate=error.sqlstate, refusal=error.args[0] if told else None
        ) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        # The driver's word for a connection that was lost between two uses.
        raise StoreError("The database connection was lost", sqlstate="08003") from error
    except TimeoutError as error:
        raise StoreError("The database did not answer in time") from error
    except OSError as error:
        raise StoreError("The database cannot be reached") from error
