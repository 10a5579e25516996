"""A feed of numbered messages, ten a second, over websockets and as server-sent events, on aiohttp.

All replicas send the same numbers, since they follow the clock. A client says which number it has
(`?since=17`), and gets what came later. When the server is told to stop, it tells its clients so.
"""

import argparse
import asyncio
import os
import signal
import time
import weakref

from aiohttp import WSCloseCode, web

EVERY_SECONDS = 0.1
REPLAYS = os.environ.get("REPLAYS", "yes") == "yes"
MOST = 600  # so many messages are kept

feeds = web.AppKey("feeds", weakref.WeakSet)
leaving = web.AppKey("leaving", asyncio.Event)


def newest():
    return int(time.monotonic() / EVERY_SECONDS)


async def feed(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    request.app[feeds].add(socket)
    since = request.query.get("since", "")
    last = max(int(since), newest() - MOST) if since and REPLAYS else newest()
    receiving = asyncio.ensure_future(socket.receive())
    try:
        while not (receiving.done() or socket.closed):
            while last < newest():
                last += 1
                await socket.send_json({"id": last, "text": "news"})
            await asyncio.wait([receiving], timeout=EVERY_SECONDS / 2)
    except ConnectionResetError:
        pass  # the client has gone
    finally:
        receiving.cancel()
    return socket


async def events(request):
    """The same feed as server-sent events; a client says what it has in `Last-Event-ID`."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    since = request.headers.get("Last-Event-ID", "")
    last = max(int(since), newest() - MOST) if since and REPLAYS else newest()
    try:
        while not request.app[leaving].is_set():
            while last < newest():
                last += 1
                await response.write(f"id: {last}\ndata: news\n\n".encode())
            await asyncio.sleep(EVERY_SECONDS / 2)
    except ConnectionResetError:
        pass  # the client has gone
    return response


async def say_goodbye(app):
    app[leaving].set()
    for socket in set(app[feeds]):
        await socket.close(code=WSCloseCode.SERVICE_RESTART, message=b"deployment")


async def health(_):
    return web.Response(text="ok")


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    arguments = parser.parse_args()
    app = web.Application()
    app[feeds] = weakref.WeakSet()
    app[leaving] = asyncio.Event()
    routes = {"/feed": feed, "/events": events, "/health": health}
    app.add_routes([web.get(path, answer) for path, answer in routes.items()])
    app.on_shutdown.append(say_goodbye)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    await web.TCPSite(runner, arguments.host, arguments.port).start()
    await stopping.wait()
    await runner.cleanup()


asyncio.run(main())
