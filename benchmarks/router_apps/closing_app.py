"""An application that closes idle connections: `closing_app.py PORT KEEP_ALIVE_SECONDS`.

It is as ordinary applications are: an event loop (uvloop), handlers that block it for a moment, as
a synchronous database driver or a template does, and a timer that closes a connection that has been
idle for so long. While a handler blocks, a request on an idle connection waits in the kernel. If
its timer is due by then, the loop runs the timer first and closes the connection: the request is
lost, and the kernel answers with RST. Node's event loop has the same order.

A handler blocks for 10 ms; that of `/block/SECONDS` blocks for so long, and says so first.
"""

import asyncio
import contextlib
import signal
import sys
import time
from typing import cast

import uvloop

PORT, KEEP_ALIVE = int(sys.argv[1]), float(sys.argv[2])
WORK_SECONDS = 0.01


class Connection(asyncio.Protocol):
    """One connection of the router."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self.stopping = stopping
        self.transport: asyncio.WriteTransport | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request; only what was used before is closed when it is idle."""
        self.transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Forget the timer."""
        self._keep(None)

    def data_received(self, data: bytes) -> None:
        """Answer a request that is complete."""
        self._keep(None)
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        if len(body) < int(fields.get(b"content-length", 0)):
            return
        self.buffer = b""
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/block/"):
            print("blocking", flush=True)
            time.sleep(float(path.rpartition(b"/")[2]))
        elif path != b"/health":
            time.sleep(WORK_SECONDS)
        last = self.stopping.is_set() or fields.get(b"connection", b"").lower() == b"close"
        if self.transport is None:
            return
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n%s\r\n"
            % (b"Connection: close\r\n" if last else b"")
        )
        if last:
            self.transport.close()
        else:
            self._keep(KEEP_ALIVE)

    def _keep(self, seconds: float | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if seconds is not None and self.transport is not None:
            self.timer = asyncio.get_running_loop().call_later(seconds, self.transport.close)


async def main() -> None:
    """Serve until SIGTERM."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    server = await loop.create_server(lambda: Connection(stopping), "127.0.0.1", PORT)
    await stopping.wait()
    server.close()
    await asyncio.sleep(0.2)


with contextlib.suppress(KeyboardInterrupt):
    uvloop.run(main())
