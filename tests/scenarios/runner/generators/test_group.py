"""Several generators send and record what one would; one that is lost is named."""

import asyncio
import os
import signal
import zlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from scenarios.errors import LoadError
from scenarios.evidence.generator_facts import GeneratorFacts
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.tick import Tick
from scenarios.runner.generators import remote_generator
from scenarios.runner.generators.group import GeneratorGroup, generator_group
from scenarios.traffic.plan import Plan
from scenarios.traffic.remote.messages import GeneratorReport
from scenarios.traffic.schedule.arrivals import poisson
from scenarios.traffic.settings import Capture, Journey, Step
from tests.support.remote_generators import Remote, remotes
from tests.support.servers import Site, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n17"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


class BreaksForSome(Site):
    """Answers 500 to every user whose number ends with 7, and remembers nothing else."""

    async def respond(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        user = request.partition(b"user=")[2].partition(b" ")[0]
        writer.write(BROKEN if user.endswith(b"7") else OK)


def plan_to(port: int) -> Plan:
    first = Step(path="/first?user={unique}", connection="any")
    return Plan(
        host="127.0.0.1",
        port=port,
        rate=150.0,
        seed=5,
        tick_seconds=0.1,
        set_up=(Step(path="/set-up", capture={"shop": Capture(pattern="[0-9]+")}),),
        journeys=(
            Journey(name="two", steps=(first, Step(path="/{shop}?user={unique}"))),
            Journey(name="one", steps=(first,), weight=2.0),
            Journey(name="stay", steps=(first,), users=5, every_seconds=0.2),
        ),
        requests_path="",
        mails_path="",
    )


async def send(group: GeneratorGroup, site: Site, requests: int) -> None:
    """A whole run of this many requests."""
    await group.prepare()
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(group.listen())
        await group.start(await group.set_up())
        await site.until(requests)
        await group.stop()
        await group.finish()
        count = await listening
    assert count == sum(one.requests for one in group.facts)


async def sent(folder: Path, generators: int, ticks: list[Tick]) -> dict[str, Outcome]:
    """What so many generators sent, by request id; each of them was found intact."""
    folder.mkdir()
    site = BreaksForSome(OK)
    async with serving(site) as server, remotes(folder / "parts", generators) as (_, there):
        with generator_group(plan_to(server.port), there, folder, ticks.append) as group:
            await send(group, site, 150)
        assert group.here
        assert [one.lost for one in group.facts] == [None] * generators
        check_clocks(group.facts)
    found = list(RunFolder(folder).requests.read())
    assert len({one.request_id for one in found}) == len(found)
    assert sum(tick.planned for tick in ticks) == len(found)
    assert list(RunFolder(folder).ticks.read()) == ticks
    assert list(RunFolder(folder).mails.read()) == []
    return {one.request_id: one for one in found}


def check_clocks(facts: Iterable[GeneratorFacts]) -> None:
    """Under one kernel the clocks are one: what was measured must not say anything else."""
    for one in facts:
        assert one.clock_error_ns > 0
        assert abs(one.clock_drift_ns) <= 2 * one.clock_error_ns


def told(outcomes: dict[str, Outcome]) -> dict[str, tuple[object, ...]]:
    """All that must not depend on how many generators there are."""
    return {
        request_id: (one.journey, one.endpoint, one.status, one.ok, one.user, one.cause_id)
        for request_id, one in outcomes.items()
    }


async def test_two_generators_send_what_one_sends(tmp_path: Path) -> None:
    """The same requests of the same users at the same times, with the same outcomes."""
    one = await sent(tmp_path / "one", 1, [])
    two = await sent(tmp_path / "two", 2, [])
    begun = {
        name: {key for key in run if key.endswith("-1") and "-u" not in key}
        for name, run in (("one", one), ("two", two))
    }
    common = begun["one"] & begun["two"]
    # Both began at the first arrival, and left out none; they ended when the server had enough.
    fewest = min(map(len, begun.values()))
    assert common == {f"s5-{number:06d}-1" for number in range(fewest)}
    users = {key.removesuffix("-1") for key in common}
    mine, theirs = (
        {key: value for key, value in told(run).items() if key.rpartition("-")[0] in users}
        for run in (one, two)
    )
    assert mine == theirs
    assert any(not value[3] for value in mine.values())
    first = min(common)
    offsets = list(islice(poisson(150.0, 5), fewest))
    for run in (one, two):
        for number, offset in enumerate(offsets):
            planned = run[f"s5-{number:06d}-1"].planned_ns - run[first].planned_ns
            assert abs(planned - (offset - offsets[0])) < 50_000_000


async def lost(
    folder: Path, happens: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[GeneratorFacts, GeneratorFacts, list[Outcome]]:
    """Two generators of which something happens to the second one."""
    monkeypatch.setattr(remote_generator, "GIVE_UP_SECONDS", 0.5)
    site = BreaksForSome(OK)
    async with serving(site) as server, remotes(folder / "parts", 2) as (processes, there):
        with generator_group(plan_to(server.port), there, folder, lambda _: None) as group:
            if happens == "damaged":
                damage(processes[1])
            await group.prepare()
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(group.listen())
                await group.start(await group.set_up())
                await site.until(100)
                if happens == "evicted":
                    there[1].lose("was evicted: The node was low on resource: memory.")
                elif happens == "child killed":
                    os.kill(processes[1].children[0], signal.SIGKILL)
                elif happens == "killed":
                    processes[1].process.kill()
                await site.until(200)
                await group.released()
                await group.stop()
                await group.finish()
                await listening
            first, second = group.facts
    return first, second, list(RunFolder(folder).requests.read())


def damage(one: Remote) -> None:
    """Let the evidence of a generator arrive with another status in it."""
    ask = one.reach.ask

    async def damaged(method: str, path: str, body: bytes = b"") -> bytes:
        answer = await ask(method, path, body)
        if not path.startswith("/report"):
            return answer
        report = msgspec.msgpack.decode(answer, type=GeneratorReport)
        if not report.evidence:
            return answer
        piece = zlib.decompress(report.evidence).replace(b'"status":500', b'"status":200')
        changed = msgspec.structs.replace(report, evidence=zlib.compress(piece))
        return msgspec.msgpack.encode(changed)

    one.reach.ask = damaged  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        ("evicted", "was evicted: The node was low on resource: memory."),
        ("child killed", "was ended by signal 9, as the kernel does where memory is short"),
        ("killed", "did not answer for"),
        ("damaged", "its evidence arrived damaged"),
    ],
)
async def test_a_generator_that_is_lost_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happens: str, words: str
) -> None:
    """The other one goes on to the end, and what came from both is kept."""
    first, second, requests = await lost(tmp_path, happens, monkeypatch)
    assert first.lost is None
    assert words in (second.lost or "")
    assert first.requests > 0
    assert len(requests) == first.requests + second.requests


async def test_generators_of_another_version_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both versions are named, before there is any traffic."""
    monkeypatch.setattr("scenarios.runner.generators.group.version", lambda _: "0.0.7")
    async with remotes(tmp_path / "parts", 1) as (_, there):
        with (
            generator_group(plan_to(1), there, tmp_path, lambda _: None) as group,
            pytest.raises(LoadError, match=r"the image has hitless .*this is hitless 0\.0\.7"),
        ):
            await group.prepare()


async def test_a_plan_that_a_generator_refuses_is_one_line(tmp_path: Path) -> None:
    """With the number of the generator."""
    look = Journey(name="look", steps=(Step(path="/"),))
    wrong = msgspec.structs.replace(plan_to(1), journeys=(look, look))
    words = "generator 1: journey look: two journeys have this name"
    async with remotes(tmp_path / "parts", 1) as (_, there):
        with (
            generator_group(wrong, there, tmp_path, lambda _: None) as group,
            pytest.raises(LoadError, match=words),
        ):
            await group.prepare()
