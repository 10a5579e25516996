"""Trials on real processes: behind PgBouncer, on half-applied schemas, with values and locks."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from orchestrator.pooler import find_pgbouncer
from scenarios.check.check_report import CheckReport
from scenarios.cli.main import status
from scenarios.evidence.run_folder import RunFolder
from scenarios.runner.checking.result_cache import FOLDER
from tests.support.runs import released

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

PATHS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
needs_pgbouncer = pytest.mark.skipif(
    shutil.which("pgbouncer", path=PATHS) is None, reason="pgbouncer is not installed here"
)
POOLED = ("--set", 'database.pooler="pgbouncer"')

HALF = """
extends = "big-bang"
name = "half"

[release]
from = "a"
steps = [{ migrate = "migrations" }, { deploy = "b" }]
"""
INDEX = """-- transactional: false
ALTER TABLE subscriptions ADD COLUMN status text NOT NULL DEFAULT 'active';

ALTER TABLE subscriptions ALTER COLUMN status DROP DEFAULT;

CREATE INDEX CONCURRENTLY status_index ON subscriptions (status);
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of this test's own."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))


def report(capfd: pytest.CaptureFixture[str], *arguments: str) -> CheckReport:
    code = status(["check", *arguments, "--json"])
    out, err = capfd.readouterr()
    assert code in (0, 1), err
    return msgspec.json.decode(out, type=CheckReport)


@needs_pgbouncer
def test_prepared_statements_through_a_pooler_are_what_they_are_in_production(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With the same pool mode as there: one session a client works, and a session of all does not.

    PgBouncer knows prepared statements from 1.21 on; without them asyncpg's are lost or known
    twice (26000, 42P05).
    """
    blue_green = ("with-default", "--strategy", "blue-green", *POOLED)
    session = report(capfd, *blue_green, "--set", 'database.pool_mode="session"')
    assert session.passed, session.chosen.hazards
    # Newer ones know prepared statements; without that they are as the older ones.
    shared = report(capfd, *blue_green, *without_prepared_statements())
    assert {"sqlstate:26000", "sqlstate:42P05"} & set(shared.chosen.causes)


def without_prepared_statements() -> tuple[str, ...]:
    """The setting that turns them off, where PgBouncer has it (from 1.21 on)."""
    told = subprocess.run(
        [str(find_pgbouncer(None)), "--version"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", told)
    assert found is not None
    if (int(found[1]), int(found[2])) < (1, 21):
        return ()
    return ("--set", 'database.pooler_settings={max_prepared_statements="0"}')


def test_a_migration_that_dies_half_way_is_tried_as_a_state(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Version a works after the first statement, not after the second; none can be repeated."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "index.sql").write_text(INDEX)
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(HALF)
    found = report(capfd, str(scenario))
    first, second = found.half_way
    assert [(one.statements, one.of) for one in (first, second)] == [(1, 3), (2, 3)]
    assert {cell.version for cell in (*first.cells, *second.cells)} == {"a"}
    assert {cell.connections for cell in first.cells} == {"warm", "fresh"}
    assert all(cell.ok for cell in first.cells)
    for cell in second.cells:
        assert {one.cause for one in cell.endpoints if not one.ok} == {"sqlstate:23502"}
    for one in (first, second):
        assert one.again is not None
        assert one.again.sqlstate == "42701"  # the column exists


def test_locks_are_measured_at_three_sizes_with_somebody_who_waits(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Requests wait behind the lock of the big bang, and the estimate has an error."""
    found = report(capfd, "big-bang", "--locks", "8000")
    held = {(one.change, one.table): one for one in found.observed.locks if one.blocks}
    lock = held["big_bang.0001.status", "subscriptions"]
    assert lock.mode == "ACCESS EXCLUSIVE"
    assert [rows for rows, _ in lock.seconds] == [2000, 4000, 8000]
    assert [rows for rows, _ in lock.held_up] == [2000, 4000, 8000]
    assert max(seconds for _, seconds in lock.held_up) > 0
    least, most = lock.at(50_000_000)
    assert 0 < least <= most


def test_another_number_than_was_sent_is_found_by_the_check(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each status is 201; only the stored value is another."""
    found = report(capfd, "wrapped-value")
    (hazard,) = found.chosen.hazards
    assert (hazard.version, hazard.cause) == ("narrow", "data:kept_value")
    assert "705032704 (the same modulo 2^32)" in hazard.what


def test_another_number_than_was_sent_fails_a_run(tmp_path: Path) -> None:
    """No request failed, and no row is missing."""
    run = released("wrapped-value", tmp_path, "--strategy", "rolling")
    assert run.code == 1
    assert run.verdict.causes == ()
    broken = {one.invariant: one.violations for one in run.verdict.integrity.invariants}
    assert broken["kept_value"] > 0
    assert broken["stored"] == 0
    assert "data:kept_value" in run.verdict.cause_ids


def test_answers_are_looked_at_in_a_run(tmp_path: Path) -> None:
    """The renamed column is missing from answers with status 200, also where no step expects it."""
    expected = "traffic.journeys=[{name='look', steps=[{path='/readings/7', connection='any'}]}]"
    run = released("renamed-under-star", tmp_path, "--strategy", "rolling", "--set", expected)
    assert run.code == 1
    assert run.verdict.causes == ()
    change = run.verdict.answers.changes[0]
    assert (change.endpoint, change.version) == ("GET /readings/7", "a")
    assert change.what == "$.device is missing"
    assert change.since == "renamed.0001.sensor"


@needs_pgbouncer
def test_a_pooler_is_restarted_in_the_middle_of_a_run(tmp_path: Path) -> None:
    """The run goes on with the same address, no row is lost, and the pooler's log is evidence."""
    mode = ("--set", 'database.pool_mode="session"')
    fault = 'faults=[{do="restart-pooler", phase="settle", after_seconds=0.1, seconds=0.5}]'
    run = released("good", tmp_path, *POOLED, *mode, "--set", fault)
    assert [one.verb for one in run.events].count("fault") == 2
    assert RunFolder(run.folder).pooler_log.read_text().count("process up") == 2
    assert run.verdict.integrity.violation_count == 0
    assert run.verdict.requests.ok > run.verdict.requests.failed
