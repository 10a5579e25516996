"""What migration tools do with histories that do not fit: rows of `docs/migration-tools.md`.

No hitless is involved: this holds the table of the documentation to the tools.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.database import connected, run_sql
from orchestrator.postgres import EmbeddedServer
from orchestrator.yoyo_runner import yoyo_url

pytestmark = [pytest.mark.soak, pytest.mark.timeout(180)]

ALEMBIC_ENV = """
import os

from alembic import context
from sqlalchemy import create_engine

engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
REVISION = """
from alembic import op

revision = "{name}"
down_revision = {down}


def upgrade():
    op.execute("ALTER TABLE history ADD COLUMN {name} integer")
"""
DJANGO_SETTINGS = """
import os

import psycopg

info = psycopg.conninfo.conninfo_to_dict(os.environ["DATABASE_URL"])
SECRET_KEY = "none"
INSTALLED_APPS = ["app"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "HOST": info["host"], "PORT": info["port"],
    "USER": info["user"], "PASSWORD": info["password"], "NAME": info["dbname"],
}}
"""
DJANGO = """
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = {depends}
    operations = [migrations.RunSQL("ALTER TABLE history ADD COLUMN {name} integer")]
"""


@pytest.fixture
async def url(postgres_server: tuple[EmbeddedServer, str], tmp_path: Path) -> str:
    """A database of the test's own, with a table."""
    name = f"tools_{abs(hash(str(tmp_path))) % 10**8}"
    made = await postgres_server[0].create_database(name)
    await run_sql(made, ["CREATE TABLE history (id serial PRIMARY KEY)"])
    return made


async def columns(url: str) -> set[str]:
    """The columns that migrations have added."""
    query = (
        "SELECT attname FROM pg_attribute WHERE attrelid = 'history'::regclass AND attnum > 1 "
        "AND NOT attisdropped"
    )
    async with connected(url) as connection:
        return {row[0] for row in await connection.fetch(query)}


def run(folder: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a tool in a folder."""
    env = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


def alembic(folder: Path, url: str) -> int:
    return run(folder, url, "alembic", "upgrade", "head").returncode


def revision(folder: Path, name: str, down: str | None) -> None:
    text = REVISION.format(name=name, down=repr(down))
    (folder / "migrations" / "versions" / f"{name}.py").write_text(text)


async def test_alembic_skips_what_is_below_its_head_and_refuses_a_newer_database(
    url: str, tmp_path: Path
) -> None:
    """Exit status 0 for a revision that is never applied; 255 for one that it does not know."""
    (tmp_path / "migrations" / "versions").mkdir(parents=True)
    (tmp_path / "migrations" / "env.py").write_text(ALEMBIC_ENV)
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
    revision(tmp_path, "one", None)
    revision(tmp_path, "three", "one")
    assert alembic(tmp_path, url) == 0
    revision(tmp_path, "two", "one")
    revision(tmp_path, "three", "two")
    assert alembic(tmp_path, url) == 0
    assert await columns(url) == {"one", "three"}
    (tmp_path / "migrations" / "versions" / "three.py").unlink()
    assert alembic(tmp_path, url) == 255


def django(folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    return run(folder, url, "django", "migrate", "--settings", "settings")


def migration(folder: Path, name: str, depends: str | None) -> None:
    needed = repr([] if depends is None else [("app", depends)])
    (folder / "app" / "migrations" / f"{name}.py").write_text(
        DJANGO.format(name=name.partition("_")[2], depends=needed)
    )


async def test_django_refuses_an_older_migration_and_ignores_a_newer_database(
    url: str, tmp_path: Path
) -> None:
    """InconsistentMigrationHistory, exit status 1; and 0 where the database knows more."""
    (tmp_path / "app" / "migrations").mkdir(parents=True)
    for place in (tmp_path / "app", tmp_path / "app" / "migrations"):
        (place / "__init__.py").touch()
    (tmp_path / "settings.py").write_text(DJANGO_SETTINGS)
    migration(tmp_path, "0001_one", None)
    migration(tmp_path, "0003_three", "0001_one")
    assert django(tmp_path, url).returncode == 0
    migration(tmp_path, "0002_two", "0001_one")
    migration(tmp_path, "0003_three", "0002_two")
    refused = django(tmp_path, url)
    assert refused.returncode == 1
    assert "InconsistentMigrationHistory" in refused.stderr
    (tmp_path / "app" / "migrations" / "0002_two.py").unlink()
    (tmp_path / "app" / "migrations" / "0003_three.py").unlink()
    assert django(tmp_path, url).returncode == 0
    assert await columns(url) == {"one", "three"}


def yoyo(folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    words = ("yoyo", "apply", "--batch", "--no-config-file", "--database")
    return run(folder, url, *words, yoyo_url(url, "tool", None), str(folder / "migrations"))


async def test_yoyo_applies_an_older_migration_and_runs_each_in_a_transaction(
    url: str, tmp_path: Path
) -> None:
    """A newer database and an edited file are ignored; CONCURRENTLY fails with 25001."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for name in ("one", "three"):
        (folder / f"{name}.sql").write_text(f"ALTER TABLE history ADD COLUMN {name} integer")
    assert yoyo(tmp_path, url).returncode == 0
    (folder / "ninety.sql").write_text("ALTER TABLE history ADD COLUMN ninety integer")
    (folder / "one.sql").write_text("ALTER TABLE history ADD COLUMN other integer")
    (folder / "three.sql").unlink()
    assert yoyo(tmp_path, url).returncode == 0
    assert await columns(url) == {"one", "three", "ninety"}
    (folder / "zero.sql").write_text("CREATE INDEX CONCURRENTLY by_one ON history (one)")
    refused = yoyo(tmp_path, url)
    assert refused.returncode == 1
    assert "cannot run inside a transaction block" in refused.stderr
