"""Real clients, and rollouts under their load: nobody sees a failure."""

import asyncio
import re
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import httpx
import pytest

from tests.support.balancer import (
    FAST,
    BalancerProcess,
    ReceivedRequest,
    ScriptedBackend,
    backend,
    load,
    response,
    running_balancer,
)


async def echo(call: ReceivedRequest) -> None:
    call.writer.write(response(call.line + b"|" + call.body))


async def output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        text, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, text.decode()
    return text.decode()


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


async def test_python_clients(tmp_path: Path) -> None:
    """Httpx and aiohttp get their answers, with bodies both ways, on one connection (P15)."""
    async with backend(echo) as one, running_balancer(tmp_path, *FAST) as running:
        await running.attach(a_1=one)
        async with httpx.AsyncClient(base_url=running.url) as client:
            for _ in range(3):
                answer = await client.put("/x?y=%20", content=b"body" * 1000)
                assert answer.content == b"PUT /x?y=%20 HTTP/1.1|" + b"body" * 1000
        async with aiohttp.ClientSession(running.url) as session:
            async with session.post("/x", data={"a": "ü"}) as posted:
                assert await posted.read() == b"POST /x HTTP/1.1|a=%C3%BC"
            async with session.get("/x") as got:
                assert await got.read() == b"GET /x HTTP/1.1|"


async def test_requests(tmp_path: Path) -> None:
    """Requests gets its answers, on one connection (P15)."""
    requests = pytest.importorskip("requests")

    def ask(url: str) -> list[str]:
        with requests.Session() as session:
            session.trust_env = False
            return [session.post(url + "/x", data=b"hi").text for _ in range(3)]

    async with backend(echo) as one, running_balancer(tmp_path, *FAST) as running:
        await running.attach(a_1=one)
        assert await asyncio.to_thread(ask, running.url) == ["POST /x HTTP/1.1|hi"] * 3


