"""The admin API of another router: what goes wrong is one line in the router's name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from orchestrator.errors import RouterError
from orchestrator.routers.admin_api import admin_api


@asynccontextmanager
async def serving(socket: Path) -> AsyncIterator[None]:
    """An API that answers, and that refuses in JSON, in text, and in silence."""

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read() or b"nothing")

    async def refuse(request: web.Request) -> web.Response:
        said = {"json": '{"error": "no such thing"}', "text": "no\nsuch thing", "none": ""}
        return web.Response(status=400, text=said[request.match_info["how"]])

    app = web.Application()
    app.router.add_route("*", "/echo", echo)
    app.router.add_get("/refuse/{how}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(socket)).start()
        yield
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("how", "words"),
    [("json", "no such thing"), ("text", "no such thing"), ("none", "Bad Request")],
)
async def test_a_refusal_has_the_routers_own_words(how: str, words: str, tmp_path: Path) -> None:
    """An error is one line: who, what was asked, and the words of the router."""
    socket = tmp_path / "admin.sock"
    async with serving(socket), admin_api("caddy", lambda: "caddy", socket=socket) as api:
        assert await api.ask("/echo") == b"nothing"
        assert await api.ask("/echo", method="POST", body=b"this") == b"this"
        with pytest.raises(RouterError) as error:
            await api.ask(f"/refuse/{how}")
    assert str(error.value) == f"caddy: GET /refuse/{how}: {words}"


async def test_a_router_that_is_not_there_does_not_answer(tmp_path: Path) -> None:
    """Neither a socket nor an address that is not known yet is more than one line."""
    async with admin_api("caddy", lambda: "caddy", socket=tmp_path / "none") as api:
        with pytest.raises(RouterError, match=r"^caddy does not answer: ") as error:
            await api.ask("/")
        assert "\n" not in str(error.value)
    async with admin_api("envoy", (tmp_path / "none").read_text) as api:
        with pytest.raises(RouterError, match=r"^envoy does not answer: "):
            await api.ask("/ready")
