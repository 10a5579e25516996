"""What migration tools do when three start at once, and when one is killed: rows of the table.

The pending migration only changes rows, and takes a second: so all three have read the history
before the first of them has written to it.
"""

import shutil
from pathlib import Path

import pytest

from scenarios.check.migration_findings import FileLine, tool_findings
from scenarios.check.observed import MigratorResult
from scenarios.check.trial_plan import migrator_trials
from scenarios.runner.checking.check_run import try_trials, with_fewer_rows
from scenarios.runner.checking.planned_release import planned_release
from scenarios.runner.environment import environment
from scenarios.scenario.reader import load

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[4] / "examples"
CHANGE = "UPDATE {table} SET title = title || '!' FROM pg_sleep(1)"

DJANGO = f"""
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("books", "0001_initial")]
    operations = [migrations.RunSQL("{CHANGE.format(table="books_book")}")]
"""
ALEMBIC = f"""
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("{CHANGE.format(table="books")}")
"""
YOYO = """
extends = "big-bang"
name = "yoyo"

[release]
from = "a"
steps = [{ migrate = "migrations" }, { deploy = "b" }]
"""


async def tried(scenario: Path, folder: Path) -> MigratorResult:
    """The result of the only step that migrates."""
    loaded = with_fewer_rows(load(str(scenario)), None)
    async with environment() as place:
        release = await planned_release(loaded, place.processes, folder / "list.log")
        (trial,) = migrator_trials(release.plan)
        found = await try_trials(loaded, place, release, [trial], lambda _: None)
    (result,) = found[trial].migrators
    assert result.exit_alone == 0, result.said_alone
    assert result.changed_something
    assert result.killed
    return result


async def test_django_runs_a_pending_data_migration_three_times(tmp_path: Path) -> None:
    """Each process exits with 0, and the rows were changed by each of them."""
    folder = tmp_path / "django"
    shutil.copytree(EXAMPLES / "django", folder)
    migrations = folder / "v2" / "books" / "migrations"
    (migrations / "0002_reader.py").unlink()
    (migrations / "0002_mark.py").write_text(DJANGO)
    found = await tried(folder / "scenario.toml", tmp_path)
    assert found.exits_at_once == (0, 0, 0)
    assert "books_book has other values" in found.differences_at_once
    assert found.repeats
    assert found.recovers


async def test_alembic_changes_the_rows_once_and_the_others_may_fail(tmp_path: Path) -> None:
    """Its version table is updated with the old version in the condition."""
    folder = tmp_path / "flask-alembic"
    shutil.copytree(EXAMPLES / "flask-alembic", folder)
    versions = folder / "migrations" / "versions"
    (versions / "0002_shelf_broken.py").unlink()
    (versions / "0002_shelf.py").write_text(ALEMBIC)
    found = await tried(folder / "scenario.toml", tmp_path)
    assert 0 in found.exits_at_once
    assert not found.repeats, found.differences_at_once
    assert found.recovers


async def test_yoyo_runs_it_once_and_stays_locked_after_a_kill(tmp_path: Path) -> None:
    """Three exit with 0. After a kill, the row of its lock refuses every further run."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "mark.sql").write_text(
        "UPDATE subscriptions SET name = name || '!' FROM pg_sleep(1);"
    )
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(YOYO)
    found = await tried(scenario, tmp_path)
    assert found.exits_at_once == (0, 0, 0)
    assert not found.repeats
    assert found.exit_after_kill == 1
    assert "LockTimeout" in (found.said_after_kill or "")
    assert "break-lock" in (found.said_after_kill or "")
    assert not found.recovers


RETRIES = """
DO $$ BEGIN
    LOOP
        BEGIN
            SET LOCAL lock_timeout = '50ms';
            ALTER TABLE subscriptions ADD COLUMN more integer;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep({pause});
        END;
    END LOOP;
END $$;
"""


@pytest.mark.parametrize(("pause", "holds_up"), [("0", True), ("0.4", False)])
async def test_retries_without_a_pause_hold_requests_up_nearly_all_the_time(
    pause: str,
    holds_up: bool,  # noqa: FBT001 - what is expected
    tmp_path: Path,
) -> None:
    """While a reader holds the table, the migration stands in the queue, or mostly it does not."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "more.sql").write_text(RETRIES.format(pause=pause))
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(YOYO)
    found = await tried(scenario, tmp_path)
    assert found.queued_share is not None
    assert found.holds_up == holds_up, found.queued_share
    assert (found.exit_after_queue, found.differences_after_queue) == (0, ())
    rules = [one.rule for one in tool_findings([found], {1: FileLine(file="x", line=1)})]
    assert (rules == []) == (not holds_up), rules
