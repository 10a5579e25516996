"""`hitless check --old REF --new REF`: both versions from one repository, which stays as it is."""

import hashlib
import subprocess
from pathlib import Path

import msgspec
import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.processes import Processes
from scenarios.check.check_report import CheckReport
from scenarios.cli.main import status
from scenarios.errors import UsageError
from scenarios.runner import release as application
from scenarios.runner.checking.two_refs import TwoRefs, checked_out
from scenarios.scenario.reader import Loaded, load

pytestmark = pytest.mark.timeout(120)

SCENARIO = """
name = "mine"

[application]
command = ["{python}", "{host}", "{port}"]
python = "./bin/python"

[versions.old]

[versions.new]

[database]
migrate = "migrations"

[release]
from = "old"
steps = [{ migrate = "migrations" }, { deploy = "new" }]

[[traffic.journeys]]
name = "look"
steps = [{ path = "/" }]
"""


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: the second has one more migration. The scenario is in a folder of it."""
    folder = tmp_path / "repo" / "app"
    (folder / "migrations").mkdir(parents=True)
    (folder / "scenario.toml").write_text(SCENARIO)
    (folder / "migrations" / "one.sql").write_text("CREATE TABLE items (id int)")
    git(folder.parent, "init", "--quiet", "--initial-branch", "main")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "--quiet", "-m", "first")
    git(folder.parent, "tag", "v1")
    (folder / "migrations" / "two.sql").write_text(
        "-- depends: one\nALTER TABLE items ADD COLUMN name text NOT NULL"
    )
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "--quiet", "-m", "second")
    return folder


def state(repository: Path) -> str:
    """All that git keeps, and the working tree."""
    digest = hashlib.sha256()
    for path in sorted(repository.parent.rglob("*")):
        if path.is_file():
            digest.update(f"{path}\n".encode() + path.read_bytes())
    return digest.hexdigest()


async def test_each_version_is_in_its_own_commit_and_nothing_is_left(repository: Path) -> None:
    """The first version and the base schema are old; all else is new. Tags are there for tools."""
    before = state(repository)
    loaded = load(str(repository / "scenario.toml"))
    refs = TwoRefs(
        old="v1", new="main", install="mkdir bin && touch bin/python && git describe --tags"
    )
    told: list[str] = []
    async with Processes() as processes:
        async with checked_out(loaded, refs, processes, told.append) as used:
            old, new = (application.version(used, name) for name in ("old", "new"))
            assert old.cwd is not None
            assert new.cwd is not None
            assert (old.cwd.name, new.cwd.name) == ("app", "app")
            files = [
                sorted(p.name for p in (cwd / "migrations").iterdir()) for cwd in (old.cwd, new.cwd)
            ]
            assert files == [["one.sql"], ["one.sql", "two.sql"]]
            for version in (old, new):
                assert version.python is not None
                assert Path(version.python) == (version.cwd or Path()) / "bin" / "python"
                assert Path(version.python).is_file()
            assert used.scenario.database is not None
            assert used.scenario.database.migrate == str(old.cwd / "migrations")
            assert used.scenario.release.steps[0].migrate == str(new.cwd / "migrations")
            folder = old.cwd.parent.parent
        assert not folder.exists()
    assert len(told) == 1
    assert state(repository) == before


@pytest.mark.parametrize("written", ["relative", "by a link"])
async def test_the_path_may_be_relative_or_lead_through_a_link(
    written: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both versions and `--install` are in the checked-out folders, and not in the working tree."""
    before = state(repository)
    monkeypatch.chdir(repository)
    path = "scenario.toml"
    if written == "by a link":
        link = repository.parent.parent / "link"
        link.symlink_to(repository.parent)
        path = str(link / "app" / "scenario.toml")
    refs = TwoRefs(old="v1", new="main", install="mkdir bin && touch bin/python")
    async with (
        Processes() as processes,
        checked_out(load(path), refs, processes, lambda _: None) as used,
    ):
        folders = [application.version(used, name).cwd for name in ("old", "new")]
        assert [one.parent.name for one in folders if one] == ["old", "new"]
        assert all((one / "bin" / "python").is_file() for one in folders if one)
        assert used.scenario.database is not None
        assert used.scenario.database.migrate == f"{folders[0]}/migrations"
    assert state(repository) == before


async def test_a_link_to_the_scenario_from_outside_is_refused(repository: Path) -> None:
    """Its folder is in no commit, so nothing of it could be checked out."""
    link = repository.parent.parent / "scenario.toml"
    link.symlink_to(repository / "scenario.toml")
    loaded = load(str(repository / "scenario.toml"))
    outside = Loaded(loaded.scenario, link, loaded.locations)
    refs = TwoRefs(old="v1", new="main")
    async with Processes() as processes:
        with pytest.raises(UsageError, match="give the path of the file itself"):
            async with checked_out(outside, refs, processes, print):
                pass


