"""What trials see is what is known: the newsletter's table, and what each scenario declares.

Runs of the four plans and of the examples are made as well, and compared with their predictions.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from benchmarks.check_agreement import PLANS, STRATEGIES, predicted, tried
from scenarios.check.check_report import CheckReport
from scenarios.cli.main import status
from scenarios.runner.checking.result_cache import FOLDER
from scenarios.scenario.reader import load
from tests.scenarios.check.newsletter_facts import BRIDGE, CONFIRM, POST, SUBSCRIBE, A, B

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

EXAMPLES = Path(__file__).parents[4] / "examples"
EXAMPLES_WITH_VERSIONS = ("django", "flask-alembic", "plain", "node")
"""Their failures are of versions and schemas; those of the others are of servers, workers and
caches, which a check does not look at."""

RELEASES = (
    *("big-bang", "code-first", "with-default", "expand-contract", "code-first-gated"),
    *("undo", "undo-refused", "take-back", "take-back-refused", "good"),
    *("renamed-under-star", "virtual-column"),
)
TOKEN = "t" * 25

SCENARIO = """
extends = "expand-contract"
name = "table"

[database.rows]
table = "subscriptions"
columns = { id = "{uuid}", email = "known@example.com", name = "known", subscribed_at = "{now}" }
count = 1

[release]
from = "a"
steps = [{ migrate = "migrations" }, { deploy = "bridge" }, { deploy = "b" }]

[[traffic.journeys]]
name = "subscribe"

[[traffic.journeys.steps]]
method = "POST"
path = "/subscriptions"
form = { name = "Reader {unique}", email = "{user}" }

