"""The keys of a real Redis are looked at; a Redis that is away is one line, and is waited for."""

import asyncio
import pickle
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import EnvironmentFailure
from orchestrator.platforms.local import accepts
from orchestrator.processes import ChildProcess, Processes
from orchestrator.tcp_ports import PortAllocator
from scenarios.cli.main import status
from scenarios.evidence.cache_form import CacheForm
from scenarios.evidence.ndjson import read_lines
from scenarios.evidence.recorder import Recorder
from scenarios.recording import cache_watch
from scenarios.recording.cache_watch import LOOK_SECONDS, CacheWatch, redis_package

if TYPE_CHECKING:
    from redis.asyncio import Redis

pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="this needs `redis-server` on PATH"
)


class Server:
    """A Redis on a port of its own."""

    def __init__(self, processes: Processes, port: int, folder: Path) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self._processes, self._port, self._folder = processes, port, folder
        self._child: ChildProcess | None = None

    async def start(self) -> None:
        words = [
            "redis-server",
            "--port",
            str(self._port),
            "--save",
            "",
            "--dir",
            str(self._folder),
        ]
        self._child = await self._processes.start(
            words, name="redis", log=self._folder / "redis.log", env={}
        )
        while not await accepts("127.0.0.1", self._port):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(5)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    with PortAllocator("127.0.0.1") as ports:
        async with Processes() as processes:
            found = Server(processes, ports.take(), tmp_path)
            await found.start()
            yield found


async def test_each_type_of_value_is_told_by_its_form_once(server: Server) -> None:
    """A second look tells only of keys that are new, or whose form has changed."""
    async with CacheWatch(server.url) as watch, redis_package().from_url(server.url) as client:
        await told_once(watch, client)


async def told_once(watch: CacheWatch, client: "Redis") -> None:
    await client.set("user:1", b'{"id": 1}')
    await client.set("user:2", b'{"id": 2}')
    await client.hset("cart:9f", mapping={"article": "7", "note": "hunter2"})
    await client.rpush("celery", b'{"body": "x"}')
    await client.zadd("due", {pickle.dumps(1): 5})
    first = await watch.look()
    assert {(one.pattern, one.words, one.written) for one in first} == {
        ("user:*", "json object {id: number}", 2),
        ("cart:*", "hash of fields {article: number, note: text}", 1),
        ("celery", "list of json object {body: string}", 1),
        ("due", "zset of pickle protocol 4", 1),
    }
    assert "hunter2" not in str(first)
    await client.set("user:1", b"\x1f\x8b")
    await client.set("user:3", b'{"id": 3}')
    assert sorted((one.pattern, one.form, one.written) for one in await watch.look()) == [
        ("user:*", "gzip", 1),
        ("user:*", "json object", 1),
    ]
    assert await watch.look() == []
    await client.set("user:3", b'{"id": 3}', px=60_000)
    await watch.look()
    await client.set("user:3", b'{"id": 3}', px=90_000)
    assert [one.written for one in await watch.look()] == [1], "it was written anew"
    assert await watch.look() == []


async def test_a_redis_that_restarts_is_waited_for(server: Server, tmp_path: Path) -> None:
    """A fault may restart it; the look goes on, and nothing fails."""
    path = tmp_path / "cache.ndjson"
    async with CacheWatch(server.url) as watch, redis_package().from_url(server.url) as client:
        await watch.check()
        with Recorder[CacheForm](path) as recorder:
            watching = asyncio.ensure_future(watch.watch(recorder))
            await server.stop()
            await asyncio.sleep(LOOK_SECONDS)
            await server.start()
            await client.set("again", "1")
            while not path.read_bytes():
                assert not watching.done()
                await asyncio.sleep(0.02)
                recorder.flush()
            watching.cancel()
    assert [one.pattern for one in read_lines(path, CacheForm)] == ["again"]


async def test_a_watch_ends_at_whatever_moment_it_is_cancelled(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client swallows a cancellation amid a question; a run must end all the same."""
    monkeypatch.setattr(cache_watch, "LOOK_SECONDS", 0.0)
    async with CacheWatch(server.url) as watch:
        for number in range(60):
            with Recorder[CacheForm](tmp_path / f"{number}.ndjson") as recorder:
                watching = asyncio.ensure_future(watch.watch(recorder))
                await asyncio.sleep(number / 10_000)
                watching.cancel()
                await asyncio.wait([watching], timeout=30)
                assert watching.done()


@pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:1/0", "unix:///nowhere.sock"])
async def test_a_redis_that_does_not_answer_is_one_line_without_the_password(url: str) -> None:
    """The line says where it was looked for."""
    with pytest.raises(EnvironmentFailure, match=r"cache\.url: the Redis at ") as failure:
        async with CacheWatch(url) as watch:
            await watch.check()
    assert "secret" not in str(failure.value)
    assert "\n" not in str(failure.value)


def test_without_the_client_of_redis_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is started, and the status is that of wrong input."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    scenario = Path(__file__).parents[3] / "examples/cache/scenario.toml"
    assert status(["run", str(scenario), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "hitless: [cache] url needs redis: pip install 'hitless[redis]'\n"
    )
    assert not (tmp_path / "out").exists()
