"""An application with limits of its own: `limited_app.py PORT VERSION [MODE]`.

GET /search is limited to ten requests a second and replica, and answers 429 beyond. The first
three GET /home of each process are answered 503: its cache is cold. POST /orders works. In the mode
`broken` it is answered 500. In the mode `strict` GET /search is always answered 429, and in the
mode `colder` the first hundred GET /home of each process are answered 503. Each answer has the
field X-Frame-Options, unless the mode is `bare`.
"""

import asyncio
import contextlib
import signal
import sys
import time

PORT, VERSION, MODE = int(sys.argv[1]), sys.argv[2], (sys.argv[3:] or ["good"])[0]
LIMIT = 10
COLD = 100 if MODE == "colder" else 3


class Limits:
    """What this process has answered."""

    def __init__(self) -> None:
        self.homes = 0
        self.tokens = float(LIMIT)
        self.filled = time.monotonic()

    def status(self, path: str) -> int:
        if path == "/search":
            now = time.monotonic()
            self.tokens = min(LIMIT, self.tokens + (now - self.filled) * LIMIT)
            self.filled = now
            if self.tokens < 1 or MODE == "strict":
                return 429
            self.tokens -= 1
        elif path == "/home":
            self.homes += 1
            return 503 if self.homes <= COLD else 200
        elif path == "/orders" and MODE == "broken":
            return 500
        return 200


async def main() -> None:
    stopping, limits = asyncio.Event(), Limits()
    idle: set[asyncio.Task[None] | None] = set()
    busy: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        # Idle connections are cancelled when the process has to end.
        ended = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*ended):
            while not stopping.is_set():
                idle.add(task)
                head = await reader.readuntil(b"\r\n\r\n")
                idle.discard(task)
                busy.add(task)
                path = head.decode().split(" ")[1]
                last = b"Connection: close\r\n" if stopping.is_set() else b""
                safe = b"" if MODE == "bare" else b"X-Frame-Options: DENY\r\n"
                answer = b"HTTP/1.1 %d Said\r\nContent-Length: 0\r\n%s%s\r\n"
                writer.write(answer % (limits.status(path), safe, last))
                await writer.drain()
                busy.discard(task)
        idle.discard(task)
        busy.discard(task)
        writer.close()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    server = await asyncio.start_server(serve, "127.0.0.1", PORT)
    await stopping.wait()
    server.close()
    for task in idle:
        if task is not None:
            task.cancel()
    while busy:
        await asyncio.wait(tuple(task for task in busy if task is not None))


asyncio.run(main())
