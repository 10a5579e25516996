"""What a scenario says of an application becomes what the orchestrator runs."""

import signal
import sys
from pathlib import Path

from orchestrator.model import Deploy, Migrate, MigrateDown, RunCommand
from scenarios.runner import release as application
from scenarios.scenario.placeholders import database_values
from scenarios.scenario.reader import Loaded, load

TEXT = """
name = "own"

[application]
command = ["{python}", "serve.py", "{port}"]
env = { A = "1", B = "2" }
readiness_path = "/ready"
stop_signal = "SIGINT"
signal_group = true
warm_up = ["/ready"]

[versions.one]
python = "venv-one/bin/python"
cwd = "one"

[versions.two]
command = ["serve-two", "{port}"]
env = { B = "{version} on {database_host}" }

[release]
from = "one"
steps = [
    { migrate = ["{python}", "-m", "alembic", "upgrade", "head"] },
    { deploy = "two" },
    { migrate = ["{python}", "clean.py", "{database_name}"], using = "one" },
    { migrate_down = ["{python}", "-m", "alembic", "downgrade", "-1"] },
    { migrate_down = "old", through = "0002" },
]

[database]

[[traffic.journeys]]
name = "look"
steps = [{ path = "/" }]
"""


def loaded(folder: Path) -> Loaded:
    (folder / "scenario.toml").write_text(TEXT)
    (folder / "old").mkdir()
    (folder / "old" / "0002.sql").write_text("SELECT 1;")
    return load(str(folder / "scenario.toml"))


def test_a_version_says_only_what_differs(tmp_path: Path) -> None:
    """A version takes over what the application says; paths start from the scenario's folder."""
    own = loaded(tmp_path)
    one, two = application.version(own, "one"), application.version(own, "two")
    assert one.command == ("{python}", "serve.py", "{port}")
    assert (one.python, one.cwd) == (str(tmp_path / "venv-one/bin/python"), tmp_path / "one")
    assert two.command == ("serve-two", "{port}")
    assert (two.python, two.cwd) == (None, tmp_path)
    assert (one.env, two.env["A"]) == ({"A": "1", "B": "2"}, "1")
    assert (two.stop_signal, two.signal_group) == (signal.SIGINT, True)
    assert two.warm_up == ("/ready",)


def test_a_command_migrates_as_the_version_that_it_belongs_to(tmp_path: Path) -> None:
    """A command runs with the next version's directory and environment, or with the one named."""
    values = database_values("postgresql://me:p%40ss@db:6543/shop")
    steps = application.release(loaded(tmp_path), values).steps
    assert steps[0] == RunCommand(
        name="alembic upgrade head",
        command=(sys.executable, "-m", "alembic", "upgrade", "head"),
        env={"A": "1", "B": "two on db"},
        cwd=tmp_path,
    )
    assert isinstance(steps[1], Deploy)
    assert isinstance(steps[2], RunCommand)
    assert steps[2].name == "clean.py {database_name}"
    assert steps[2].command[1:] == ("clean.py", "shop")
    assert steps[2].cwd == tmp_path / "one"


def test_the_newest_version_takes_its_migrations_back(tmp_path: Path) -> None:
    """A command that migrates down runs as the last version that was deployed before it."""
    values = database_values("postgresql://db/shop")
    steps = application.release(loaded(tmp_path), values).steps
    assert steps[3] == MigrateDown(
        what=RunCommand(
            name="alembic downgrade -1",
            command=(sys.executable, "-m", "alembic", "downgrade", "-1"),
            env={"A": "1", "B": "two on db"},
            cwd=tmp_path,
            down=True,
        )
    )
    assert steps[4] == MigrateDown(what=Migrate(directory=tmp_path / "old", through="0002"))


def test_the_parts_of_a_database_url() -> None:
    """Drivers that want a host, a user and a password find them as they are meant."""
    assert database_values("postgresql://me:p%40ss@db/shop") == {
        "database_url": "postgresql://me:p%40ss@db/shop",
        "database_host": "db",
        "database_port": "5432",
        "database_user": "me",
        "database_password": "p@ss",
        "database_name": "shop",
    }


def test_paths_start_from_the_file_that_has_them(tmp_path: Path) -> None:
    """A file in another folder that extends this one runs the same programs in the same places."""
    own = loaded(tmp_path)
    (tmp_path / "journeys.py").write_text("async def look(user): ...\n")
    (tmp_path / "scenario.toml").write_text(
        TEXT.replace('steps = [{ path = "/" }]', 'python = "journeys.py:look"')
    )
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "big.toml").write_text(
        'extends = "../../scenario.toml"\n[policy]\nreplicas = 9\n[versions.two]\ncwd = "x"\n'
    )
    other = load(str(tmp_path / "deep" / "er" / "big.toml"))
    assert application.version(other, "one") == application.version(own, "one")
    assert application.version(other, "two").cwd == tmp_path / "deep" / "er" / "x"
    (journey,) = other.scenario.traffic.journeys
    path, _, name = str(journey.python).rpartition(":")
    assert (Path(path).resolve(), name) == (tmp_path / "journeys.py", "look")
    assert other.scenario.policy.replicas == 9
