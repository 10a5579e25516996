"""A new replica answers its warm-up before the router hears of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from orchestrator.model import Replica
from orchestrator.warm_up import warm_up

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[Replica]:
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        yield Replica(id="a-1", version="a", host=host, port=port)
    finally:
        await runner.cleanup()


async def test_it_asks_until_every_path_is_answered() -> None:
    """Each path is asked for in order, again and again while the answer is an error."""
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        return web.Response(status=503 if len(asked) < 3 else 302)

    said: list[str] = []
    async with served(answer) as replica:
        await warm_up(replica, ["/one", "/two"], said.append)
    assert asked == ["/one", "/one", "/one", "/two"]
    assert "its warm-up: GET /one: it answered 503" in said
