"""Several processes send what one would, and end as one."""

import asyncio
import os
import signal
from itertools import islice
from pathlib import Path

import aiosmtplib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.run_folder import RunFolder
from scenarios.traffic.agenda import Agenda
from scenarios.traffic.journeys.population import Population
from scenarios.traffic.plan import Plan
from scenarios.traffic.schedule.arrivals import poisson
from scenarios.traffic.settings import Journey, Step
from tests.scenarios.traffic.process.test_control import OK, Dialogue, dialogue, plan
from tests.support.servers import Site, serving

MAILED = {
    "name": "mailed",
    "steps": [{"path": "/first"}, {"path": "{link}", "after": "mail"}],
}


def planned_times(shards: int, shard: int | None, count: int) -> dict[int, int]:
    made = Plan(
        host="127.0.0.1",
        port=1,
        rate=100.0,
        journeys=(Journey(name="one", steps=(Step(path="/"),)),),
        requests_path="",
        mails_path="",
        processes=shards,
        shard=shard,
    )
    agenda = Agenda(made, Population(made))
    agenda.start(0)
    found: dict[int, int] = {}
    while len(found) < count:
        at = agenda.next_ns()
        assert at is not None
        planned = agenda.pop(at)
        assert planned is not None
        found[planned.number] = planned.planned_ns
    return found


@given(shards=st.integers(2, 5))
def test_the_plan_does_not_depend_on_the_number_of_processes(shards: int) -> None:
    """Together the shards plan each arrival of the one process, once, at the same time."""
    whole = planned_times(1, None, 20 * shards)
    parts = [planned_times(shards, shard, 20) for shard in range(shards)]
    assert sum(len(part) for part in parts) == len(whole)
    assert {number: at for part in parts for number, at in part.items()} == whole


def children(talk: Dialogue) -> list[int]:
    pid = talk.process.pid
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(30):
        while any(runs(pid) for pid in pids):  # noqa: ASYNC110 - they are nobody's children here
            await asyncio.sleep(0.02)


async def test_two_processes_are_one_run(tmp_path: Path) -> None:
    """One mailbox, one file, one tick, one end: and each user's click, whoever sends it."""
    site = Site(OK)
    async with serving(site) as server, dialogue() as talk:
        talk.say(plan(tmp_path, server.port, processes=2, journeys=[MAILED]))
        host, _, port = (await talk.hear())["smtp"].rpartition(":")
        talk.say({"do": "start"})
        await site.until(10)
        for user in ("s7-000000", "s7-000001"):
            await aiosmtplib.send(
                f"From: n@x.com\r\nSubject: Hi\r\n\r\nhttp://h/click?user={user}",
                sender="n@x.com",
                recipients=[f"{user}@example.com"],
                hostname=host,
                port=int(port),
            )
        while sum(b"/click" in each for each in site.requests) < 2:
            await site.until(len(site.requests) + 1)
        talk.say({"do": "finish"})
        ticks = []
        while (last := await talk.hear())["event"] == "tick":
            ticks.append(last)
        assert await talk.process.wait() == 0
        assert await talk.errors() == ""
    made = {outcome.request_id: outcome for outcome in RunFolder(tmp_path).requests.read()}
    assert (last["event"], last["requests"]) == ("finished", len(made))
    assert sum(tick["planned"] for tick in ticks) == sum(tick["ok"] for tick in ticks) == len(made)
    assert {made["s7-000000-2"].endpoint, made["s7-000001-2"].endpoint} == {"GET /click"}
    assert len(list(RunFolder(tmp_path).mails.read())) == 2
    # One schedule, counted from one time in both processes.
    offsets = list(islice(poisson(100.0, 7), 8))
    first = [made[f"s7-{number:06d}-1"].planned_ns for number in range(8)]
    assert len({at - offset for at, offset in zip(first, offsets, strict=True)}) == 1


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL", "end of input"])
async def test_no_process_outlives_the_run(tmp_path: Path, end: str) -> None:
    """However the run ends, its processes end with it."""
    site = Site(OK)
    async with serving(site) as server, dialogue() as talk:
        talk.say(plan(tmp_path, server.port, processes=2))
        await talk.hear()
        talk.say({"do": "start"})
        await site.until(5)
        pids = children(talk)
        assert len(pids) == 2
        if end == "end of input":
            assert talk.process.stdin is not None
            talk.process.stdin.close()
        else:
            talk.process.send_signal(signal.Signals[end])
        code = await talk.process.wait()
        assert code == (-9 if end == "SIGKILL" else 130)
        await gone(pids)


async def test_a_process_that_dies_ends_the_run(tmp_path: Path) -> None:
    """A run that lost a part of its traffic is no run: it ends with one clear line."""
    site = Site(OK)
    async with serving(site) as server, dialogue() as talk:
        talk.say(plan(tmp_path, server.port, processes=2))
        await talk.hear()
        talk.say({"do": "start"})
        await site.until(5)
        pids = children(talk)
        os.kill(pids[1], signal.SIGKILL)
        assert await talk.process.wait() == 4
        assert "ended with status -9 before it was done" in await talk.errors()
        await gone(pids)
