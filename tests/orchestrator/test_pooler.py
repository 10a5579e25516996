"""PgBouncer as a part of a run: it starts, restarts and stops with it, and says what is wrong."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from orchestrator import pooler as module
from orchestrator.errors import EnvironmentFailure
from orchestrator.pooler import PgBouncer, PoolerRefusedError, PoolerSettings, find_pgbouncer
from orchestrator.postgres import EmbeddedServer
from orchestrator.processes import Processes

PATHS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
needs_pgbouncer = pytest.mark.skipif(
    shutil.which("pgbouncer", path=PATHS) is None, reason="pgbouncer is not installed here"
)


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    async with Processes() as owner:
        yield owner


@needs_pgbouncer
async def test_an_application_reaches_each_database_through_it(
    postgres: EmbeddedServer, processes: Processes, tmp_path: Path
) -> None:
    """With the password of the database, and not without; its log says who came."""
    url = await postgres.create_database("pooled")
    log = tmp_path / "pgbouncer.log"
    try:
        async with PgBouncer(processes, url, settings=PoolerSettings(), log=log) as pooler:
            app_url = pooler.url(url)
            assert app_url != url
            for _ in range(2):  # also after a restart, on the same port
                connection = await asyncpg.connect(app_url, statement_cache_size=0)
                assert await connection.fetchval("SELECT current_database()") == "pooled"
                await connection.close()
                await pooler.stop()
                await pooler.start()
            wrong = app_url.replace(":" + app_url.split(":")[2].split("@")[0], ":wrong")
            with pytest.raises(asyncpg.PostgresError):
                await asyncpg.connect(wrong)
            port = int(app_url.rpartition(":")[2].partition("/")[0])
        with pytest.raises(OSError, match="Connect"):
            await asyncpg.connect(host="127.0.0.1", port=port, user="x", database="x")
        assert "pooled" in log.read_text()
    finally:
        await postgres.drop_database("pooled")


@needs_pgbouncer
async def test_transactions_share_a_connection_and_sessions_do_not(
    postgres: EmbeddedServer, processes: Processes, tmp_path: Path
) -> None:
    """The pool mode is the one that was given: a setting of one client leaks in one of them."""
    leaked = {}
    for mode in ("transaction", "session"):
        settings = PoolerSettings(pool_mode=mode, settings={"default_pool_size": "1"})
        url = await postgres.create_database(f"mode_{mode}")
        try:
            async with PgBouncer(
                processes, url, settings=settings, log=tmp_path / f"{mode}.log"
            ) as pooler:
                one = await asyncpg.connect(pooler.url(url), statement_cache_size=0)
                await one.execute("SET work_mem = '12345kB'")
                if mode == "session":
                    await one.close()
                two = await asyncpg.connect(pooler.url(url), statement_cache_size=0)
                leaked[mode] = await two.fetchval("SHOW work_mem") == "12345kB"
                await two.close()
                if mode == "transaction":
                    await one.close()
        finally:
            await postgres.drop_database(f"mode_{mode}")
    assert leaked == {"transaction": True, "session": False}


@needs_pgbouncer
async def test_a_setting_that_it_does_not_know_is_one_line(
    processes: Processes, tmp_path: Path
) -> None:
    """In its own words."""
    settings = PoolerSettings(settings={"no_such_setting": "1"})
    url = "postgresql://x:y@127.0.0.1:1/x"
    with pytest.raises(PoolerRefusedError, match="no_such_setting") as caught:
        async with PgBouncer(processes, url, settings=settings, log=tmp_path / "log"):
            pass
    assert "\n" not in str(caught.value)


@needs_pgbouncer
async def test_it_asks_for_no_password_where_the_url_has_none(
    postgres: EmbeddedServer, processes: Processes, tmp_path: Path
) -> None:
    """Then the server alone decides: this one wants a password, and the pooler passes that on."""
    url = await postgres.create_database("without_password")
    without = re.sub(r":[^:@/]+@", "@", url)
    try:
        async with PgBouncer(
            processes, without, settings=PoolerSettings(), log=tmp_path / "log"
        ) as pooler:
            with pytest.raises(asyncpg.PostgresError, match="password authentication failed"):
                await asyncpg.connect(pooler.url(without), timeout=60)
    finally:
        await postgres.drop_database("without_password")


@needs_pgbouncer
async def test_a_url_leads_to_its_server_through_it(processes: Processes, tmp_path: Path) -> None:
    """Encryption, Unix sockets and several hosts are between the pooler and the server."""
    for url, server in (
        ("postgresql://u:p@h/x?sslmode=disable&application_name=a", "* = host=h port=5432"),
        ("postgresql://u:p@/x?host=/run/pg&port=6000", "* = host=/run/pg port=6000"),
        ("postgresql://u:p@one,two/x", "* = host=one,two port=5432"),
    ):
        async with PgBouncer(
            processes, url, settings=PoolerSettings(), log=tmp_path / "log"
        ) as pooler:
            written = (pooler._folder / "pgbouncer.ini").read_text().splitlines()
            assert server in written
            assert ("server_tls_sslmode = disable" in written) == ("sslmode" in url)
            asked = pooler.url(url).partition("?")[2]
            assert asked == ("application_name=a" if "application_name" in url else "")
    with pytest.raises(EnvironmentFailure, match="different ports"):
        async with PgBouncer(
            processes,
            "postgresql://u:p@one:1,two:2/x",
            settings=PoolerSettings(),
            log=tmp_path / "log",
        ):
            pass


def test_where_it_is_not_installed_the_line_says_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And a file that is no program is named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "_SYSTEM_FOLDERS", ())
    with pytest.raises(EnvironmentFailure, match="apt-get install pgbouncer"):
        find_pgbouncer(None)
    with pytest.raises(EnvironmentFailure, match="no program"):
        find_pgbouncer(str(tmp_path / "missing"))


SCRIPT = """
import asyncio, sys
from pathlib import Path
from orchestrator.pooler import PgBouncer, PoolerSettings
from orchestrator.processes import Processes

async def main():
    async with Processes() as processes:
        url = "postgresql://x:y@127.0.0.1:1/x"
        log = Path(sys.argv[1]) / "log"
        async with PgBouncer(processes, url, settings=PoolerSettings(), log=log) as pooler:
            print(pooler._child.pid, pooler._folder, flush=True)
            await asyncio.sleep(60)

asyncio.run(main())
"""


@needs_pgbouncer
def test_nothing_is_left_of_it_after_a_kill(tmp_path: Path) -> None:
    """Neither its process nor its folder, which has the password."""
    run = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.stdout is not None
    pid, folder = run.stdout.readline().split()
    assert Path(folder).is_dir()
    run.kill()
    run.communicate()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not Path(f"/proc/{pid}").exists() and not Path(folder).exists():
            return
        time.sleep(0.05)
    pytest.fail("the pooler outlived its run")
