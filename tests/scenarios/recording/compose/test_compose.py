"""What Docker's engine tells of a compose project becomes starts, stops and exits in the journal.

`recorded_events.ndjson` is what Docker 20.10.24 wrote while docker-compose 1.29.2 started two
services, replaced the container of one, which does not react to SIGTERM, and two more containers
ended by themselves: one out of memory, one with the status 3.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import EnvironmentFailure
from orchestrator.journal import Journal
from orchestrator.model import JournalEvent
from scenarios.cli.main import status
from scenarios.errors import ScenarioError
from scenarios.recording.compose.container_events import (
    ContainerLives,
    ObservedChange,
    event_of,
    running_of,
)
from scenarios.recording.compose.engine import ComposeProject

RECORDED = Path(__file__).with_name("recorded_events.ndjson").read_text().splitlines()
OLD, NEW = "web-1.0865bf", "web-1.529c0f"


def observed(lines: list[str]) -> list[ObservedChange]:
    lives = ContainerLives()
    events = [event for line in lines if (event := event_of(line)) is not None]
    return [found for event in events for found in lives.take(event)]


def test_what_a_real_engine_told() -> None:
    """A container that is replaced stops and the next one starts; others end by themselves."""
    found = observed(RECORDED)
    assert [(one.verb, one.state, one.event.replica) for one in found] == [
        ("start", "completed", OLD),
        ("start", "completed", "worker-1.1d4ae2"),
        ("stop", "started", OLD),
        ("stop", "completed", OLD),
        ("start", "completed", NEW),
        ("start", "completed", "hog-1.ee46ad"),
        ("replica", "noted", "hog-1.ee46ad"),
        ("start", "completed", "cron-1.0a9b6c"),
        ("replica", "noted", "cron-1.0a9b6c"),
    ]
    how = "ended with status 137 after SIGTERM, then SIGKILL"
    assert found[3].detail == {"compose_service": "web", "how": how, "killed": True}
    assert found[6].error == "ended with status 137, out of memory"
    assert found[8].error == "ended with status 3"
    assert [one.at_ns for one in found] == sorted(one.at_ns for one in found)
    assert {one.event.image for one in found} == {"bb:1"}


@given(st.lists(st.sampled_from(RECORDED)))
def test_events_twice_or_out_of_order_are_no_contradiction(lines: list[str]) -> None:
    """Whatever is heard, a container stops only while it runs, and ends once for each start."""
    running: dict[str, str] = {}
    for one in observed(lines):
        replica = one.event.replica
        match one.verb, one.state:
            case "start", _:
                assert replica not in running
                running[replica] = "runs"
            case "stop", "started":
                assert running[replica] == "runs"
                running[replica] = "stops"
            case "stop", "completed":
                assert running.pop(replica) == "stops"
            case "replica", _:
                assert running.pop(replica) == "runs"


@given(st.text() | st.binary())
def test_what_is_no_event_is_none(line: str | bytes) -> None:
    """Other lines, and events of other kinds, are passed over."""
    assert event_of(line) is None


def test_a_signal_that_stops_nothing() -> None:
    """SIGHUP asks for no end, so a container that ends then has ended by itself."""
    told = [json.loads(line) for line in RECORDED]
    lines = []
    for one in told:
        if one["Action"] == "kill":
            one["Actor"]["Attributes"]["signal"] = "1"
        lines.append(json.dumps(one))
    verbs = [one.verb for one in observed(lines) if one.event.replica == OLD]
    assert verbs == ["start", "replica"]


@pytest.mark.parametrize(
    ("status", "verbs"), [("0", ["start", "stop", "stop"]), ("1", ["start", "replica"])]
)
def test_a_signal_that_stops_some_servers(status: str, verbs: list[str]) -> None:
    """Apache stops at SIGWINCH and ends well, so nobody says that it ended by itself."""
    told = [one for line in RECORDED if (one := json.loads(line))["Actor"]["ID"][:6] in OLD]
    started, killed, died = (
        next(one for one in told if one["Action"] == action) for action in ("start", "kill", "die")
    )
    killed["Actor"]["Attributes"]["signal"] = "28"
    died["Actor"]["Attributes"]["exitCode"] = status
    found = observed([json.dumps(one) for one in (started, killed, died)])
    assert [one.verb for one in found] == verbs
    if status == "0":
        assert found[1].at_ns == killed["timeNano"]
        assert found[2].detail["how"] == "ended with status 0 after SIGWINCH"


def test_a_container_of_compose_run_is_none_of_the_service() -> None:
    """A migration in a container of its own ends by itself, and requests need none of it."""
    told = [json.loads(line) for line in RECORDED]
    for one in told:
        one["Actor"]["Attributes"]["com.docker.compose.oneoff"] = "True"
    assert observed([json.dumps(one) for one in told]) == []
    one_off = container("shop", "1", "172.18.0.3")
    assert running_of(one_off, 0) is not None
    one_off["Labels"]["com.docker.compose.oneoff"] = "True"
    assert running_of(one_off, 0) is None


@pytest.mark.parametrize("attributes", [None, [], "x"])
def test_an_event_without_attributes_is_none(attributes: object) -> None:
    """Whoever answers in place of Docker, nothing is raised."""
    one = json.loads(RECORDED[0])
    one["Actor"]["Attributes"] = attributes
    assert event_of(json.dumps(one)) is None


class Engine:
    """Docker's API, as far as it is asked; it closes the stream of events after a few."""

    def __init__(self, listed: list[dict[str, Any]], streams: list[list[str]]) -> None:
        self.listed = listed
        self.streams = streams
        self.told = asyncio.Event()

    async def containers(self, request: web.Request) -> web.Response:
        filters = json.loads(request.query["filters"])
        wanted = dict(one.split("=") for one in filters.get("label", ()))
        return web.json_response(
            [one for one in self.listed if wanted.items() <= one["Labels"].items()]
        )

    async def events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if not self.streams:
            self.told.set()
            await asyncio.sleep(3600)
        for line in self.streams.pop(0):
            await response.write(line[:17].encode())
            await response.write(f"{line[17:]}\n".encode())
        return response

    @asynccontextmanager
    async def running(self, path: Path) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/containers/json", self.containers)
        app.router.add_get("/events", self.events)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        try:
            yield f"unix://{path}"
        finally:
            await runner.cleanup()


