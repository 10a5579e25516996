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
from websockets.http11 import Response

from scenarios.evidence.manifest import Objectives
from scenarios.evidence.outcome import Outcome
from scenarios.traffic import generator
from scenarios.traffic.settings import EventStream, Journey, Step, WebSocket
from scenarios.traffic.wire.event_stream import EventIds
from scenarios.verdict.columns.requests import RequestColumns
from scenarios.verdict.measures.reconnecting import StreamTally
from tests.support.evidence import clean, columns_of, request
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


@pytest.mark.parametrize("away", ["refused", "503"])
async def test_a_client_that_finds_nobody_tries_again(
    away: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try fails as a request, and continues the connection that the client had."""
    monkeypatch.setattr(generator, "RETRY_NS", 20_000_000)
    connected, back = [asyncio.Event() for _ in range(2)]

    async def handle(connection: ServerConnection) -> None:
        (back if connected.is_set() else connected).set()
        await connection.wait_closed()

    def unavailable(connection: ServerConnection, _: object) -> Response:
        return connection.respond(503, "")

    async with serve(handle, "127.0.0.1", 0) as old:
        port = next(iter(old.sockets)).getsockname()[1]
        async with run(port, journey(), **once(tmp_path)) as running:
            running.generator.start()
            await asyncio.wait_for(connected.wait(), 30)
            old.close()  # with 1001
            await old.wait_closed()
            if away == "503":
                async with serve(handle, "127.0.0.1", port, process_request=unavailable):
                    await asyncio.wait_for(running.requests.until(4), 30)
            await asyncio.wait_for(running.requests.until(4), 30)
            async with serve(handle, "127.0.0.1", port):
                await asyncio.wait_for(back.wait(), 30)
                await running.finish()
    first, *tries, last = sorted(outcomes(tmp_path), key=lambda one: one.planned_ns)
    assert (first.closed, last.ok, last.status) == (1001, True, 101)
    assert not any(one.ok for one in tries)
    assert {one.status for one in tries} <= {None, 503}
    assert away != "503" or 503 in {one.status for one in tries}
    for one in (*tries, last):
        assert (one.reopens, one.cause_id) == (True, first.request_id)
    assert len({one.request_id for one in (first, *tries, last)}) == len(tries) + 2


async def test_an_event_source_gives_up_at_another_status(tmp_path: Path, run: Run) -> None:
    """A stream that ended is opened again; an answer of 503 then is the end for the client."""
    site = Events(["end"], gone=True)
    async with serving(site) as server, run(server.port, listening(), **once(tmp_path)) as running:
        running.generator.start()
        await running.requests.until(2)
        await running.finish()
    first, last = sorted(outcomes(tmp_path), key=lambda one: one.planned_ns)
    assert (first.closed, last.status, last.ok) == (1000, 503, False)


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


def test_a_client_that_only_gets_errors_is_not_connected_again() -> None:
    """An answer of 503 opens nothing; the gap of one that tried again goes to its last try."""
    second = 1_000_000_000

    def tried(name: str, cause: str, sent: float, status: int | None) -> Outcome:
        sent_ns = round(sent * second)
        first = None if status is None else sent_ns
        return stream(
            name, reopens=True, cause_id=cause, sent_ns=sent_ns, first_byte_ns=first, status=status
        )

    closed = [stream(name, done_ns=second, closed=1006) for name in ("a", "b", "c")]
    tries = [tried("a1", "a", 1.1, 503), tried("a2", "a", 2.5, 101), tried("b1", "b", 1.2, None)]
    found = tally(*closed, *tries).streams(0)
    assert (found.closed, found.reopened, found.gone) == (3, 1, 1)  # c did not want to stay
    assert (found.longest_gap, found.peak) == (1.5, 2)
    assert "1 connected again · 1 never · gap up to 1.50 s" in found.words


@pytest.mark.parametrize("comes_back", [True, False])
def test_each_client_has_to_come_back_in_time(*, comes_back: bool) -> None:
    """One that never does breaks the limit, although those that did were quick."""
    feed = {"journey": "feed", "endpoint": "GET /feed", "expected": (101,), "paced": True}
    second = {"status": 101} if comes_back else {"status": 503, "error": None}
    rows = [
        request(901, 1.0, status=101, closed=1012, **feed),
        request(902, 1.0, status=101, closed=1012, **feed),
        request(903, 1.1, status=101, reopens=True, cause_id="s7-000901-1", **feed),
        request(904, 1.1, reopens=True, cause_id="s7-000902-1", **{**feed, **second}),
    ]
    run = clean().asked(objectives=Objectives(reconnect_seconds=2.0, failed_requests=1))
    verdict = run.but(outcomes=[*run.outcomes, *rows]).judge()
    (check,) = [one for one in verdict.checks if one.check == "reconnect"]
    assert check.held is comes_back
    assert verdict.streams.gone == (not comes_back)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Events(Site):
    """Sends two events to each client, from the first that it lacks; then does what it is told."""

    def __init__(self, ends: list[str], skips: int = 0, *, gone: bool = False) -> None:
        super().__init__(b"")
        self.ends = ends
        self.gone = gone
        self.skips = skips

    async def respond(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        last = request.partition(b"Last-Event-ID: ")[2].partition(b"\r\n")[0]
        if last and self.gone:
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            return
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