@pytest.mark.soak
async def test_a_browser(tmp_path: Path) -> None:
    """A browser shows a page with its style, script and pictures (P15)."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser is installed")

    async def page(call: ReceivedRequest) -> None:
        if call.path == b"/":
            body = b"<img src=1><img src=2><script src=/s.js></script><p id=p>no"
            kind = b"text/html"
        else:
            body, kind = (
                b"document.getElementById('p') || document.write('<b>yes</b>')",
                b"text/javascript",
            )
        call.writer.write(response(body, fields=b"Content-Type: " + kind + b"\r\n"))

    async with backend(page) as one, running_balancer(tmp_path, *FAST) as running:
        await running.attach(a_1=one)
        shown = await output(
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", running.url + "/",
        )  # fmt: skip
    assert "<b>yes</b>" in shown
    assert {call.path for call in one.calls} >= {b"/", b"/1", b"/2", b"/s.js"}


@needs("curl")
async def test_curl(tmp_path: Path) -> None:
    """Curl uploads with Expect, sends chunks, speaks HTTP/1.0, asks for HEAD (P15)."""
    large = tmp_path / "large"
    large.write_bytes(b"x" * 2_000_000)
    async with backend(echo) as one, running_balancer(tmp_path, *FAST) as running:
        await running.attach(a_1=one)
        curl = ["curl", "-sS", "--noproxy", "*", "--max-time", "60"]
        url = running.url + "/x"
        assert await output(*curl, "-0", url) == "GET /x HTTP/1.1|"
        assert "Content-Length: 17" in await output(*curl, "-I", url)
        sent = await output(*curl, "-H", "Expect: 100-continue", "-T", str(large), url)
        assert len(sent) == 2_000_000 + len("PUT /x HTTP/1.1|")
        chunked = ["-H", "Transfer-Encoding: chunked", "-d", "@" + str(large), url]
        assert len(await output(*curl, *chunked)) == 2_000_000 + len("POST /x HTTP/1.1|")


@needs("wrk")
async def test_wrk(tmp_path: Path) -> None:
    """Wrk sees no error (P15)."""
    async with backend() as one, running_balancer(tmp_path, *FAST) as running:
        await running.attach(a_1=one)
        text = await output("wrk", "-t1", "-c8", "-d1s", "--timeout", "60", running.url)
    assert "Socket errors" not in text
    assert "Non-2xx" not in text


@needs("ab")
async def test_ab(tmp_path: Path) -> None:
    """ab, which speaks HTTP/1.0, sees no error, with keep-alive and without (P15)."""
    async with backend() as one, running_balancer(tmp_path, *FAST) as running:
        await running.attach(a_1=one)
        for options in ([], ["-k"]):
            text = await output("ab", *options, "-q", "-n", "200", "-c", "4", running.url + "/")
            assert re.search(r"Failed requests:\s+0\n", text)
            assert "Non-2xx" not in text


@needs("hey")
async def test_hey(tmp_path: Path) -> None:
    """Hey sees only 200 (P15)."""
    async with backend() as one, running_balancer(tmp_path, *FAST) as running:
        await running.attach(a_1=one)
        text = await output("hey", "-n", "200", "-c", "4", running.url)
    assert re.findall(r"\[(\d+)\]\s+(\d+) responses", text) == [("200", "200")]
    assert "Error distribution" not in text


async def renew(
    running: BalancerProcess, number: int, fleet: list[ScriptedBackend], stack: AsyncExitStack
) -> None:
    """Attach a backend, then drain, delete and stop the one that was there the longest."""
    fresh = await stack.enter_async_context(backend())
    await running.admin.put_backend(f"b-{number}", address=fresh.address, version="b", weight=1)
    await running.admin.wait_up([f"b-{number}"])
    oldest = (await running.admin.backends())[0].id
    assert (await running.admin.drain(oldest, timeout=60)).cut == 0
    await running.admin.delete(oldest)
    fleet.append(fresh)
    await fleet.pop(0).stop()


async def begin(running: BalancerProcess, stack: AsyncExitStack) -> list[ScriptedBackend]:
    fleet = [await stack.enter_async_context(backend()) for _ in range(2)]
    await running.attach(a_1=fleet[0], a_2=fleet[1])
    return fleet


async def rollouts_under_load(directory: Path, count: int, clients: int) -> None:
    async with running_balancer(directory, *FAST) as running, AsyncExitStack() as stack:
        fleet = await begin(running, stack)
        async with load(running.host, running.port, clients=clients) as traffic:
            for number in range(count):
                await renew(running, number, fleet, stack)
            await traffic.more(100)
        assert traffic.failures == []
        statistics = await running.admin.statistics()
        assert statistics["balancer"]["failed"] == 0


async def test_rollouts_drop_nothing(tmp_path: Path) -> None:
    """Under load, backends come, drain, and stop, and no request fails (M7)."""
    await rollouts_under_load(tmp_path, 10, 6)


@pytest.mark.soak
async def test_two_hundred_rollouts_drop_nothing(tmp_path: Path) -> None:
    """The same two hundred times (M7)."""
    await rollouts_under_load(tmp_path, 200, 9)


@pytest.mark.soak
@pytest.mark.parametrize("tool", ["wrk", "wrk POST", "wrk close", "hey", "hey close"])
async def test_rollouts_drop_nothing_of_other_tools(tmp_path: Path, tool: str) -> None:
    """The same under the load of other tools, with GET and POST, keep-alive and not (M7)."""
    program, _, kind = tool.partition(" ")
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    script = tmp_path / "script.lua"
    script.write_text(
        'wrk.method = "POST"\nwrk.body = "hello"\n'
        if kind == "POST"
        else 'wrk.headers["Connection"] = "close"\n'
    )
    async with running_balancer(tmp_path, *FAST) as running, AsyncExitStack() as stack:
        fleet = await begin(running, stack)
        options = {
            "wrk": [
                "-t1",
                "-c16",
                "-d20s",
                "--timeout",
                "60",
                *(["-s", str(script)] if kind else []),
            ],
            "hey": ["-c", "16", "-z", "20s", *(["-disable-keepalive"] if kind else [])],
        }[program]
        async with asyncio.TaskGroup() as tasks:
            measuring = tasks.create_task(output(program, *options, running.url))
            number = 0
            while not measuring.done():
                number += 1
                await renew(running, number, fleet, stack)
        text = measuring.result()
        assert number > 10
        assert "Socket errors" not in text
        assert "Non-2xx" not in text
        assert "Error distribution" not in text
        assert (await running.admin.statistics())["balancer"]["failed"] == 0
