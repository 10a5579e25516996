"""The generator as a process: the dialogue that whoever starts it relies on."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scenarios.evidence.run_folder import RunFolder
from tests.support.servers import Site, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Served-By: a-1\r\n\r\n"


class Dialogue:
    """A generator process, its lines in and its lines out."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def say(self, line: object) -> None:
        assert self.process.stdin is not None
        text = line if isinstance(line, str) else json.dumps(line)
        self.process.stdin.write(text.encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        return json.loads(line) if line else {}

    async def errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


@asynccontextmanager
async def dialogue() -> AsyncIterator[Dialogue]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scenarios.traffic",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Dialogue(process)
    finally:
        if process.returncode is None:
            process.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        # Reads to the end, so that the transports of its pipes are closed.
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            await stream.read()


def plan(folder: Path, port: int, **fields: object) -> dict[str, object]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "rate": 100.0,
        "seed": 7,
        "tick_seconds": 0.05,
        "requests_path": str(folder / "requests.ndjson"),
        "mails_path": str(folder / "mails.ndjson"),
        "journeys": [{"name": "health", "steps": [{"path": "/health_check"}]}],
        **fields,
    }


async def test_a_whole_dialogue(tmp_path: Path) -> None:
    """Ready, then nothing until start; ticks; stop; finish; finished, with every line on disk."""
    async with serving(Site(OK)) as server, dialogue() as talk:
        talk.say(plan(tmp_path, server.port))
        ready = await talk.hear()
        assert ready["event"] == "ready"
        host, _, port = ready["smtp"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert (await reader.readline()).startswith(b"220")
        writer.close()
        await writer.wait_closed()
        assert server.connections == 0

        talk.say({"do": "start"})
        ticks: list[dict[str, Any]] = []
        while sum(tick["planned"] for tick in ticks) < 10:
            ticks.append(await talk.hear())
            assert ticks[-1]["event"] == "tick"
        talk.say({"do": "stop"})
        # The order to stop may have crossed one tick with arrivals; two empty ones follow.
        while not (ticks[-1]["planned"] == ticks[-2]["planned"] == 0):
            ticks.append(await talk.hear())
        talk.say({"do": "finish"})
        while (last := await talk.hear())["event"] == "tick":
            ticks.append(last)
        assert await talk.process.wait() == 0
        assert await talk.hear() == {}
        assert await talk.errors() == ""
    made = list(RunFolder(tmp_path).requests.read())
    assert (last["event"], last["requests"]) == ("finished", len(made))
    assert 0 < last["latency"]["p50"] <= last["latency"]["p99"] <= last["latency"]["max"]
    assert last["latency"]["max"] == pytest.approx(max(each.latency_seconds for each in made))
    assert last["schedule_lag"]["p50"] > 0
    assert sum(tick["planned"] for tick in ticks) == len(made)
    assert sum(tick["ok"] for tick in ticks) == len(made)
    assert list(RunFolder(tmp_path).mails.read()) == []


@pytest.mark.parametrize("end", ["end of input", "SIGTERM", "SIGINT"])
async def test_an_abort_is_at_once_and_loses_no_line(tmp_path: Path, end: str) -> None:
    """However it is aborted, it ends without an answer from the server, and its files are whole."""

    async def first_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.read()  # and never an answer again

    async with serving(first_only) as server, dialogue() as talk:
        talk.say(plan(tmp_path, server.port, timeout_seconds=3600.0))
        await talk.hear()
        talk.say({"do": "start"})
        while (await talk.hear())["ok"] == 0:
            pass
        if end == "end of input":
            assert talk.process.stdin is not None
            talk.process.stdin.close()
        else:
            talk.process.send_signal(signal.Signals[end])
        assert await talk.process.wait() == 130
        assert await talk.errors() == ""
    assert any(outcome.ok for outcome in RunFolder(tmp_path).requests.read())


async def test_it_ends_when_nobody_ever_speaks() -> None:
    """A process whose input ends before the plan came ends too."""
    async with dialogue() as talk:
        assert talk.process.stdin is not None
        talk.process.stdin.close()
        assert await talk.process.wait() == 130


async def test_finish_without_start_is_a_run_without_requests(tmp_path: Path) -> None:
    """Finishing at once is in order: no request, and complete files."""
    async with dialogue() as talk:
        talk.say(plan(tmp_path, 1))
        assert (await talk.hear())["event"] == "ready"
        talk.say({"do": "finish"})
        last = await talk.hear()
        assert (last["event"], last["requests"], last["latency"]) == ("finished", 0, None)
        assert await talk.process.wait() == 0
    assert list(RunFolder(tmp_path).requests.read()) == []


async def test_a_reader_that_lags_behind_does_not_stop_the_traffic(tmp_path: Path) -> None:
    """Ticks that nobody reads wait in memory; the requests go on."""
    site = Site(OK)
    async with serving(site) as server, dialogue() as talk:
        talk.say(plan(tmp_path, server.port, tick_seconds=0.0005))
        await talk.hear()
        assert talk.process.stdout is not None
        transport = talk.process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        transport.pause_reading()
        talk.say({"do": "start"})
        await site.until(100)
        transport.resume_reading()
        talk.say({"do": "finish"})
        while (last := await talk.hear())["event"] == "tick":
            pass
        assert last["requests"] >= 100


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "traffic: the plan, line 1 of standard input: Input data was truncated"),
        ([{"host": "x"}], "traffic: the plan, line 1 of standard input: Object missing required"),
        (
            [{"rate": 0.0}],
            "traffic: the plan, line 1 of standard input: Expected `float` > 0.0 - at `$.rate`",
        ),
        ([{}, {"do": "dance"}], 'traffic: not a command: {"do": "dance"}: Invalid enum value'),
        ([{}, {"do": "start"}, {"do": "start"}], "traffic: start is accepted only once, and"),
    ],
)
async def test_what_is_wrong_is_one_line(tmp_path: Path, lines: list[Any], message: str) -> None:
    """A plan or a command that is wrong ends the process with status 2 and one clear line."""
    async with serving(Site(OK)) as server, dialogue() as talk:
        for line in lines:
            whole = line == {} or (isinstance(line, dict) and "rate" in line)
            talk.say(plan(tmp_path, server.port, **line) if whole else line)
        assert await talk.process.wait() == 2
        errors = await talk.errors()
    assert errors.startswith(message)
    assert errors.count("\n") == 1


