"""aiohttp: one page, one WebSocket."""

import os

from aiohttp import web


async def hello(request):
    return web.Response(text="hello")


async def socket(request):
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for _ in websocket:
        pass
    return websocket


def make(argv=None):
    app = web.Application()
    app.add_routes([web.get("/", hello), web.get("/ws", socket)])
    return app


if __name__ == "__main__":
    web.run_app(make(), host="127.0.0.1", port=int(os.environ["PORT"]))
