"""What drivers do when the schema changes under a warm connection: rows of `docs/drivers.md`.

One connection runs a statement ten times. Another session alters the table, and the statement runs
six times more. No hitless is involved: this holds the table of the documentation to the drivers.
"""

import itertools
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator

import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from orchestrator.database import run_sql

pytestmark = [pytest.mark.soak, pytest.mark.timeout(120)]

TIMES, AGAIN = 10, 6
LARGE = 5_000_000_000
OK, STALE = ["ok"], "0A000"
COLUMNS = "SELECT id, amount FROM driver_row WHERE id = 1"
STAR = "SELECT * FROM driver_row WHERE id = 1"
BASE = (
    "DROP TABLE IF EXISTS driver_row",
    "CREATE TABLE driver_row (id serial PRIMARY KEY, amount integer, unused text)",
    "INSERT INTO driver_row (amount) VALUES (1)",
)
WIDEN = "ALTER TABLE driver_row ALTER COLUMN amount TYPE bigint"
ADD = "ALTER TABLE driver_row ADD COLUMN more text"
NUMBERS = itertools.count(1)


@pytest.fixture
async def url(postgres_url: str) -> str:
    """A database with the table as it was before."""
    await run_sql(postgres_url, BASE)
    return postgres_url


def sqlstate(error: BaseException) -> str:
    """The code of an error, also where another library has wrapped it."""
    found: BaseException | None = error
    while found is not None:
        if code := getattr(found, "sqlstate", None):
            return str(code)
        found = found.__cause__
    return type(error).__name__


async def six(work: Callable[[], Awaitable[object]]) -> list[str]:
    """What becomes of six tries."""
    found = []
    for _ in range(AGAIN):
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - each driver has errors of its own
            found.append(sqlstate(error))
        else:
            found.append("ok")
    return found


def six_of(work: Callable[[], object]) -> list[str]:
    """The same of a driver that blocks."""
    found = []
    for _ in range(AGAIN):
        try:
            work()
        except Exception as error:  # noqa: BLE001 - each driver has errors of its own
            found.append(sqlstate(error))
        else:
            found.append("ok")
    return found


def once() -> list[str]:
    return [STALE, *OK * (AGAIN - 1)]


@pytest.mark.parametrize(
    ("query", "change"), [(COLUMNS, WIDEN), (STAR, ADD), (STAR, WIDEN)], ids=["cols", "add", "star"]
)
async def test_asyncpg_heals_itself_outside_of_a_transaction_only(
    query: str, change: str, url: str
) -> None:
    """0A000 is healed unseen outside, and raised once inside of a transaction."""
    outside, inside = await asyncpg.connect(url), await asyncpg.connect(url)

    async def in_transaction() -> object:
        async with inside.transaction():
            return await inside.fetch(query)

    for _ in range(TIMES):
        await outside.fetch(query)
        await in_transaction()
    await run_sql(url, [change])
    assert await six(lambda: outside.fetch(query)) == OK * AGAIN
    assert await six(in_transaction) == once()
    await outside.close()
    await inside.close()


async def test_asyncpg_refuses_large_values_itself_while_its_statement_lives(url: str) -> None:
    """Each time, before Postgres gets the statement; a fresh connection accepts them."""
    insert = "INSERT INTO driver_row (amount) VALUES ($1)"
    warm = await asyncpg.connect(url)
    for _ in range(TIMES):
        await warm.execute(insert, 1)
    await run_sql(url, [WIDEN])
    with pytest.raises(asyncpg.DataError) as refused:
        await warm.execute(insert, LARGE)
    assert refused.value.severity is None  # so it is no message of Postgres
    assert await six(lambda: warm.execute(insert, LARGE)) == ["22000"] * AGAIN
    fresh = await asyncpg.connect(url)
    assert await six(lambda: fresh.execute(insert, LARGE)) == OK * AGAIN
    await warm.close()
    await fresh.close()


@pytest.mark.parametrize("query", [COLUMNS, STAR], ids=["cols", "star"])
async def test_psycopg_never_heals_in_autocommit_and_once_in_a_transaction(
    query: str, url: str
) -> None:
    """In autocommit the prepared statement fails for ever; a rollback drops it. 5e9 is fine."""
    insert = "INSERT INTO driver_row (amount) VALUES (%s)"
    with (
        psycopg.connect(url, autocommit=True) as auto,
        psycopg.connect(url, autocommit=True) as other,
    ):

        def in_transaction() -> None:
            with other.transaction():
                other.execute(query)

        for _ in range(TIMES):
            auto.execute(query)
            auto.execute(insert, [1])
            in_transaction()
        await run_sql(url, [WIDEN])
        assert six_of(lambda: auto.execute(query)) == [STALE] * AGAIN
        assert six_of(in_transaction) == once()
        assert six_of(lambda: auto.execute(insert, [LARGE])) == OK * AGAIN


