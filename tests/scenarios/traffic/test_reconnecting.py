"""Clients that stay connected come back as their libraries do, and count what they missed."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from scenarios.evidence.outcome import Outcome
from scenarios.traffic.settings import EventStream, Journey, Step, WebSocket
from scenarios.traffic.wire.event_stream import EventIds
from scenarios.verdict.columns.requests import RequestColumns
from scenarios.verdict.measures.reconnecting import StreamTally
from tests.support.evidence import columns_of
from tests.support.generator import Run, outcomes
from tests.support.servers import Site, serving

Behave = Callable[[ServerConnection, int], Awaitable[None]]


@asynccontextmanager
async def feed(behave: Behave) -> AsyncIterator[tuple[int, list[str]]]:
    """A server that does to each connection, by its number, what a test wants done."""
    paths: list[str] = []

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        paths.append(connection.request.path)
        with contextlib.suppress(ConnectionClosed):
            await behave(connection, len(paths))
            await connection.wait_closed()

    async with serve(handle, "127.0.0.1", 0) as server:
        yield next(iter(server.sockets)).getsockname()[1], paths


def journey(**websocket: object) -> Journey:
    settings = WebSocket(**{"seconds": 60.0, "reconnect": True, **websocket})  # type: ignore[arg-type]
    step = Step(path="/feed?since={last}" if settings.ids else "/feed", websocket=settings)
    return Journey(name="feed", steps=(step,))


def once(folder: Path) -> dict[str, object]:
    """The arrival of one user, at the beginning."""
    (folder / "arrivals").write_text("0\n")
    return {"arrivals": "recorded", "arrivals_path": str(folder / "arrivals")}


async def connected(paths: list[str], count: int) -> None:
    """Wait until so many connections were opened."""
    async with asyncio.timeout(30):
        while len(paths) < count:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("code", "seen"), [(1001, 1001), (1012, 1012), (None, 1006)])
async def test_a_client_comes_back_when_the_server_goes(
    code: int | None, seen: int, tmp_path: Path, run: Run
) -> None:
    """The close is no failure, and the connection that follows says what it continues."""

    async def behave(connection: ServerConnection, number: int) -> None:
        if number == 1 and code is None:
            connection.transport.abort()
        elif number == 1:
            await connection.close(code or 1000)

    async with feed(behave) as (port, paths), run(port, journey(), **once(tmp_path)) as running:
        running.generator.start()
        await connected(paths, 2)
        await running.finish()
    first, second = sorted(outcomes(tmp_path), key=lambda one: one.planned_ns)
    assert first.ok
    assert (first.closed, first.reopens) == (seen, False)
    assert second.ok
    assert (second.closed, second.reopens, second.cause_id) == (None, True, first.request_id)
    assert first.request_id != second.request_id
    assert first.user == second.user


async def test_another_close_is_still_a_failure(tmp_path: Path, run: Run) -> None:
    """A server that refuses a client for good has not asked it to come back."""

    async def behave(connection: ServerConnection, number: int) -> None:
        del number
        await connection.close(1008, "policy")

    async with feed(behave) as (port, paths), run(port, journey(), **once(tmp_path)) as running:
        running.generator.start()
        await running.requests.until(1)
        await running.finish()
    (only,) = outcomes(tmp_path)
    assert (only.ok, only.closed, only.error) == (False, None, "eof")
    assert len(paths) == 1


async def test_a_client_without_reconnect_fails_as_before(tmp_path: Path, run: Run) -> None:
    """What a scenario does not ask for does not change."""

    async def behave(connection: ServerConnection, number: int) -> None:
        del number
        await connection.close(1001)

    one = journey(reconnect=False)
    async with feed(behave) as (port, _), run(port, one, **once(tmp_path)) as running:
        running.generator.start()
        await running.requests.until(1)
        await running.finish()
    (only,) = outcomes(tmp_path)
    assert not only.ok


@pytest.mark.parametrize(("next_id", "missed"), [(None, 0), (6, 3)])
async def test_what_a_client_missed_is_counted(
    next_id: int | None, missed: int, tmp_path: Path, run: Run
) -> None:
    """A server that replays from the last number loses nothing; one that does not loses three."""
    heard = asyncio.Event()

    async def behave(connection: ServerConnection, number: int) -> None:
        assert connection.request is not None
        since = connection.request.path.partition("since=")[2]
        start = 1 if number == 1 else next_id or int(since) + 1
        for n in range(start, start + 2):
            await connection.send(json.dumps({"id": n, "text": "x"}))
        await connection.send("not JSON")
        if number < 3:
            await connection.close(1012)
        else:  # a pong says that the client has read what came before
            await (await connection.ping())
            heard.set()

    one = journey(ids="id")
    async with feed(behave) as (port, paths), run(port, one, **once(tmp_path)) as running:
        running.generator.start()
        await connected(paths, 3)
        await asyncio.wait_for(heard.wait(), 30)
        await running.finish()
    made = sorted(outcomes(tmp_path), key=lambda one: one.planned_ns)
    assert paths[:2] == ["/feed?since=", "/feed?since=2"]
    assert sum(one.missed for one in made) == missed


def tally(*rows: Outcome) -> StreamTally:
    found = StreamTally(RequestColumns.__new__(RequestColumns))
    found.take(rows)
    return found


def stream(name: str, **fields: object) -> Outcome:
    given = {
        "journey": "feed",
        "endpoint": "GET /feed",
        "connection": "new",
        "planned_ns": 0,
        "done_ns": 0,
        "expected": (101,),
        "status": 101,
        "paced": True,
        **fields,
    }
    return Outcome(request_id=name, **given)  # type: ignore[arg-type]


def test_the_gap_and_the_storm_are_measured() -> None:
    """A gap goes from a close to the next 101; the storm is the fullest second."""
    second = 1_000_000_000
    rows = []
    for n in range(10):
        closed = n * 100_000_000
        rows.append(stream(f"a{n}", done_ns=closed, closed=1012))
        sent = closed + 50_000_000 if n < 8 else closed + 9 * second
        opened = None if n == 0 else sent + n * 10_000_000
        rows.append(
            stream(
                f"b{n}",
                reopens=True,
                cause_id=f"a{n}",
                sent_ns=sent,
                first_byte_ns=opened,
                status=None if n == 0 else 101,
                missed=n,
            )
        )
    half, rest = tally(*rows[:7]), tally(*rows[7:])
    half.merge(rest)
    found = half.streams(origin_ns=0)
    assert (found.closed, found.reopened, found.codes) == (10, 9, {"1012": 10})
    assert found.longest_gap == pytest.approx(9.09)
    assert found.median_gap == pytest.approx(0.1)
    assert (found.peak, found.peak_at) == (8, pytest.approx(0.05))
    assert found.missed == 45
    assert "10 ended by servers (1012: 10) · 9 connected again" in found.words
    assert StreamTally(columns_of([])).streams(0).words == ""


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Events(Site):
    """Sends two events to each client, from the first that it lacks; then does what it is told."""

    def __init__(self, ends: list[str], skips: int = 0) -> None:
        super().__init__(b"")
        self.ends = ends
        self.skips = skips

    async def respond(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        last = request.partition(b"Last-Event-ID: ")[2].partition(b"\r\n")[0]
        first = int(last) + 1 + self.skips if last else 1
        writer.write(HEAD)
        for number in range(first, first + 2):
            text = b"id: %d\ndata: news\n\n" % number
            writer.write(chunk(text[:3]) + chunk(text[3:]))
        await writer.drain()
        end = self.ends.pop(0) if self.ends else "stay"
        if end == "end":
            writer.write(b"0\r\n\r\n")
        elif end == "break":
            await asyncio.sleep(0.05)
            writer.transport.abort()


def listening(**events: object) -> Journey:
    settings = EventStream(**{"seconds": 60.0, "reconnect": True, **events})  # type: ignore[arg-type]
    return Journey(name="listen", steps=(Step(path="/events", events=settings),))


@pytest.mark.parametrize(("skips", "missed"), [(0, 0), (2, 4)])
async def test_a_listener_comes_back_as_an_event_source_does(
    skips: int, missed: int, tmp_path: Path, run: Run
) -> None:
    """After a stream that ended and one that broke off, it sends the last id that it has."""
    site = Events(["end", "break"], skips)
    async with (
        serving(site) as server,
        run(server.port, listening(seconds=1.5), **once(tmp_path)) as running,
    ):
        running.generator.start()
        await running.requests.until(3)
        await running.finish()
    made = sorted(outcomes(tmp_path), key=lambda one: one.planned_ns)
    assert [one.closed for one in made] == [1000, 1006, None]
    assert [one.reopens for one in made] == [False, True, True]
    assert all(one.ok and one.status == 200 for one in made)
    assert sum(one.missed for one in made) == missed
    assert b"Last-Event-ID" not in site.requests[0]
    assert b"\r\nLast-Event-ID: 2\r\n" in site.requests[1]
    assert all(b"\r\nAccept: text/event-stream\r\n" in each for each in site.requests)


async def test_a_listener_without_reconnect_is_cut_off(tmp_path: Path, run: Run) -> None:
    """A stream that the server ends before its time is a failure, whichever way it ends."""
    site = Events(["end", "break"])
    one = listening(reconnect=False)
    arrivals = once(tmp_path)
    (tmp_path / "arrivals").write_text("0\n0.1\n")
    async with serving(site) as server, run(server.port, one, **arrivals) as running:
        running.generator.start()
        await running.requests.until(2)
        await running.finish()
    assert {one.error for one in outcomes(tmp_path)} <= {"eof", "reset"}
    assert all(not one.ok for one in outcomes(tmp_path))


async def test_a_listener_leaves_when_its_time_is_over(tmp_path: Path, run: Run) -> None:
    """It closes the connection by itself, and that is a success."""
    one = listening(seconds=0.2)
    async with serving(Events([])) as server, run(server.port, one, **once(tmp_path)) as running:
        running.generator.start()
        await running.requests.until(1)
        await running.finish()
    (only,) = outcomes(tmp_path)
    assert (only.ok, only.closed, only.status) == (True, None, 200)
    assert only.done_ns - (only.first_byte_ns or 0) >= 190_000_000


@given(cuts=st.lists(st.integers(0, 60), max_size=5))
def test_ids_are_found_however_a_stream_is_cut(cuts: list[int]) -> None:
    """An id is heard once, whole, and only from its own field."""
    data = b": hello\r\nid: 7\r\ndata: id: 9\r\n\r\nid:8\nevent: x\nid: no\n\nid: 10\n"
    ids, found, at = EventIds(), [], 0
    for cut in (*sorted(cuts), len(data)):
        found += ids.feed(data[at:cut])
        at = max(at, cut)
    assert found == [7, 8, 10]
