"""A mistake is found by the first requests, and told with what shows it; nothing is deployed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from orchestrator.errors import EnvironmentFailure
from scenarios.cli.main import status
from scenarios.errors import ScenarioError
from scenarios.evidence.request_id import is_try, try_user
from scenarios.evidence.tick import Tick
from scenarios.runner.early import BaselineWatch, check_queries, failure_of
from scenarios.runner.programs import check_programs
from scenarios.scenario.reader import Loaded, load
from scenarios.traffic.journeys.first_try import FailedTry, first_try
from scenarios.traffic.settings import Capture, Journey, Step, TrafficSettings
from tests.support.servers import Server, read_request, serving

SCENARIO = """
name = "own"

[application]
command = ["{python}", "app.py", "{port}"]

[versions]
a = {}
b = {}

[release]
from = "a"
steps = [{ deploy = "b" }]

[traffic]
rate = 50

[[traffic.journeys]]
name = "look"
steps = [
    { path = "/health" },
    { path = "/itmes" },
]
"""
APP = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = 200 if self.path in ("/", "/health") else 404
        body = b"ok" if status == 200 else b'{"detail": "no such page"}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def written(folder: Path, text: str = SCENARIO) -> Path:
    """A scenario with its application."""
    (folder / "app.py").write_text(APP)
    (folder / "own.toml").write_text(text)
    return folder / "own.toml"


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_wrong_path_is_told_with_the_response_and_the_log(
    options: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second step's path is wrong: one line has the line of the file, the body and the log."""
    scenario = written(tmp_path)
    out = tmp_path / "runs"
    code = status(["run", str(scenario), "--no-live", "--out", str(out), *options])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    at = SCENARIO.splitlines().index('    { path = "/itmes" },') + 1
    assert line.startswith(f"hitless: {scenario}:{at}: key 'traffic.journeys.steps.path': ")
    assert "version a does not serve GET /itmes as the scenario expects" in line
    assert "status 404, expected 200" in line
    assert '{"detail": "no such page"}' in line
    assert '"GET /itmes HTTP/1.1" 404' in line, "the last lines of the replica's log"


