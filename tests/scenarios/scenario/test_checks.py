"""What the types of a scenario cannot say is refused when the file is read."""

from pathlib import Path

import pytest

from scenarios.errors import ScenarioError
from scenarios.scenario.reader import load

WITHOUT_DATABASE = """
name = "own"
application = { command = ["serve", "{port}"] }
versions = { a = {}, b = {} }
release = { from = "a", steps = [{ deploy = "b" }] }
traffic = { journeys = [{ name = "look", steps = [{ path = "/" }] }] }
"""
WITH_DATABASE = WITHOUT_DATABASE + 'database = { migrate = ["make", "db"] }\n'


def refused(folder: Path, text: str) -> str:
    """The message with which a file is refused, the line of the mistake included."""
    path = folder / "scenario.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load(str(path))
    assert str(caught.value).startswith(f"{path}:")
    return str(caught.value)


@pytest.mark.parametrize("text", [WITHOUT_DATABASE, WITH_DATABASE])
def test_what_the_mistakes_are_made_in_is_right(text: str, tmp_path: Path) -> None:
    """The files that the other tests of this module spoil are accepted as they are."""
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    assert load(str(path)).scenario.name == "own"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ('do = "block"', "'block' needs a 'table' to lock"),
        ('do = "block", table = "t", mode = "HARD"', "'mode' is 'HARD'; expected one of Postgres'"),
        ('do = "sql"', "'sql' needs the statements"),
        ('do = "kill", version = "c"', "unknown version 'c'"),
    ],
)
def test_a_fault_that_cannot_be_made(fault: str, message: str, tmp_path: Path) -> None:
    """A fault says all that is needed to make it."""
    assert message in refused(tmp_path, f"{WITH_DATABASE}faults = [{{ {fault} }}]\n")


@pytest.mark.parametrize("do", ["restart-postgres", "crash-postgres", "block", "sql"])
def test_a_fault_of_a_database_that_is_not_there(do: str, tmp_path: Path) -> None:
    """Faults of the database are refused where there is none."""
    text = f'{WITHOUT_DATABASE}faults = [{{ do = "{do}", sql = "SELECT 1", table = "t" }}]\n'
    assert f"'{do}' needs a [database] table" in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ('{ migrate = ["up"] }', "no step deploys a version"),
        ('{ undo = true }, { deploy = "b" }', "'undo' comes after a 'deploy'"),
        ('{ deploy = "b", through = "x" }', "'through' belongs to a step with a directory"),
        ('{ deploy = "b", may_change_nothing = true }', "belongs to a step that migrates"),
        ('{ deploy = "b", using = "a" }', "'using' belongs to a step with a command"),
        ('{ deploy = "b" }, { migrate_down = "x" }', "needs [application] readiness_path"),
        ('{ deploy = "b", undo = true }', "needs exactly one of"),
        ('{ deploy = "c" }', "unknown version 'c'"),
        ('{ migrate = ["up", "{prot}"] }, { deploy = "b" }', "no placeholder {prot}"),
    ],
)
def test_a_step_that_makes_no_sense(steps: str, message: str, tmp_path: Path) -> None:
    """A release's steps fit together, and each does one thing."""
    assert message in refused(tmp_path, WITH_DATABASE.replace('{ deploy = "b" }', steps))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('command = ["serve", "{port}"]', "env = {}", "has a 'command'"),
        ("a = {}", 'a = { env = { X = "{prot}" } }', "no placeholder {prot}"),
        ("{port}", "{prot}", "no placeholder {prot}"),
        ('from = "a"', 'from = "c"', "unknown version 'c'"),
        ("application = {", 'application = { env = { X = "{prot}" },', "no placeholder {prot}"),
        ('migrate = ["make", "db"]', 'migrate = ".", using = "a"', "belongs to a 'migrate'"),
        ('steps = [{ path = "/" }]', 'python = "none.py:go"', "there is no file"),
    ],
)
def test_what_does_not_fit(before: str, after: str, message: str, tmp_path: Path) -> None:
    """Names exist, commands are there, and placeholders are known."""
    assert before in WITH_DATABASE
    assert message in refused(tmp_path, WITH_DATABASE.replace(before, after))


@pytest.mark.parametrize(
    "expect",
    [
        'outcomes = { rollin = "rolled_back" }',
        'fails_with = { rollin = ["no_backend"] }',
        'elsewhere = [{ strategy = ["canary", "rollin"], may_fail_with = ["no_backend"] }]',
    ],
)
def test_an_expectation_names_strategies_that_exist(expect: str, tmp_path: Path) -> None:
    """A misspelt strategy, under which nothing would be expected, is refused at its place."""
    said = refused(tmp_path, f"{WITHOUT_DATABASE}expect = {{ {expect} }}\n")
    assert "unknown strategy 'rollin'; did you mean 'rolling'" in said
    assert "expect" in said


def test_integrity_needs_a_database(tmp_path: Path) -> None:
    """Subjects are read from a database, so there must be one."""
    text = f'{WITHOUT_DATABASE}integrity = {{ subjects = "SELECT 1 AS subject" }}\n'
    assert "needs a [database] table" in refused(tmp_path, text)


def test_recorded_arrivals_need_their_file(tmp_path: Path) -> None:
    """A file of recorded arrivals that is not there is found before anything starts."""
    recorded = 'traffic = { arrivals = "recorded", arrivals_path = "none.txt", '
    text = WITHOUT_DATABASE.replace("traffic = { ", recorded)
    assert "there is no file" in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("database", "message"),
    [
        ('pool_mode = "session"', 'needs database.pooler = "pgbouncer"'),
        ('pooler_settings = { x = "1" }', 'needs database.pooler = "pgbouncer"'),
        ('pooler = "pgbouncer", pooler_settings = { auth_type = "any" }', "sets auth_type itself"),
        ('pooler = "pgbouncer", pooler_settings = { "a b" = "1" }', "a name and one line of text"),
        ('pooler = "odyssey"', "odyssey"),
    ],
)
def test_a_pooler_that_cannot_be_as_it_is_asked_for(
    database: str, message: str, tmp_path: Path
) -> None:
    """Settings of a pooler need one, and those that a run makes itself are refused."""
    text = f"{WITHOUT_DATABASE}database = {{ {database} }}\n"
    assert message in refused(tmp_path, text)
    fault = f'{WITH_DATABASE}faults = [{{ do = "restart-pooler" }}]\n'
    assert "needs database.pooler" in refused(tmp_path, fault)


def test_a_value_that_nobody_could_compare(tmp_path: Path) -> None:
    """It needs a subject that it belongs to, and a query that returns what is stored."""
    step = '{ path = "/", value = "5" }'
    text = WITHOUT_DATABASE.replace('{ path = "/" }', step)
    assert "needs [integrity]" in refused(tmp_path, text)
    integrity = 'integrity = { subjects = ["./list"] }\n'
    assert "value needs a subject" in refused(tmp_path, text + integrity)
