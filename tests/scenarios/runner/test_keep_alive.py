"""A server that closes idle connections which the router still uses is named, with both numbers."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.journal import Journal
from orchestrator.model import JournalEvent, Replica
from scenarios.probe.profile import KeepAlive
from scenarios.runner.keep_alive import (
    RouterIdle,
    check_keep_alive,
    idle_seconds,
    router_idle,
    seconds_of,
    warning,
)
from scenarios.scenario.overrides import Changes
from scenarios.scenario.spec import Scenario
from scenarios.verdict.causes.exchange_rules import KEEP_ALIVE_RACE
from tests.support.probe import profile
from tests.support.runs import released

APP = Path(__file__).parents[3] / "benchmarks" / "router_apps" / "closing_app.py"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\nok"


@asynccontextmanager
async def server(
    fields: bytes = b"", closes_after: float | None = None
) -> AsyncIterator[tuple[str, int]]:
    """A server that answers each connection's first request, and may close it after a while."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK % fields)
        if closes_after is None:
            await gone.wait()
        else:
            await asyncio.sleep(closes_after)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    try:
        yield host, port
    finally:
        gone.set()
        listening.close()


async def test_a_server_that_closes_is_timed() -> None:
    """The time runs from the response until the server closes the connection."""
    async with server(closes_after=0.2) as address:
        seconds = await idle_seconds(*address, "/", 30.0)
    assert seconds is not None
    assert seconds >= 0.1


async def test_an_announced_timeout_is_believed_at_once() -> None:
    """`Keep-Alive: timeout=5`, as Node sends it, needs no waiting."""
    async with server(b"Connection: keep-alive\r\nKeep-Alive: timeout=5, max=9\r\n") as address:
        assert await idle_seconds(*address, "/", 30.0) == 5.0


@pytest.mark.parametrize(("fields", "closes_after"), [(b"", None), (b"Connection: close\r\n", 0.0)])
async def test_a_server_without_the_race_is_not_timed(
    fields: bytes, closes_after: float | None
) -> None:
    """A connection that outlasts the router's time, or serves one request only, cannot race."""
    async with server(fields, closes_after) as address:
        assert await idle_seconds(*address, "/", 0.1) is None


async def test_a_server_that_is_gone_is_no_fault_of_the_check() -> None:
    """Where nobody listens, nothing is known, and nothing breaks."""
    async with server() as address:
        pass
    assert await idle_seconds(*address, "/", 0.1) is None


@given(st.floats(0.001, 10_000), st.floats(0.001, 10_000))
def test_there_is_a_warning_where_the_server_closes_first(server: float, router: float) -> None:
    """There is one exactly if the router may use a connection as long as the server keeps it."""
    said = warning("a", server, RouterIdle("nginx", router))
    assert (said is not None) == (server <= router)
    assert warning("a", None, RouterIdle("nginx", router)) is None


def test_the_warning_has_both_numbers_and_what_to_set() -> None:
    """It names the version, the two times, and the setting on each side."""
    said = warning("b", 5.0, RouterIdle("nginx", 60.0)) or ""
    for part in ("version b", "after 5 s", "router nginx", "up to 60 s", "keepalive_timeout"):
        assert part in said


@pytest.mark.parametrize(
    ("settings", "router", "expected"),
    [
        ((), None, None),  # our balancer loses none by default
        (("balancer.reuse_post=true",), None, RouterIdle("hitless", 1.0)),
        (("balancer.retry=false", "balancer.idle_timeout_seconds=9"), None, ("hitless", 9.0)),
        ((), "nginx", ("nginx", 60.0)),
        ((), "envoy", ("envoy", 3600.0)),
    ],
)
def test_the_time_of_each_router_is_known(
    settings: tuple[str, ...], router: str | None, expected: tuple[str, float] | None
) -> None:
    """Ours as the scenario says it, the others' as their configuration says it."""
    changes = Changes(settings=settings, router=router)
    assert router_idle(changes.experiment("good", "rolling", 1).scenario) == expected


def test_of_the_users_own_configuration_nothing_is_claimed(tmp_path: Path) -> None:
    """What a file of the user's says of idle connections is not known, so nothing is said."""
    scenario = Changes(router="nginx").experiment("good", "rolling", 1).scenario
    own = msgspec.structs.replace(scenario.router, config=str(tmp_path / "nginx.conf"))
    assert router_idle(msgspec.structs.replace(scenario, router=own)) is None


def test_what_a_probe_found_is_used() -> None:
    """What the server announces counts, else when it closed; one that does not close is no race."""
    assert seconds_of(KeepAlive(fate="closed", seconds=4.9)) == 4.9
    assert seconds_of(KeepAlive(fate="closed", seconds=6.1, announced=5.0)) == 5.0
    assert seconds_of(KeepAlive(fate="open", seconds=10.0)) is None
    assert seconds_of(KeepAlive(fate="none", seconds=0.0)) is None
    assert seconds_of(None) is None