def test_a_dry_run_deploys_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--dry-run` says that the journeys work; no run, no folder and no verdict are left."""
    scenario, out = written(tmp_path, SCENARIO.replace("/itmes", "/")), tmp_path / "runs"
    assert status(["run", str(scenario), "--dry-run", "--out", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == (
        "own: version a starts, and 1 journey got the expected responses. Nothing was deployed."
    )
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"app.py"', '"ap.py"'), "key 'application.command': there is no file "),
        (('"{python}"', '"pyhton"'), "there is no program pyhton on PATH"),
        (('"{python}"', '"bin/run"'), "there is no program bin/run in "),
        (('"{python}"', '"app.py"'), "on PATH; for the file "),
        (('"{python}"', '"./app.py"'), "is not executable (chmod +x)"),
        (("b = {}", 'b = { cwd = "new" }'), "key 'versions.b.cwd': there is no folder "),
        (
            ("b = {}", 'b = { command = ["nodee"] }'),
            "key 'versions.b.command': there is no program",
        ),
        (("[{ deploy", '[{ migrate = ["alembik"] }, { deploy'), "there is no program alembik"),
    ],
)
def test_what_cannot_be_started_is_found_before_anything_is(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    """Programs, scripts and folders are looked for first; the message names file, line and key."""
    text = SCENARIO.replace(*change)
    if "migrate" in text:
        text += "[database]\n"
    loaded = load(str(written(tmp_path, text)))
    with pytest.raises(ScenarioError) as raised:
        check_programs(loaded)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"{tmp_path / 'own.toml'}:")


def test_what_is_there_is_not_refused(tmp_path: Path) -> None:
    """The programs of all built-in scenarios are there, and so are those of a file."""
    check_programs(load("big-bang"))
    check_programs(load("good"))
    check_programs(load(str(written(tmp_path))))


INTEGRITY = """
[database]

[integrity]
subjects = "SUBJECTS"
settled_when = "SETTLED"
"""


@pytest.mark.parametrize(
    ("subjects", "settled", "message"),
    [
        ("SELECT datname AS subject FROM pg_database", "SELECT true", None),
        ("SELEC 1", "SELECT true", "key 'integrity.subjects': Postgres refuses the query: syntax"),
        ("SELECT 1 AS id", "SELECT true", "the query has no column 'subject'; its columns are: id"),
        ("SELECT 1 AS subject", "SELECT 1", "key 'integrity.settled_when': the query must return"),
        ("SELECT 1 AS subject", "SELECT FROM", "Postgres refuses the query: "),
        ("SELECT 1 AS subject", "SELECT x FROM later", None),
    ],
)
async def test_queries_are_tried(
    subjects: str, settled: str, message: str | None, tmp_path: Path, postgres_url: str
) -> None:
    """Postgres prepares each query, and the message names the key and what Postgres says."""
    text = SCENARIO + INTEGRITY.replace("SUBJECTS", subjects).replace("SETTLED", settled)
    loaded = load(str(written(tmp_path, text)))
    if message is None:
        await check_queries(loaded, postgres_url, started=True)
        return
    with pytest.raises(ScenarioError) as raised:
        await check_queries(loaded, postgres_url, started=True)
    assert message in str(raised.value) or "column" in message


async def test_a_table_may_come_until_the_application_has_started(
    tmp_path: Path, postgres_url: str
) -> None:
    """A table that the application makes itself is missing only once it has started."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("DROP TABLE IF EXISTS readers")
    await connection.close()
    text = SCENARIO + INTEGRITY.replace("SUBJECTS", "SELECT id AS subject FROM readers").replace(
        "SETTLED", "SELECT true"
    )
    loaded = load(str(written(tmp_path, text)))
    await check_queries(loaded, postgres_url, started=False)
    with pytest.raises(ScenarioError, match='relation "readers" does not exist'):
        await check_queries(loaded, postgres_url, started=True)


OK = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nSet-Cookie: who=me; Path=/\r\n\r\n" + b'{"id": "77"}'
)
REFUSED = b"HTTP/1.1 500 No\r\nContent-Length: 4\r\nX-Served-By: a-2\r\n\r\noops"


@asynccontextmanager
async def scripted(*responses: bytes) -> AsyncIterator[tuple[Server, list[bytes]]]:
    """A server that answers with these in turn, the last one from then on; and what it was sent."""
    heads: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_request(reader))
        writer.write(responses[min(len(heads), len(responses)) - 1])
        await writer.drain()

    async with serving(behave) as server:
        yield server, heads


async def tried(server: Server, *steps: Step) -> FailedTry | None:
    traffic = TrafficSettings(journeys=(Journey(name="one", steps=steps),))
    return await first_try("127.0.0.1", server.port, traffic, seed=3, captured={})


async def test_a_journey_is_made_with_what_it_captures_and_its_cookies() -> None:
    """Steps follow one another, with captured values and cookies, up to one that waits for mail."""
    async with scripted(OK) as (server, heads):
        found = await tried(
            server,
            Step(path="/first/{unique}", capture={"id": Capture(json="id")}),
            Step(path="/second/{id}"),
            Step(path="{link}", after="mail"),
        )
    assert found is None
    first, second = heads
    assert first.startswith(b"GET /first/s3-try-0 ")
    assert second.startswith(b"GET /second/77 ")
    assert b"Cookie: who=me\r\n" in second


async def test_what_fails_each_time_is_told() -> None:
    """A step that fails three times is a failure, with its status, its body and who answered."""
    async with scripted(REFUSED) as (server, heads):
        found = await tried(server, Step(path="/x", method="POST"))
    assert found == FailedTry(
        keys=("journeys", "0", "steps", "0", "path"),
        request="POST /x",
        problem="status 500, expected 200",
        status=500,
        body="oops",
        replica="a-2",
    )
    assert len(heads) == 3


async def test_what_fails_once_is_forgiven() -> None:
    """An application that now and then fails is a matter for the run."""
    async with scripted(REFUSED, OK) as (server, _):
        assert await tried(server, Step(path="/x")) is None


async def test_nobody_answers() -> None:
    """Without any response there is no status, and the problem says so."""
    async with scripted(b"") as (server, _):
        found = await tried(server, Step(path="/x"))
    assert found is not None
    assert found.status is None
    assert found.problem.startswith("no complete response")


def test_the_users_of_tries_are_none_of_the_run() -> None:
    """Mails to those who tried a journey are told from the mails of users."""
    assert is_try("s7-try-12@example.com")
    assert is_try(f"item of {try_user(7, 3)}")
    assert not is_try("s7-tryst-12 or entry-3 s77-retry-1")
    assert not is_try("s7-000012@example.com")
    assert not is_try("s7-u000012@example.com")
    assert not is_try("try@example.com")


@pytest.mark.parametrize(
    ("code", "kind"), [(404, ScenarioError), (500, EnvironmentFailure), (None, EnvironmentFailure)]
)
def test_who_can_mend_it(code: int | None, kind: type[Exception], tmp_path: Path) -> None:
    """Another answer than expected is the file's matter; an error or silence the application's."""
    loaded: Loaded = load(str(written(tmp_path)))
    failed = FailedTry(keys=("journeys", "0"), request="GET /x", problem="p", status=code)
    (tmp_path / "a-1.log").write_text("first\nsecond\nthird\nTraceback: no such table\n")
    error = failure_of(loaded, failed, tmp_path, "a-1")
    assert type(error) is kind
    assert "the last lines of its log: second | third | Traceback: no such table" in str(error)


def ticks(*counts: tuple[int, int]) -> list[Tick]:
    return [Tick(at_ns=1, seconds=0.25, ok=ok, failed=failed) for ok, failed in counts]


@pytest.mark.parametrize(
    ("counts", "hopeless"),
    [
        ([(0, 9)], (False, False)),
        ([(0, 5), (0, 5)], (True, True)),
        ([(9, 10)], (True, False)),
        ([(20, 10)], (False, False)),
        ([(100, 0), (0, 90)], (False, False)),
    ],
)
def test_a_hopeless_baseline(counts: list[tuple[int, int]], hopeless: tuple[bool, bool]) -> None:
    """It is hopeless when most requests fail; beside a control run only when all of them do."""
    for allow_some, expected in zip((False, True), hopeless, strict=True):
        watch = BaselineWatch(allow_some=allow_some)
        for tick in ticks(*counts):
            watch.hear(tick)
        assert watch.hopeless.is_set() is expected


JOURNEYS = """
async def look(user):
    await user.get("/nowhere")
"""


def test_a_baseline_that_fails_from_its_start_ends_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What no try could find, a coroutine's wrong path, ends the run in its baseline."""
    text = SCENARIO.partition("steps = [\n")[0] + 'python = "journeys.py:look"\n'
    text += "[phases]\nbaseline_seconds = 60\n"
    scenario = written(tmp_path, text)
    (tmp_path / "journeys.py").write_text(JOURNEYS)
    arguments = ["run", str(scenario), "--no-live", "--out", str(tmp_path / "runs")]
    assert status(arguments) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "requests failed from the start, before anything was deployed; the first: " in line
    assert "GET /nowhere" in line
    assert "status 404" in line
