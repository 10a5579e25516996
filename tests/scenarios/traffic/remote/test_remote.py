"""A generator that is commanded over HTTP: what it obeys, and when it ends."""

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest

from scenarios.runner.generators.remote_generator import RefusedError
from scenarios.traffic.plan import Plan
from scenarios.traffic.process.dialogue import MESSAGES, Command, Finished
from scenarios.traffic.remote.messages import (
    About,
    Assignment,
    GeneratorReport,
    SetUpRequests,
    TrafficTarget,
)
from scenarios.traffic.remote.plan_files import named_files, place_of, with_files
from scenarios.traffic.settings import Capture, Journey, Step, TlsSettings
from tests.support.remote_generators import Remote, remote
from tests.support.servers import CERTIFICATE, Site, encrypted, serving

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}'


def plan_to(port: int, **how: object) -> Plan:
    plan = Plan(
        host="127.0.0.1",
        port=port,
        journeys=(Journey(name="look", steps=(Step(path="/"),)),),
        requests_path="",
        mails_path="",
        processes=1,
        shard=0,
    )
    return msgspec.structs.replace(plan, **how)


async def give(one: Remote, path: str, message: object) -> bytes:
    return await one.reach.ask("POST", path, msgspec.msgpack.encode(message))


async def tell(one: Remote, number: int, command: Command) -> None:
    await one.reach.ask("POST", f"/command?number={number}", msgspec.json.encode(command))


async def report(one: Remote, message: int = 0, byte: int = 0) -> GeneratorReport:
    answer = await one.reach.ask("GET", f"/report?message={message}&byte={byte}")
    return msgspec.msgpack.decode(answer, type=GeneratorReport)


async def until_ended(one: Remote) -> GeneratorReport:
    while True:
        found = await report(one)
        if found.ended is not None:
            return found


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(30):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):  # noqa: ASYNC110 - not ours
            await asyncio.sleep(0.02)


async def test_nobody_without_the_token_is_obeyed(tmp_path: Path) -> None:
    """The pod's specification has only its SHA-256."""
    async with remote(tmp_path, token="another") as one:
        for method, path in (("GET", "/about"), ("POST", "/plan"), ("POST", "/end")):
            with pytest.raises(RefusedError, match="another token"):
                await one.reach.ask(method, path)
        assert one.process.returncode is None


async def test_a_command_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    """An answer may get lost, and then the harness asks again: the generator starts only once."""
    async with serving(Site(OK)) as server, remote(tmp_path) as one:
        await give(one, "/plan", Assignment(plan=plan_to(server.port)))
        for _ in range(3):
            await tell(one, 1, Command(do="start"))
        for _ in range(3):
            await tell(one, 2, Command(do="finish"))
        found = await until_ended(one)
    assert found.ended is not None
    assert found.ended.code == 0, found.ended.words
    last = MESSAGES.decode(found.messages[-1])
    assert isinstance(last, Finished)
    assert last.requests == (tmp_path / "sent.ndjson").read_bytes().count(b"\n")


async def test_messages_that_were_received_are_not_sent_again(tmp_path: Path) -> None:
    """A report begins where the last one that arrived ended; one that got lost is made again."""
    async with serving(Site(OK)) as server, remote(tmp_path) as one:
        await give(one, "/plan", Assignment(plan=plan_to(server.port, tick_seconds=0.05)))
        await tell(one, 1, Command(do="start"))
        await tell(one, 2, Command(do="finish"))
        whole = await until_ended(one)
        again = await report(one)
        assert (again.messages, again.size) == (whole.messages, whole.size)
        rest = await report(one, len(whole.messages) - 1, whole.size)
        assert rest.messages == whole.messages[-1:]
        assert (rest.size, rest.evidence) == (0, b"")


async def test_a_plan_that_cannot_be_followed_is_one_line(tmp_path: Path) -> None:
    """The generator's own line is the answer."""
    async with remote(tmp_path) as one:
        wrong = plan_to(1, journeys=(Journey(name="look", python="users.py:nobody"),))
        files = {"users.py": b"async def somebody(user): ..."}
        with pytest.raises(RefusedError) as refused:
            await give(one, "/plan", Assignment(plan=wrong, files=files))
        assert "there is no `async def nobody`" in str(refused.value)
        with pytest.raises(RefusedError, match="has its plan already"):
            await give(one, "/plan", Assignment(plan=plan_to(1)))


