"""The keep-alive race: a POST on a connection that the application closes at that very moment.

The application blocks its event loop longer than its keep-alive timeout. A POST that comes
meanwhile on an idle connection is still unread when the loop closes that connection. So the race is
lost each time, however fast or slow the machine is.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from orchestrator.model import Replica, Version
from orchestrator.platforms.local import LocalPlatform
from orchestrator.processes import Processes
from orchestrator.routers.capabilities import Kind
from orchestrator.routers.exchange import Exchange
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.registry import KINDS, start_router
from orchestrator.routers.settings import HealthCheck, RouterSettings, RunningRouter

APP = Path(__file__).parents[2] / "benchmarks" / "router_apps" / "closing_app.py"
SHORT, LONG, BLOCK = "2", "60", "3"


class Client:
    """A client with one kept connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def post(self, path: str, request_id: str) -> int | None:
        """Send a POST; the status of the response, None when the connection ends without one."""
        self.writer.write(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: {request_id}\r\n"
            "Content-Length: 3\r\n\r\none".encode()
        )
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            await self.reader.readexactly(int(length[1]) if length else 0)
        except (OSError, asyncio.IncompleteReadError):
            return None
        return int(head.split(b" ")[1])


@asynccontextmanager
async def clients(address: str, number: int) -> AsyncIterator[list[Client]]:
    host, _, port = address.rpartition(":")
    found = [Client(*await asyncio.open_connection(host, int(port))) for _ in range(number)]
    try:
        yield found
    finally:
        for one in found:
            one.writer.close()


async def serving(running: RunningRouter, platform: LocalPlatform, keep_alive: str) -> Replica:
    """One replica with that keep-alive timeout, which serves."""
    command = ("{python}", "-u", str(APP), "{port}", keep_alive)
    replica = await platform.start(Version(name="a", command=command), "a-1")
    await platform.wait_listening(replica)
    await running.router.register(replica)
    async with asyncio.timeout(30):
        await running.router.wait_up([replica.id])
    await running.router.weigh({replica.id: 1.0})
    return replica


async def raced(kind: Kind, folder: Path, keep_alive: str, **settings: bool) -> int | None:
    """What becomes of a POST on an idle connection while the application blocks its loop."""
    async with AsyncExitStack() as stack:
        processes = await stack.enter_async_context(Processes())
        private = await stack.enter_async_context(processes.directory("hitless-test-"))
        platform = await stack.enter_async_context(LocalPlatform(processes, log_directory=folder))
        given = RouterSettings(
            # The checks must not notice that the application blocks.
            health=HealthCheck(path="/health", interval=5, fast_interval=0.1, timeout=4),
            directory=private,
            logs=folder,
            access_log=folder / "access.ndjson",
            **settings,
        )
        try:
            running = await stack.enter_async_context(start_router(kind, processes, given))
        except RouterConfigError as error:
            pytest.skip(str(error))
        replica = await serving(running, platform, keep_alive)
        log = folder / f"{replica.id}.log"
        one, other = await stack.enter_async_context(clients(running.address, 2))
        # Both at once, and twice: each has a connection to the replica that was used before.
        for turn in ("1", "2"):
            answers = asyncio.gather(one.post("/x", f"one-{turn}"), other.post("/x", f"two-{turn}"))
            assert await answers == [200, 200]
        blocking = asyncio.ensure_future(one.post(f"/block/{BLOCK}", "block"))
        async with asyncio.timeout(30):
            while "blocking" not in log.read_text():  # noqa: ASYNC110 - the log is all that tells
                await asyncio.sleep(0.01)
        status = await other.post("/x", "raced")
        assert await blocking == 200
        return status


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hitless"])
async def test_a_post_dies_on_a_connection_that_is_being_closed(kind: Kind, tmp_path: Path) -> None:
    """Every other router sends a POST on a kept connection, and loses it in the race.

    Its log says that the replica ended the connection, or that it does not tell. HAProxy closes the
    client's connection without a response, and does not log the request at all
    (`findings/haproxy-loses-a-post-without-a-log-line.sh`).
    """
    status = await raced(kind, tmp_path, SHORT)
    assert status is None if kind == "haproxy" else (status or 0) >= 500
    lines = (tmp_path / "access.ndjson").read_bytes().splitlines()
    exchanges = [msgspec.json.decode(line, type=Exchange) for line in lines]
    assert any(one.request_id == "block" for one in exchanges)
    ends = [one.end for one in exchanges if one.request_id == "raced"]
    by_kind = {"haproxy": [], "traefik": ["unknown"]}
    assert ends == by_kind.get(kind, ["connection_terminated"])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_longer_keep_alive_timeout_ends_the_race(kind: Kind, tmp_path: Path) -> None:
    """An application that keeps idle connections longer loses nothing behind the same router."""
    assert await raced(kind, tmp_path, LONG) == 200


@pytest.mark.timeout(120)
@pytest.mark.parametrize("reuse_post", [False, True])
async def test_our_own_balancer_races_only_if_it_is_told_to(
    *, reuse_post: bool, tmp_path: Path
) -> None:
    """Our own balancer sends a POST on a fresh connection, unless `reuse_post` is set."""
    status = await raced("hitless", tmp_path, SHORT, reuse_post=reuse_post)
    assert status == (502 if reuse_post else 200)