async def test_sqlalchemy_with_asyncpg_fails_once_and_refuses_large_values(url: str) -> None:
    """As asyncpg does, since it works in transactions."""
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=1, max_overflow=0
    )
    table = sqlalchemy.table(
        "driver_row",
        sqlalchemy.column("id", sqlalchemy.Integer),
        sqlalchemy.column("amount", sqlalchemy.Integer),
    )

    async def read() -> None:
        async with engine.begin() as connection:
            await connection.execute(sqlalchemy.select(table))

    async def write(amount: int) -> None:
        async with engine.begin() as connection:
            await connection.execute(table.insert().values(amount=amount))

    for _ in range(TIMES):
        await read()
        await write(1)
    await run_sql(url, [WIDEN])
    assert await six(read) == once()
    assert await six(lambda: write(LARGE)) == ["22000"] * AGAIN
    await engine.dispose()


async def test_sqlalchemy_with_psycopg_fails_once_or_for_ever_and_casts_to_integer(
    url: str,
) -> None:
    """Once in a transaction, each time in AUTOCOMMIT; it writes `::INTEGER` around the value."""
    plain = sqlalchemy.create_engine(
        url.replace("postgresql://", "postgresql+psycopg://"), pool_size=1, max_overflow=0
    )
    auto = sqlalchemy.create_engine(
        url.replace("postgresql://", "postgresql+psycopg://"),
        pool_size=1,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",
    )
    table = sqlalchemy.table(
        "driver_row",
        sqlalchemy.column("id", sqlalchemy.Integer),
        sqlalchemy.column("amount", sqlalchemy.Integer),
    )

    def read(engine: sqlalchemy.Engine) -> None:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.select(table))

    def write() -> None:
        with plain.begin() as connection:
            connection.execute(table.insert().values(amount=LARGE))

    for _ in range(TIMES):
        read(plain)
        read(auto)
    await run_sql(url, [WIDEN])
    assert six_of(lambda: read(plain)) == once()
    assert six_of(lambda: read(auto)) == [STALE] * AGAIN
    assert six_of(write) == ["22003"] * AGAIN
    plain.dispose()
    auto.dispose()


DJANGO = """
import sys

import django
import psycopg
from django.conf import settings
from django.db import connection, models

url, binding = sys.argv[1:]
info = psycopg.conninfo.conninfo_to_dict(url)
settings.configure(
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "HOST": info["host"], "PORT": info["port"],
        "USER": info["user"], "PASSWORD": info["password"], "NAME": info["dbname"],
        "OPTIONS": {"server_side_binding": binding == "server"},
    }},
)
django.setup()


class Row(models.Model):
    amount = models.IntegerField()

    class Meta:
        app_label = "driver"
        db_table = "driver_row"


for _ in range(10):
    Row.objects.create(amount=1)
    list(Row.objects.filter(id=1).values_list("id", "amount"))
with psycopg.connect(url, autocommit=True) as other:
    other.execute("ALTER TABLE driver_row ALTER COLUMN amount TYPE bigint")
found = set()
for _ in range(6):
    list(Row.objects.filter(id=1).values_list("id", "amount"))
    made = Row.objects.create(amount=5_000_000_000)
    with connection.cursor() as cursor:
        cursor.execute("SELECT amount FROM driver_row WHERE id = %s", [made.pk])
        found.add(cursor.fetchone()[0])
print(*found)
"""


@pytest.mark.parametrize(("binding", "stored"), [("client", "5000000000"), ("server", "705032704")])
async def test_django_has_nothing_to_fear_unless_the_server_binds(
    binding: str, stored: str, url: str
) -> None:
    """With `server_side_binding`, 5,000,000,000 is stored as 705,032,704 without an error."""
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
        [sys.executable, "-c", textwrap.dedent(DJANGO), url, binding],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [stored]


@pytest.fixture(autouse=True)
def _gone(postgres_url: str) -> Iterator[None]:
    yield
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS driver_row")