async def test_the_files_of_a_plan_are_where_the_generator_is(tmp_path: Path) -> None:
    """A coroutine acts as in a run on one machine."""
    code = b"async def visit(user):\n    await user.get('/from-a-file')\n"
    journeys = (Journey(name="look", python="/elsewhere/users.py:visit"),)
    site = Site(OK)
    async with serving(site) as server, remote(tmp_path) as one:
        plan = plan_to(server.port, journeys=journeys)
        await give(one, "/plan", Assignment(plan=plan, files={"/elsewhere/users.py": code}))
        await tell(one, 1, Command(do="start"))
        await site.until(1)
        await tell(one, 2, Command(do="finish"))
        await until_ended(one)
    assert site.requests[0].startswith(b"GET /from-a-file ")


def test_all_files_of_a_plan_are_found() -> None:
    """Coroutines, arrivals and certificates; each gets a place of its own with its own name."""
    plan = plan_to(
        1,
        journeys=(Journey(name="a", python="/x/u.py:f"), Journey(name="b", python="/y/u.py:f")),
        arrivals_path="/x/arrivals",
        tls=TlsSettings(server_name="h", ca_file="/x/ca.pem"),
    )
    assert named_files(plan) == ("/x/u.py", "/y/u.py", "/x/arrivals", "/x/ca.pem")
    places = [place_of(path) for path in named_files(plan)]
    assert len(set(places)) == 4
    moved = with_files(plan, place_of)
    assert named_files(moved) == tuple(places)
    assert moved.journeys[0].python == f"{places[0]}:f"
    assert place_of("/x/u.py").endswith("/u.py")


async def test_a_target_is_tried_before_there_is_traffic(tmp_path: Path) -> None:
    """From where the generator is: the harness may not reach it at all."""
    async with remote(tmp_path) as one:
        with pytest.raises(RefusedError, match=r"host no-such-host\.invalid: "):
            await give(one, "/check", TrafficTarget(host="no-such-host.invalid", port=80))
        await give(one, "/check", TrafficTarget(host="127.0.0.1", port=1))  # left to the traffic
        async with serving(Site(OK), tls=encrypted()) as server:
            mistrusted = TlsSettings(server_name="localhost")
            at = {"host": "127.0.0.1", "port": server.port}
            with pytest.raises(RefusedError, match="the certificate is not accepted"):
                await give(one, "/check", TrafficTarget(**at, tls=mistrusted))
            trusted = TlsSettings(server_name="localhost", ca_file="/their/ca.pem")
            files = {"/their/ca.pem": CERTIFICATE.read_bytes()}
            await give(one, "/check", TrafficTarget(**at, tls=trusted, files=files))


async def test_the_set_up_is_sent_from_where_the_generator_is(tmp_path: Path) -> None:
    """What it captures comes back; what fails is one line."""
    step = Step(path="/", capture={"first": Capture(json="a")})
    async with serving(Site(OK)) as server, remote(tmp_path) as one:
        asked = SetUpRequests(
            host="127.0.0.1", port=server.port, steps=(step,), seed=1, timeout_seconds=5.0
        )
        assert msgspec.msgpack.decode(await give(one, "/set-up", asked)) == {"first": "1"}
        wrong = msgspec.structs.replace(asked, steps=(Step(path="/", expect=(201,)),))
        with pytest.raises(RefusedError, match="it was answered 200, expected: 201"):
            await give(one, "/set-up", wrong)


@pytest.mark.parametrize("end", ["asked", "SIGTERM", "SIGKILL", "silence"])
async def test_its_traffic_ends_with_it(tmp_path: Path, end: str) -> None:
    """Also when the harness is dead: traffic that nobody looks at does not go on."""
    site = Site(OK)
    flags = ("--silence-seconds", "3") if end == "silence" else ()
    async with serving(site) as server, remote(tmp_path, *flags) as one:
        about = msgspec.msgpack.decode(await one.reach.ask("GET", "/about"), type=About)
        assert about.boot_id
        await give(one, "/plan", Assignment(plan=plan_to(server.port)))
        await tell(one, 1, Command(do="start"))
        await site.until(5)
        pids = one.children
        assert len(pids) == 1
        if end == "asked":
            await one.reach.ask("POST", "/end")
        elif end != "silence":
            one.process.send_signal(signal.Signals[end])
        code = await one.process.wait()
        assert code == {"asked": 0, "SIGKILL": -9}.get(end, 130)
        await gone(pids)
        if end == "silence":
            assert "nobody asked for anything for 3 s" in await one.errors()