[[traffic.journeys]]
name = "confirm"
steps = [{ path = "/subscriptions/confirm?token=TOKEN" }]
""".replace("TOKEN", TOKEN)

MIGRATIONS = {
    "tokens": """
        CREATE TABLE subscription_tokens (
            subscription_token text PRIMARY KEY,
            subscriber_id uuid NOT NULL UNIQUE REFERENCES subscriptions (id),
            request_id text NOT NULL, due_at timestamptz NOT NULL,
            attempts integer NOT NULL DEFAULT 0, sent_at timestamptz
        );
        INSERT INTO subscription_tokens SELECT 'TOKEN', id, 'r', now(), 0, now()
        FROM subscriptions WHERE email = 'known@example.com';""".replace("TOKEN", TOKEN),
    "nullable": "ALTER TABLE subscriptions ADD COLUMN status text;",
    "not null": """
        UPDATE subscriptions SET status = 'active' WHERE status IS NULL;
        ALTER TABLE subscriptions ALTER COLUMN status SET NOT NULL;""",
    "default": "ALTER TABLE subscriptions ADD COLUMN status text NOT NULL DEFAULT 'active';",
}
WAYS = {
    ("nullable", "tokens", "not null"): ("S0", "S1", "S1+tokens", "S3"),
    ("tokens",): ("S0", "S0+tokens"),
    ("nullable", "not null"): ("S0", "S1", "S2"),
    ("default", "tokens"): ("S0", "SD", "SD+tokens"),
}
"""The migrations of a release, and the schemas of the table that they lead through."""

CONFIRMED = {
    "S0": "42P01",
    "S0+tokens": "42703",
    "S1": "42P01",
    "S1+tokens": None,
    "S2": "42P01",
    "S3": None,
    "SD": "42P01",
    "SD+tokens": None,
}


@pytest.fixture(scope="module")
def predictions() -> dict[str, CheckReport]:
    """What was predicted of each plan, once."""
    return {}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of this test's own."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))


def report(capfd: pytest.CaptureFixture[str], *arguments: str) -> CheckReport:
    code = status(["check", *arguments, "--json"])
    out, err = capfd.readouterr()
    assert code in (0, 1), err
    return msgspec.json.decode(out, type=CheckReport)


def cells(found: CheckReport) -> Iterator[tuple[int, str, dict[str, str | None]]]:
    """How many migrations are applied, the version, and the SQLSTATE or cause of each endpoint."""
    for cell in found.observed.cells:
        answers = {
            one.endpoint: None if one.ok else one.cause.removeprefix("sqlstate:")
            for one in cell.endpoints
        }
        yield len(cell.schema), cell.version, answers


@pytest.mark.parametrize("way", WAYS, ids=" → ".join)
def test_the_table_is_reproduced_cell_by_cell(
    way: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each version answers on each schema as the table says, with the SQLSTATE of the table."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    before = ""
    for number, name in enumerate(way):
        depends = f"-- depends: {before}\n" if before else ""
        before = f"{number}.{name.replace(' ', '-')}"
        (folder / f"{before}.sql").write_text(depends + MIGRATIONS[name])
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(SCENARIO)
    found = report(capfd, str(scenario), "--all")
    seen = set()
    for count, version, answers in cells(found):
        state = WAYS[way][count]
        seen.add((count, version))
        assert answers[SUBSCRIBE] == POST[state][version], (state, version)
        expected = "status:404" if version == A else CONFIRMED[state]
        assert answers[CONFIRM] == expected, (state, version)
    assert seen == {(count, version) for count in range(len(way) + 1) for version in (A, BRIDGE, B)}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("plan", PLANS)
def test_all_sixteen_cells_are_what_a_run_observes(
    plan: str, strategy: str, tmp_path: Path, predictions: dict[str, CheckReport]
) -> None:
    """The same verdict, no cause that was not predicted, and the predicted end."""
    assert_agrees(plan, strategy, tmp_path, predictions)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("variant", ["scenario.toml", "broken.toml"])
@pytest.mark.parametrize("name", EXAMPLES_WITH_VERSIONS)
def test_runs_of_the_examples_observe_what_was_predicted(
    name: str, variant: str, strategy: str, tmp_path: Path, predictions: dict[str, CheckReport]
) -> None:
    """Other frameworks and migration tools, in the same way."""
    if name == "node" and shutil.which("node") is None:
        pytest.skip("the Node example needs `node` on PATH")
    assert_agrees(str(EXAMPLES / name / variant), strategy, tmp_path, predictions)


def assert_agrees(
    plan: str, strategy: str, place: Path, predictions: dict[str, CheckReport]
) -> None:
    if plan not in predictions:
        predictions[plan] = predicted(plan)
    safety = predictions[plan].strategies[strategy]
    cell = tried(plan, strategy, safety, place)
    assert not cell.disagreements, cell.row


def expected_of(reference: str, strategy: str) -> tuple[set[str], str]:
    """The causes with which a scenario must fail under a strategy, and how it must end."""
    expect = load(reference).scenario.expect
    causes = expect.fails_with.get(strategy, ())
    return set(causes), expect.outcomes.get(strategy, expect.outcome)


def assert_as_declared(found: CheckReport, reference: str) -> None:
    for strategy, safety in found.strategies.items():
        causes, outcome = expected_of(reference, strategy)
        assert safety.safe == (not causes), (strategy, safety.causes)
        if causes:
            assert causes & set(safety.causes), (strategy, safety.causes)
        assert safety.outcome == outcome or causes, (strategy, safety.reason)
        assert safety.untried == ()


@pytest.mark.parametrize("name", RELEASES)
def test_predictions_are_what_the_scenarios_declare(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """For each strategy: safe or not, a cause of those declared, and how the release ends."""
    assert_as_declared(report(capfd, name), name)


def test_a_widened_column_is_refused_on_warm_connections_only(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A fresh replica accepts the large value; under traffic nobody sees the difference."""
    found = report(capfd, "widened-column")
    assert found.chosen.causes == ("warm_connections",)
    hazard = found.chosen.hazards[0]
    assert (hazard.version, hazard.connections) == ("a", "warm")
    assert "422 on warm connections, and with 201 on fresh ones" in hazard.what


def test_a_tool_that_three_replicas_start_changes_the_rows_three_times(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each of them exits with 0. Without `--migrators` the release is safe."""
    assert report(capfd, "three-migrators").passed
    found = report(capfd, "three-migrators", "--migrators")
    (tool,) = found.observed.migrators
    assert tool.exits_at_once == (0, 0, 0)
    assert "readings has other values" in tool.differences_at_once
    # The statement of a killed one is a transaction of its own, so Postgres committed it.
    assert "readings has other values" in tool.left_by_killed
    assert not found.passed


def test_a_lock_row_outlives_the_killed_tool(capfd: pytest.CaptureFixture[str]) -> None:
    """The next run ends with a LockTimeout, and changes nothing."""
    assert report(capfd, "killed-migrator").passed
    found = report(capfd, "killed-migrator", "--migrators")
    (tool,) = found.observed.migrators
    assert (tool.killed, tool.exit_after_kill) == (True, 1)
    assert "LockTimeout" in (tool.said_after_kill or "")
    assert not found.passed


def test_the_environment_has_no_cache_of_its_own() -> None:
    """The fixture above is in force: a result of another machine must not pass for one."""
    assert os.environ[FOLDER].endswith("cache")
