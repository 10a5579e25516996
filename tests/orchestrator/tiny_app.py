"""A tiny application for the tests: `tiny_app.py PORT VERSION`; it answers with its version.

It listens on `HOST`, or on 127.0.0.1.
`MODE` in the environment: `sick` (its health check answers 503), `dies` (it says why and exits
before it listens), `failing` (all but the health check is a 503), `deaf` (it ignores SIGTERM),
`abrupt` (SIGTERM ends it at once, with what is in flight).
GET /slow takes a while, GET /long a bit longer (it says `begun`, then `ended`), GET /hang for ever.
After GET /turn-sick the health check answers 503. SIGTERM is graceful: what is in flight is ended.
"""

import asyncio
import contextlib
import os
import signal
import sys

PORT, VERSION, MODE = int(sys.argv[1]), sys.argv[2], os.environ.get("MODE", "")


async def main() -> None:  # noqa: C901 - one place for all that it can do
    if MODE == "dies":
        sys.stdout.write("no configuration; giving up\n")
        raise SystemExit(3)
    stopping, sick = asyncio.Event(), asyncio.Event()
    if MODE == "sick":
        sick.set()
    idle: set[asyncio.Task[None]] = set()
    busy: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not stopping.is_set():
                idle.add(task)
                head = await reader.readuntil(b"\r\n\r\n")
                idle.discard(task)
                busy.add(task)
                path = head.split(b" ", 2)[1].decode()
                if path == "/hang":
                    sys.stdout.write("hanging\n")
                    sys.stdout.flush()
                    await asyncio.Event().wait()
                if path == "/slow":
                    await asyncio.sleep(0.3)
                if path == "/long":
                    sys.stdout.write("begun\n")
                    sys.stdout.flush()
                    await asyncio.sleep(0.5)
                    sys.stdout.write("ended\n")
                    sys.stdout.flush()
                if path == "/turn-sick":
                    sick.set()
                bad = sick.is_set() if path == "/health" else MODE == "failing"
                status = b"503 Service Unavailable" if bad else b"200 OK"
                body = VERSION.encode()
                last = b"Connection: close\r\n" if stopping.is_set() else b""
                writer.write(
                    b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s"
                    % (status, len(body), last, body)
                )
                await writer.drain()
                busy.discard(task)
        idle.discard(task)
        busy.discard(task)
        writer.close()

    loop = asyncio.get_running_loop()
    if MODE != "abrupt":
        loop.add_signal_handler(signal.SIGTERM, (lambda: None) if MODE == "deaf" else stopping.set)
    server = await asyncio.start_server(serve, os.environ.get("HOST", "127.0.0.1"), PORT)
    await stopping.wait()
    server.close()
    for task in tuple(idle):
        task.cancel()
    while busy:
        await asyncio.wait(tuple(busy))


asyncio.run(main())
