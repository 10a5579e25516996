"""`hitless check` on real processes and a real Postgres, and what it says of bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from orchestrator.guardian import MARK
from scenarios.check.check_report import CheckReport
from scenarios.cli.main import status
from scenarios.runner.checking.result_cache import FOLDER

pytestmark = pytest.mark.timeout(180)

SCENARIO = """
extends = "with-default"
name = "mine"

[release]
from = "a"
steps = [{ migrate = "migrations" }, { deploy = "b" }]
"""

UNKNOWN_MIGRATION = (
    'release.steps=[{migrate="newsletter_app:migrations/big_bang", through="x"}, {deploy="b"}]'
)


def checked(*options: str, capfd: pytest.CaptureFixture[str]) -> tuple[int, CheckReport, str]:
    """Run a check; its exit status, its result, and what it told meanwhile."""
    code = status(["check", *options, "--json"])
    out, err = capfd.readouterr()
    return code, msgspec.json.decode(out, type=CheckReport), err


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """A scenario file with a folder of migrations beside it; the test fills it."""
    path = tmp_path / "scenario.toml"
    path.write_text(SCENARIO)
    (tmp_path / "migrations").mkdir()
    return path


@pytest.mark.usefixtures("cache")
def test_a_mailed_link_decides_between_the_strategies_and_is_found_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With a default, b's link is a 404 on a: unsafe in a mixed fleet, safe under blue-green.

    The second check reads what the first one found, and starts nothing.
    """
    code, report, _ = checked("with-default", capfd=capfd)
    assert code == 1
    assert {name: one.safe for name, one in report.strategies.items()} == {
        "naive": False,
        "rolling": False,
        "blue-green": True,
        "canary": False,
    }
    (hazard,) = report.chosen.hazards
    assert (hazard.version, hazard.cause) == ("a", "status:404")
    assert hazard.endpoint == "GET /subscriptions/confirm"
    assert report.old_and_new.old_warm_on_new is not None
    assert report.old_and_new.old_warm_on_new.ok
    on_old = report.old_and_new.new_on_old
    assert on_old is not None
    assert {one.cause for one in on_old.endpoints if not one.ok} == {"sqlstate:42703"}
    assert report.cached == 0
    (finding,) = report.findings
    assert (finding.rule, finding.line) == ("silent-default", 4)
    assert finding.file.endswith("with_default/with_default.0001.status.sql")

    code, again, told = checked("with-default", "--strategy", "blue-green", capfd=capfd)
    assert code == 0
    assert again.cached == again.trials == report.trials
    assert again.observed == report.observed
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"x.sql": "-- depends: y", "y.sql": "-- depends: x"}, "in a circle: x, y"),
        ({"x.py": "import ("}, "invalid syntax"),
        ({"x.sql": "-- depends: z"}, "ould not resolve dependencies"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_migrations_that_cannot_be_read_are_one_line_and_nothing_is_started(
    files: dict[str, str], words: str, scenario: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The line names the scenario, the step and the file."""
    for name, text in files.items():
        (scenario.parent / "migrations" / name).write_text(text)
    assert status(["check", str(scenario)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert words in err
    assert "step 1" in err


@pytest.mark.soak
@pytest.mark.usefixtures("cache")
def test_sql_that_is_no_sql_names_its_file(
    scenario: Path, postgres_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only Postgres can tell; everything that was started has ended then."""
    (scenario.parent / "migrations" / "x.sql").write_text("ALTER TABEL subscriptions")
    assert status(["check", str(scenario), "--database", postgres_url]) == 2
    _, err = capfd.readouterr()
    assert "x.sql" in err.splitlines()[-1]
    assert "syntax error" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["big-bang", "--strategy", "roling"], 2, "did you mean 'rolling'?"),
        (["big-bang", "--graph", "dot"], 2, "there are: text, mermaid"),
        (["big-bang", "--sarif", "no/such/x.sarif"], 2, "there is no folder no/such"),
        (["big-bang", "--html", "."], 2, "this is a folder"),
        (["big-bang", "--suggest", "no/such/folder"], 2, "there is no folder no/such"),
        (["big-bang", "--suggest", "."], 2, "expected a folder that is empty or does not exist"),
        (["undo", "--suggest", "x"], 2, "neither a folder of yoyo migrations nor a deployment"),
        (["no-such-scenario"], 2, "no-such-scenario"),
        (
            ["big-bang", "--set", 'release.steps=[{deploy="c"}]'],
            2,
            "unknown version 'c'",
        ),
        (
            [
                "big-bang",
                "--set",
                UNKNOWN_MIGRATION,
            ],
            2,
            "there is no migration 'x'",
        ),
        (["big-bang", "--database", "postgresql://x@127.0.0.1:1/x"], 4, "does not answer"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_bad_input_is_one_line(
    arguments: list[str], code: int, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It says what is wrong, where, and what would be right."""
    assert status(["check", *arguments]) == code
    _, err = capfd.readouterr()
    assert words in err.splitlines()[-1]
    assert len(err.splitlines()) <= 2


def test_the_graph_is_printed_without_a_database(capfd: pytest.CaptureFixture[str]) -> None:
    """It needs the migrations' names, and nothing else."""
    assert status(["check", "big-bang", "--graph", "mermaid"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("flowchart TD\n")
    assert "big_bang.0001.status" in out
    assert err == ""


@pytest.mark.soak
def test_a_killed_check_leaves_nothing(tmp_path: Path) -> None:
    """After `kill -9` of the check, its replicas, its Postgres and its folders are gone."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    environ = {**os.environ, "TMPDIR": str(folder), FOLDER: str(tmp_path / "cache")}
    check = subprocess.Popen(
        [sys.executable, "-m", "hitless", "check", "expand-contract"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[4],
    )
    assert check.stderr is not None
    told = [check.stderr.readline(), check.stderr.readline()]  # the first trial has ended
    assert "on the base schema" in told[1], told
    marks = {_mark(int(one)) for one in _children(check.pid)} - {None}
    assert marks
    check.send_signal(signal.SIGKILL)
    check.communicate()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        left = [one.name for one in Path("/proc").glob("[0-9]*") if _mark(int(one.name)) in marks]
        if not left and not list(folder.iterdir()):
            return
        time.sleep(0.1)
    pytest.fail(f"left: {left} {list(folder.iterdir())}")


def _children(pid: int) -> list[str]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return tasks.read_text().split()


def _mark(pid: int) -> str | None:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = f"{MARK}=".encode()
    return next((one.decode() for one in environ if one.startswith(prefix)), None)


def test_the_report_is_json() -> None:
    """Its type can be published as JSON Schema."""
    assert json.dumps(msgspec.json.schema(CheckReport))