def container(project: str, number: str, address: str, state: str = "running") -> dict[str, Any]:
    return {
        "Id": f"{number}00000",
        "State": state,
        "Image": "shop:1",
        "Labels": {
            "com.docker.compose.project": project,
            "com.docker.compose.service": "web",
            "com.docker.compose.container-number": number,
        },
        "NetworkSettings": {"Networks": {"default": {"IPAddress": address}}},
    }


async def test_the_journal_has_what_the_engine_tells(tmp_path: Path) -> None:
    """What runs already is told first; a stream that ends is opened again, and nothing is lost."""
    engine = Engine(
        [container("shop", "1", "172.18.0.3"), container("other", "2", "172.18.0.4")],
        [RECORDED[:9], RECORDED[5:]],
    )
    heard: list[JournalEvent] = []
    async with engine.running(tmp_path / "docker.sock") as host:
        project = ComposeProject("shop", host)
        await project.check()
        with Journal(listeners=[heard.append]) as journal:
            watching = asyncio.create_task(project.watch(journal))
            await asyncio.wait_for(engine.told.wait(), 20)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    told = [(one.verb, one.state, *one.replicas) for one in heard]
    assert told[:2] == [
        ("start", "completed", "web-1.100000"),
        ("wait_ready", "completed", "web-1.100000"),
    ]
    assert told[2:] == [(one.verb, one.state, one.event.replica) for one in observed(RECORDED)]
    stop = [one for one in heard if one.verb == "stop"]
    assert stop[0].number == stop[1].number
    assert stop[1].at_ns - stop[0].at_ns == 1_257_715_300  # the engine's own stamps
    assert project.gaps == 2
    assert project.replica_at("172.18.0.3:8000", heard[0].at_ns) == "web-1.100000"
    assert project.replica_at("172.18.0.9:8000", heard[0].at_ns) is None


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([container("other", "1", "")], "there is no such project; there are: other"),
        ([container("shop", "1", "", "exited")], "no container of it runs; there are: shop"),
        ([], "there is no such project"),
    ],
)
async def test_a_project_that_does_not_run(
    listed: list[dict[str, Any]], message: str, tmp_path: Path
) -> None:
    """One line says so, and which projects there are."""
    async with Engine(listed, []).running(tmp_path / "docker.sock") as host:
        with pytest.raises(ScenarioError, match=f"--compose shop: {message}$"):
            await ComposeProject("shop", host).check()


async def test_an_event_with_long_labels(tmp_path: Path) -> None:
    """A label may hold a whole file; the event is read as any other."""
    lines = [json.loads(line) for line in RECORDED]
    for one in lines:
        one["Actor"]["Attributes"]["config"] = "x" * 300_000
    engine = Engine([container("shop", "1", "")], [[json.dumps(one) for one in lines]])
    heard: list[JournalEvent] = []
    async with engine.running(tmp_path / "docker.sock") as host:
        with Journal(listeners=[heard.append]) as journal:
            watching = asyncio.create_task(ComposeProject("shop", host).watch(journal))
            await asyncio.wait_for(engine.told.wait(), 20)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    assert len(heard) == 2 + len(observed(RECORDED))


@pytest.mark.parametrize("answer", [{"message": "hello"}, [1], "x"])
async def test_whoever_is_no_engine(answer: object, tmp_path: Path) -> None:
    """One line says that what answers on the socket is no engine."""

    async def containers(_: web.Request) -> web.Response:
        return web.json_response(answer)

    engine = Engine([], [])
    engine.containers = containers  # type: ignore[method-assign]
    async with engine.running(tmp_path / "docker.sock") as host:
        with pytest.raises(EnvironmentFailure, match=r"\(its answer is no list of containers\)"):
            await ComposeProject("shop", host).check()


async def test_without_an_engine(tmp_path: Path) -> None:
    """One line says where no engine answers, and how to name another one."""
    project = ComposeProject("shop", f"unix://{tmp_path}/none.sock")
    with pytest.raises(EnvironmentFailure, match=r"none\.sock \(No such file.*DOCKER_HOST names"):
        await project.check()


@pytest.mark.parametrize(
    ("host", "code", "message"),
    [
        ("unix:///nowhere/docker.sock", 4, "no Docker engine answers at unix:///nowhere"),
        ("tcp://10.0.0.1:2376", 2, "expected a Unix socket, such as unix:///var/run/docker.sock"),
    ],
)
def test_the_command_says_it_in_one_line(
    host: str,
    code: int,
    message: str,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where Docker is not there, nothing is sent and nothing is deployed."""
    monkeypatch.setenv("DOCKER_HOST", host)
    out = ["--out", str(tmp_path / "runs")]
    url = ["--url", "http://127.0.0.1:1/"]
    assert status(["watch", *url, "--compose", "shop", *out, "--", "touch", "x"]) == code
    assert message in capsys.readouterr().err.splitlines()[-1]
