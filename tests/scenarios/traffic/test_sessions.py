"""Users keep what a browser keeps: cookies from step to step, and a login from visit to visit."""

import asyncio
from pathlib import Path

import pytest

from scenarios.traffic.errors import PlanError
from scenarios.traffic.journeys.compiled import CompiledJourney, Location
from scenarios.traffic.settings import Capture, Journey, Step, WebSocket
from tests.support.generator import Run, outcomes
from tests.support.servers import Site, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Sessions(Site):
    """Gives each request of `/login` a new session, and refuses all others without one."""

    def __init__(self, refusals: int = 0) -> None:
        super().__init__(OK)
        self.given = 0
        self.refusals = refusals

    async def respond(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        head = request.partition(b"\r\n\r\n")[0]
        if b" /login " in head:
            if self.refusals:
                self.refusals -= 1
                writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
                return
            self.given += 1
            session = b"%d" % self.given
            writer.write(
                b"HTTP/1.1 200 OK\r\nSet-Cookie: session=%b\r\nX-Token: t%b\r\n"
                b"Content-Length: 0\r\n\r\n" % (session, session)
            )
            return
        known = b"Cookie: session=" in head
        status = b"200 OK" if known else b"401 No"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)


async def test_who_comes_once_keeps_cookies_from_step_to_step(tmp_path: Path, run: Run) -> None:
    """Each arrival has a jar of its own: the second step has the session of its own first one."""
    site = Sessions()
    steps = (Step(path="/login"), Step(path="/orders"), Step(path="/orders"))
    journey = Journey(name="order", steps=steps)
    async with serving(site) as server, run(server.port, journey, rate=50.0) as running:
        running.generator.start()
        await running.requests.until(12)
        await running.finish()
    made = outcomes(tmp_path)
    assert all(one.ok for one in made)
    assert len(made) >= 12
    sessions: dict[str, set[bytes]] = {}
    for request in site.requests:
        user = request.split(b"X-Request-Id: ")[1].split(b"\r\n")[0].rpartition(b"-")[0].decode()
        if b"Cookie: " in request:
            cookie = request.split(b"Cookie: ")[1].split(b"\r\n")[0]
            sessions.setdefault(user, set()).add(cookie)
    assert sessions
    assert all(len(one) == 1 for one in sessions.values()), "one session for each user"
    assert len({cookie for one in sessions.values() for cookie in one}) == len(sessions)


async def test_a_coroutine_of_an_arrival_keeps_its_cookies(tmp_path: Path, run: Run) -> None:
    """The same for journeys that are coroutines."""
    (tmp_path / "journey.py").write_text(
        "async def order(user):\n    await user.get('/login')\n    await user.get('/orders')\n"
    )
    journey = Journey(name="order", python=f"{tmp_path / 'journey.py'}:order")
    async with serving(Sessions()) as server, run(server.port, journey, rate=50.0) as running:
        running.generator.start()
        await running.requests.until(6)
        await running.finish()
    assert all(one.ok for one in outcomes(tmp_path))


def staying(**fields: object) -> Journey:
    return Journey(name="stay", users=2, every_seconds=0.1, **fields)  # type: ignore[arg-type]


async def test_a_user_who_stays_logs_in_once(tmp_path: Path, run: Run) -> None:
    """Its session and what the login captured hold for all of its visits."""
    login = (Step(path="/login", capture={"token": Capture(header="X-Token")}),)
    steps = (Step(path="/orders", headers={"Token": "{token}"}),)
    site = Sessions()
    async with (
        serving(site) as server,
        run(server.port, staying(login=login, steps=steps)) as running,
    ):
        running.generator.start()
        await running.requests.until(14)
        await running.finish()
    made = outcomes(tmp_path)
    assert all(one.ok for one in made)
    logins = [one for one in made if one.endpoint == "GET /login"]
    # A visit that did not wait for the first one's login may have made one of its own.
    assert 2 <= len(logins) < len(made) / 2
    assert {one.user for one in logins} == {"s7-u000000", "s7-u000001"}
    orders = [each for each in site.requests if b"/orders" in each]
    assert orders
    assert all(b"Token: t" in each for each in orders)


async def test_a_login_that_failed_is_made_again(tmp_path: Path, run: Run) -> None:
    """The next visit begins with it, so an outage at the login is measured like any other."""
    site = Sessions(refusals=2)
    journey = staying(login=(Step(path="/login"),), steps=(Step(path="/orders"),))
    async with serving(site) as server, run(server.port, journey) as running:
        running.generator.start()
        await running.requests.until(10)
        await running.finish()
    made = outcomes(tmp_path)
    assert sum(one.status == 503 for one in made) == 2
    assert any(one.ok and one.endpoint == "GET /orders" for one in made)
    assert all(one.ok for one in made if one.endpoint == "GET /orders")


def compiled(journey: Journey) -> CompiledJourney:
    return CompiledJourney(journey, host="h", where=Location(f"journey {journey.name}", ("j",)))


def test_a_websocket_may_say_that_it_expects_101() -> None:
    """It begins with nothing else, so another status is a mistake of the scenario."""
    websocket = WebSocket(seconds=1.0)
    for expect in ((101,), (200,)):
        step = Step(path="/feed", websocket=websocket, expect=expect)
        assert compiled(Journey(name="feed", steps=(step,))).steps[0].expect == (101,)
    with pytest.raises(PlanError, match="a websocket begins with the status 101 alone"):
        compiled(
            Journey(name="feed", steps=(Step(path="/", websocket=websocket, expect=(101, 200)),))
        )
    with pytest.raises(PlanError, match="statuses from 200 to 599"):
        compiled(Journey(name="feed", steps=(Step(path="/", expect=(101,)),)))


async def test_a_tab_outlives_the_release(tmp_path: Path, run: Run) -> None:
    """What was captured before the release is used after it; who comes later does not wait."""

    class Builds(Site):
        """Names an asset of its build, and answers every request."""

        build = b"old"

        async def respond(self, request: bytes, writer: asyncio.StreamWriter) -> None:
            del request
            head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Asset: /assets/%b.js\r\n\r\n"
            writer.write(head % self.build)

    steps = (
        Step(path="/", capture={"asset": Capture(header="X-Asset")}),
        Step(path="/from{asset}", after="release"),
        Step(path="/more"),
    )
    site = Builds(OK)
    one = Journey(name="read", steps=steps)
    (tmp_path / "arrivals").write_text("0\n0\n")
    arrivals = {"arrivals": "recorded", "arrivals_path": str(tmp_path / "arrivals")}
    async with serving(site) as server, run(server.port, one, **arrivals) as running:
        running.generator.start()
        await running.requests.until(2)
        assert len(site.requests) == 2
        site.build = b"new"
        running.generator.released()
        await running.requests.until(6)
        await running.finish()
    made = outcomes(tmp_path)
    assert all(one.ok for one in made)
    assert sum(b"GET /from/assets/old.js" in each for each in site.requests) == 2
    assert sum(b"GET /more" in each for each in site.requests) == 2


def test_a_step_after_the_release_needs_one_before() -> None:
    """A first step that waits for the end of the release would be a user who comes late."""
    first = (Step(path="/", after="release"),)
    with pytest.raises(PlanError, match="needs an earlier step"):
        compiled(Journey(name="late", steps=first))