def test_a_hook_of_git_may_check_its_repository(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The variables that git sets for hooks do not make it check out in the user's repository."""
    before = state(repository)
    monkeypatch.setenv("GIT_DIR", str(repository.parent / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(repository.parent / ".git" / "index"))
    path = str(repository / "scenario.toml")
    assert status(["check", path, "--old", "v1", "--new", "main", "--graph", "text"]) == 0
    assert "S1  after two" in capfd.readouterr().out
    assert state(repository) == before


def test_migrations_of_the_base_are_not_applied_again(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The release has the one migration that the old commit has not."""
    path = str(repository / "scenario.toml")
    assert status(["check", path, "--old", "v1", "--new", "main", "--graph", "text"]) == 0
    out, err = capfd.readouterr()
    assert "S1  after two" in out
    assert "one" not in out.replace("undone", "")
    assert err == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--old", "v9", "--new", "main"], "--old v9: there is no such commit in"),
        (["--old", "v1", "--new", "mian"], "did you mean 'main'?"),
        (["--old", "v1"], "--old needs --new REF"),
        (["--install", "true"], "--install needs --old REF"),
    ],
)
def test_a_ref_that_does_not_exist_is_one_line(
    options: list[str], words: str, repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is checked out, and nothing is left."""
    before = state(repository)
    assert status(["check", str(repository / "scenario.toml"), *options]) == 2
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert words in err
    assert state(repository) == before


async def test_a_folder_without_git_and_an_install_that_fails_are_told(
    repository: Path, tmp_path: Path
) -> None:
    """The line has the command's own words, and the commit."""
    outside = tmp_path / "scenario.toml"
    outside.write_text(SCENARIO.replace('"migrations"', '"repo/app/migrations"'))
    async with Processes() as processes:
        with pytest.raises(UsageError, match="not in the working tree of a git repository"):
            async with checked_out(
                load(str(outside)), TwoRefs(old="v1", new="main"), processes, print
            ):
                pass
        loaded = load(str(repository / "scenario.toml"))
        refs = TwoRefs(old="v1", new="main", install="echo no network; exit 3")
        with pytest.raises(EnvironmentFailure, match=r"status 3 for (v1|main): no network"):
            async with checked_out(loaded, refs, processes, lambda _: None):
                pass


async def test_what_is_missing_in_a_commit_is_named_with_it(repository: Path) -> None:
    """The working tree has a folder that the old commit has not."""
    path = repository / "scenario.toml"
    path.write_text(SCENARIO.replace('migrate = "migrations"', 'migrate = "base"', 1))
    (repository / "base").mkdir()
    (repository / "base" / "zero.sql").write_text("SELECT 1")
    async with Processes() as processes:
        with pytest.raises(Exception, match=r"v1:app/base"):
            async with checked_out(
                load(str(path)), TwoRefs(old="v1", new="main"), processes, lambda _: None
            ):
                pass


APPLICATION = """
import http.server, json, os, sys
import asyncpg, asyncio

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        async def ask():
            connection = await asyncpg.connect(os.environ["DATABASE_URL"])
            try:
                return await connection.fetch("SELECT COLUMN FROM items")
            finally:
                await connection.close()
        body = json.dumps(len(asyncio.run(ask()))).encode() if self.path != "/up" else b"1"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""


@pytest.mark.soak
def test_two_commits_are_checked_on_real_processes(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The new commit renames a column that the old one reads: unsafe, with its SQLSTATE."""
    text = SCENARIO.replace('python = "./bin/python"\n', "").replace(
        '["{python}", ', '["{python}", "app.py", '
    )
    text = text.replace(
        "[versions.old]", '[application.env]\nDATABASE_URL = "{database_url}"\n\n[versions.old]'
    )
    text = text.replace("[application]\n", '[application]\nhealth_path = "/up"\n')
    (repository / "scenario.toml").write_text(text)
    top = repository.parent
    git(top, "checkout", "--quiet", "-b", "old", "v1")
    (repository / "app.py").write_text(APPLICATION.replace("COLUMN", "id"))
    git(top, "add", "app/app.py")
    git(top, "commit", "--quiet", "-m", "old application")
    git(top, "checkout", "--quiet", "-b", "new")
    (repository / "app.py").write_text(APPLICATION.replace("COLUMN", "number"))
    (repository / "migrations" / "two.sql").write_text(
        "-- depends: one\nALTER TABLE items RENAME COLUMN id TO number"
    )
    git(top, "add", "app")
    git(top, "commit", "--quiet", "-m", "new application")
    (repository / "scenario.toml").write_text(text)
    path = str(repository / "scenario.toml")
    assert status(["check", path, "--old", "old", "--new", "new", "--json"]) == 1
    out, _ = capfd.readouterr()
    report = msgspec.json.decode(out, type=CheckReport)
    first = report.chosen.hazards[0]
    assert (first.version, first.cause) == ("old", "sqlstate:42703")
    on_new = report.old_and_new.new_on_new
    assert on_new is not None
    assert on_new.ok