async def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """A file that cannot be made is the environment's fault: status 4, and its name."""
    async with dialogue() as talk:
        talk.say(plan(tmp_path / "missing", 1))
        assert await talk.process.wait() == 4
        errors = await talk.errors()
    assert errors == f"traffic: {tmp_path}/missing/requests.ndjson: No such file or directory\n"


async def test_an_abort_does_not_wait_for_a_reader(tmp_path: Path) -> None:
    """A process whose output nobody reads, and has filled its pipe, ends with its input."""
    site = Site(OK)
    async with serving(site) as server, dialogue() as talk:
        talk.say(plan(tmp_path, server.port, tick_seconds=0.0005))
        await talk.hear()
        transport = talk.process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        transport.pause_reading()
        talk.say({"do": "start"})
        await site.until(100)
        assert talk.process.stdin is not None
        talk.process.stdin.close()
        async with asyncio.timeout(30):
            while talk.process.returncode is None:  # noqa: ASYNC110 - wait() waits for the pipes too
                await asyncio.sleep(0.02)
        transport.resume_reading()
    assert len(list(RunFolder(tmp_path).requests.read())) >= 50


async def test_an_open_mail_session_does_not_keep_it_from_finishing(tmp_path: Path) -> None:
    """A sender that keeps its SMTP session open is told goodbye by the end of the connection."""
    async with dialogue() as talk:
        talk.say(plan(tmp_path, 1))
        host, _, port = (await talk.hear())["smtp"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert (await reader.readline()).startswith(b"220")
        talk.say({"do": "finish"})
        assert (await talk.hear())["event"] == "finished"
        assert await talk.process.wait() == 0
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()