def reusing() -> Scenario:
    """A scenario in which our balancer sends POSTs on kept connections for up to 1 s."""
    changes = Changes(settings=("balancer.reuse_post=true",))
    return changes.experiment("good", "rolling", 1).scenario


def replica(address: tuple[str, int], version: str = "a") -> Replica:
    """A replica that listens there."""
    return Replica(id=f"{version}-1", version=version, host=address[0], port=address[1])


@pytest.mark.parametrize("leaves", [False, True])
async def test_the_version_that_serves_is_watched(*, leaves: bool) -> None:
    """Its replica is asked once; one that leaves meanwhile may close for that reason alone."""
    events: list[JournalEvent] = []
    async with server(closes_after=0.1) as address:
        answers = iter([[replica(address)], [] if leaves else [replica(address)]])
        journal = Journal(listeners=[events.append])
        await check_keep_alive(reusing(), {}, lambda: next(answers), journal)
    assert [event.replicas for event in events] == ([] if leaves else [("a-1",)])
    assert all(event.verb == "keep_alive" and event.error for event in events)


async def test_what_was_probed_is_not_measured_again() -> None:
    """A probed version is warned of at once, whether it serves already or not."""
    events: list[JournalEvent] = []
    profiles = {
        "a": profile(keep_alive=KeepAlive(fate="closed", seconds=0.5)),
        "b": profile(keep_alive=KeepAlive(fate="closed", seconds=9.0)),
    }
    nobody = [replica(("127.0.0.1", 9))]
    journal = Journal(listeners=[events.append])
    await check_keep_alive(reusing(), profiles, lambda: nobody, journal)
    assert [(event.version, "after 0.5 s" in (event.error or "")) for event in events] == [
        ("a", True)
    ]


async def test_a_run_behind_our_own_balancer_has_nothing_to_check() -> None:
    """By default our balancer loses no request to the race, so nobody is asked."""
    events: list[JournalEvent] = []
    scenario = Changes().experiment("good", "rolling", 1).scenario
    nobody = [replica(("127.0.0.1", 9))]
    await check_keep_alive(scenario, {}, lambda: nobody, Journal(listeners=[events.append]))
    assert events == []


SCENARIO = """
name = "keep-alive"

[application]
command = ["{python}", "-u", {app}, "{{port}}", "{keep_alive}"]
health_path = "/health"

[versions]
a = {{}}
b = {{}}

[release]
from = "a"
steps = [{{ deploy = "b" }}]

[policy]
replicas = 1
min_ready_seconds = 4

# The checks must not notice that the application blocks.
[balancer]
health_interval_seconds = 5
health_timeout_seconds = 20
idle_timeout_seconds = 10

[objectives]
latency_seconds = 20
schedule_lag_p99_seconds = 10
schedule_lag_max_seconds = 30

[traffic]
rate = 10
timeout_seconds = 30

[[traffic.journeys]]
name = "order"
weight = 30
steps = [{{ method = "POST", path = "/orders", body = "one" }}]

[[traffic.journeys]]
name = "report"
weight = 1
steps = [{{ method = "POST", path = "/block/1.5", body = "one" }}]

[phases]
baseline_seconds = 4
settle_seconds = 4
"""
REUSE = ("--set", "balancer.reuse_post=true")


@pytest.mark.matrix
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("keep_alive", "options", "races"),
    [("0.5", REUSE, True), ("60", REUSE, False), ("0.5", (), False)],
    ids=["reuse_post", "longer timeout", "by default"],
)
def test_a_short_keep_alive_timeout_costs_posts_only_where_they_are_sent_on_kept_connections(
    keep_alive: str,
    options: tuple[str, ...],
    *,
    races: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With `reuse_post`, POSTs are lost to the race and the run warned of it; else none is.

    The application blocks its event loop longer than its keep-alive timeout, so the race is lost
    however fast the machine is. A longer timeout ends it.
    """
    path = tmp_path / "keep-alive.toml"
    path.write_text(
        SCENARIO.format(
            python=sys.executable,
            app=msgspec.json.encode(str(APP)).decode(),
            keep_alive=keep_alive,
        )
    )
    run = released(path, tmp_path / "runs", *options)
    verdict = run.verdict
    said = [event.error for event in run.events if event.verb == "keep_alive"]
    out = " ".join(capsys.readouterr().out.split())
    if not races:
        assert (verdict.requests.failed, said) == (0, [])
        return
    assert verdict.requests.failed > 0
    assert {cause.cause for cause in verdict.causes} == {KEEP_ALIVE_RACE}
    assert {key.split()[0] for cause in verdict.causes for key in cause.evidence.endpoints} == {
        "POST"
    }
    (line,) = said
    assert line is not None
    assert "router hitless uses them for up to 10 s" in line
    assert f"warning: {line}" in out
    assert line in (verdict.causes[0].evidence.note or "")
