"""What a scenario says of an application becomes what the orchestrator runs."""

import io
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from orchestrator.model import Deploy, Migrate, MigrateDown, ReleaseResult, RunCommand
from scenarios.cli.running import progress
from scenarios.evidence.manifest import Manifest
from scenarios.reports.live.plain import PlainProgress
from scenarios.runner import release as application
from scenarios.runner.manifest import RouterFacts, manifest_of
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.overrides import Changes
from scenarios.scenario.placeholders import database_values
from scenarios.scenario.reader import Loaded, load
from scenarios.scenario.spec import Expectation

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


MIGRATED = """
extends = "scenario.toml"
name = "timed"

[database]
lock_timeout_seconds = 0.5

[release]
from = "one"
steps = [
    { migrate = ["flyway", "migrate"] },
    { deploy = "two" },
    { migrate = ["{python}", "-m", "alembic", "upgrade", "head"], using = "one" },
    { migrate_down = ["/opt/liquibase", "rollback"] },
    { migrate = ["flyway", "migrate"] },
]
"""


def test_a_migrator_that_will_not_hear_of_the_lock_timeout(tmp_path: Path) -> None:
    """Where a lock timeout is asked for, each command that is known to ignore it is told once."""
    own = loaded(tmp_path)
    (tmp_path / "timed.toml").write_text(MIGRATED)
    timed = load(str(tmp_path / "timed.toml"))
    found = application.commands_without_lock_timeout(timed)
    assert [warning.partition(" ignores ")[0] for warning in found] == [
        "flyway migrate",
        "/opt/liquibase rollback",
    ]
    assert "JDBC takes no settings from PGOPTIONS. Set lock_timeout in the migration" in found[0]
    assert application.commands_without_lock_timeout(own) == []
    out = io.StringIO()
    experiment = Experiment(loaded=timed, strategy="rolling", seed=1, replay="")
    view = progress(Console(file=out, width=200), experiment, no_live=True)
    assert out.getvalue().splitlines() == [f"warning: {warning}" for warning in found]
    assert isinstance(view, PlainProgress)
    assert [(step.verb, step.text) for step in view.state.header.steps] == [
        ("migrate", "migrate flyway migrate"),
        ("deploy", "deploy two"),
        ("migrate", "migrate alembic upgrade head"),
        ("migrate", "migrate down /opt/liquibase rollback"),
        ("migrate", "migrate flyway migrate"),
    ]


def test_the_manifest_says_what_was_run() -> None:
    """Whatever a verdict is told of an experiment is what the experiment was."""
    asked = Changes(
        replicas=4,
        rate=30.0,
        existing_rows=77,
        faults=("kill", "block:1"),
        persona="kubernetes",
        settings=("objectives.slow_requests=3",),
    )
    experiment = asked.experiment("expand-contract", "canary", 9)
    result = ReleaseResult(
        outcome="rolled_back", reason="it failed", seconds=3.5, floor_seconds=1.25, versions=("a",)
    )
    started = datetime(2026, 11, 27, 12, 30, 1, tzinfo=UTC)

    def of(result: ReleaseResult | None) -> Manifest:
        return manifest_of(
            experiment,
            result,
            database="run_1",
            router=RouterFacts("Router 1.2", ("it cannot drain",)),
            started_at=started,
            interrupted=result is None,
            digests={"requests.ndjson": "00"},
        )

    manifest, scenario = of(result), experiment.scenario
    assert (manifest.scenario, manifest.strategy, manifest.seed) == ("expand-contract", "canary", 9)
    assert (manifest.replicas, manifest.rate, manifest.existing_rows) == (4, 30.0, 77)
    assert manifest.versions == ("a", "bridge", "b")
    assert scenario.integrity is not None
    assert manifest.states == scenario.integrity.states
    assert manifest.confirmed_state == "active"
    assert manifest.confirm_endpoint == scenario.integrity.confirm_endpoint
    assert manifest.subject_endpoint == scenario.integrity.subject_endpoint
    assert (manifest.outcome, manifest.outcome_reason) == ("rolled_back", "it failed")
    assert manifest.expected_outcome == "completed"
    assert manifest.objectives.slow_requests == 3
    assert (manifest.faults, manifest.database) == (("kill", "block"), "run_1")
    assert (manifest.router, manifest.router_version) == ("hitless", "Router 1.2")
    assert manifest.router_lacks == ("it cannot drain",)
    assert (manifest.platform, manifest.persona) == ("local", "kubernetes")
    assert manifest.termination is not None
    how = scenario.policy.termination
    assert manifest.termination.order == how.order
    assert manifest.termination.pre_stop_seconds == how.pre_stop_seconds
    assert manifest.termination.grace_seconds == how.grace_seconds
    assert manifest.termination.deregistration_lag_seconds == how.deregistration_lag_seconds
    assert manifest.termination.drain_timeout_seconds == scenario.policy.drain_timeout_seconds
    assert manifest.replay == experiment.replay
    assert "--replicas 4" in manifest.replay
    assert manifest.started_at == "2026-11-27T12:30:01+00:00"
    assert manifest.files == {"requests.ndjson": "00"}
    assert manifest.environment.keys() >= {"python", "system", "machine"}
    cut = of(None)
    assert (cut.interrupted, cut.outcome, cut.outcome_reason) == (True, "aborted", "interrupted")
    declared = msgspec.structs.replace(
        scenario, expect=Expectation(outcome="completed", outcomes={"canary": "rolled_back"})
    )
    other = replace(experiment, loaded=Loaded(declared, experiment.loaded.path))
    assert (
        manifest_of(
            other, result, database=None, router=None, started_at=started, interrupted=False,
            digests={},
        ).expected_outcome
        == "rolled_back"
    )  # fmt: skip
