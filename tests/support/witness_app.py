"""An application for the tests that bears witness: `witness_app.py PORT REPLICA FILE`.

Whatever it is asked takes 0.8 s, but for GET /health. Three lines tell of each request, each one
write to a file that is opened with O_APPEND, so that no line of a process that is killed is lost or
torn: `begun` before it works, `answering` before the answer, `answered` once the kernel has that.
SIGTERM is graceful: what is in flight is finished.
"""

import asyncio
import contextlib
import os
import signal
import sys

PORT, REPLICA, FILE = int(sys.argv[1]), sys.argv[2], sys.argv[3]
WORK_SECONDS = 0.8
SEEN = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def witness(what: str, method: str, request_id: str) -> None:
    os.write(SEEN, f"{what} {REPLICA} {method} {request_id}\n".encode())


async def main() -> None:
    stopping = asyncio.Event()
    idle: set[asyncio.Task[None] | None] = set()
    busy: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        idle.add(task)
        head = await reader.readuntil(b"\r\n\r\n")
        idle.discard(task)
        busy.add(task)
        first, *lines = head.decode().strip().split("\r\n")
        method, path, _ = first.split(" ")
        fields = {name.lower(): text for name, text in (line.split(": ", 1) for line in lines)}
        await reader.readexactly(int(fields.get("content-length", 0)))
        about = (method, fields.get("x-request-id", "-"))
        if path != "/health":
            witness("begun", *about)
            await asyncio.sleep(WORK_SECONDS)
            witness("answering", *about)
        last = b"Connection: close\r\n" if stopping.is_set() else b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n%s\r\n" % last)
        await writer.drain()
        if path != "/health":
            witness("answered", *about)
        busy.discard(task)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not stopping.is_set():
                await answer(reader, writer)
        idle.discard(asyncio.current_task())
        busy.discard(asyncio.current_task())
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
