"""A service whose requests take long: downloads, uploads, and websockets that stay open.

`GET /download?bytes=N` answers so many bytes, `POST /upload` tells how many it got, and `/socket`
answers pings until its client goes. SIGTERM is graceful: what is in flight is finished. It imports
none of ours.
"""

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator

from aiohttp import web

MOST_BYTES = 16 * 1024 * 1024
PIECE = 16 * 1024


async def health(_: web.Request) -> web.Response:
    """Say that it is well."""
    return web.Response(text="ok\n")


async def download(request: web.Request) -> web.Response:
    """Answer as many bytes as are asked for."""
    wanted = request.query.get("bytes", "0")
    if not (wanted.isascii() and wanted.isdigit() and int(wanted) <= MOST_BYTES):
        raise web.HTTPBadRequest(text=f"bytes: a number up to {MOST_BYTES}\n")
    return web.Response(body=_pieces(int(wanted)), headers={"Content-Length": wanted})


async def _pieces(left: int) -> AsyncIterator[bytes]:
    while left > 0:
        yield bytes(min(left, PIECE))
        left -= PIECE


async def upload(request: web.Request) -> web.Response:
    """Read a body to its end; nothing of it is kept."""
    got = 0
    async for piece in request.content.iter_any():
        got += len(piece)
    return web.json_response({"bytes": got})


async def socket(request: web.Request) -> web.WebSocketResponse:
    """Stay open until the client goes; aiohttp answers its pings."""
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for _ in websocket:
        pass
    return websocket


def build_app() -> web.Application:
    """The application."""
    app = web.Application(client_max_size=MOST_BYTES)
    app.router.add_get("/health", health)
    app.router.add_get("/download", download)
    app.router.add_post("/upload", upload)
    app.router.add_get("/socket", socket)
    return app


async def main(host: str, port: int) -> None:
    """Serve until it is told to stop."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    runner = web.AppRunner(build_app(), access_log=None, shutdown_timeout=30.0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    await stopping.wait()
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A service whose requests take long.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.host, arguments.port))
