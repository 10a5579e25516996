"""Where the log of the user's own Postgres server is: said by the scenario, or by a flag."""

from pathlib import Path

import pytest

from scenarios.errors import UsageError
from scenarios.scenario.overrides import Changes

URL = "postgresql://somebody@127.0.0.1/shop"


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    """A scenario that says that the log is beside it; there is none yet."""
    file = tmp_path / "shop.toml"
    file.write_text('extends = "expand-contract"\n[database]\nlog = "pg_log"\n')
    return str(file)


def log_of(changes: Changes, scenario: str) -> str | None:
    database = changes.experiment(scenario, "rolling", 1).scenario.database
    assert database is not None
    return database.log


def test_a_scenario_says_where_the_log_is(scenario: str, tmp_path: Path) -> None:
    """The path starts from the scenario's folder, as all of its paths do."""
    (tmp_path / "pg_log").mkdir()
    assert log_of(Changes(database=URL), scenario) == str(tmp_path / "pg_log")


def test_the_flag_goes_before_the_scenario(scenario: str, tmp_path: Path) -> None:
    """`--database-log` names another place, and the scenario's own need not exist then."""
    log = tmp_path / "server.json"
    log.touch()
    assert log_of(Changes(database=URL, database_log=log), scenario) == str(log)


def test_a_log_that_is_not_there_is_found_before_the_run(scenario: str, tmp_path: Path) -> None:
    """One line says which key names what; with the embedded server nobody needs it."""
    with pytest.raises(UsageError, match=rf"database.log: there is no file .*{tmp_path}/pg_log"):
        Changes(database=URL).experiment(scenario, "rolling", 1)
    assert log_of(Changes(), scenario) is not None
