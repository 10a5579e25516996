"""A service without a database, with every fault that a deployment should survive as an option.

`GET /` is its work; `/health`, `/ready` and `/live` are what a balancer, a gate and a supervisor
ask. SIGTERM is graceful: what is in flight is finished. It imports none of ours and nothing but the
standard library, so that it starts in a moment.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
from dataclasses import dataclass, field

CONNECTION_CLOSE = b"Connection: close\r\n"
PROBES = ("/health", "/ready", "/live")


@dataclass(slots=True)
class Service:
    """What it does, and how it misbehaves.

    Attributes:
        version: what it answers.
        unhealthy: `/health` answers 503.
        unready: `/ready` answers 503.
        fail_rate: this part of the work is answered 500.
        delay: how much longer than necessary the work takes, in seconds.
        hang_after: from this request on `/live` and the work are never answered; 0: never.
        leak: memory in kB that each request keeps; 0: none.
        memory: how many MB it may keep until it is killed, as the kernel would.
    """

    version: str
    unhealthy: bool = False
    unready: bool = False
    fail_rate: float = 0.0
    delay: float = 0.0
    hang_after: int = 0
    leak: int = 0
    memory: int = 64
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: set["asyncio.Task[None] | None"] = field(default_factory=set)
    _busy: set["asyncio.Task[None]"] = field(default_factory=set)
    _kept: list[bytes] = field(default_factory=list)
    _requests: int = 0

    async def answer(self, path: str) -> int:
        """Do what a request asks for; returns its status."""
        if path in PROBES:
            if path == "/live" and self.hang_after and self._requests >= self.hang_after:
                await asyncio.Event().wait()
            bad = {"/health": self.unhealthy, "/ready": self.unready}.get(path, False)
            return 503 if bad else 200
        self._requests += 1
        if self.hang_after and self._requests >= self.hang_after:
            await asyncio.Event().wait()
        if self.leak:
            self._kept.append(bytes(self.leak * 1024))
            if len(self._kept) * self.leak > self.memory * 1024:
                sys.stdout.write(f"out of memory after {self._requests} requests\n")
                sys.stdout.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        if self.delay:
            await asyncio.sleep(self.delay)
        return 500 if random.random() < self.fail_rate else 200  # noqa: S311 - not a secret

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests, one after the other."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served outside of a task")
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not self.stopping.is_set():
                self._idle.add(task)
                head = await reader.readuntil(b"\r\n\r\n")
                self._idle.discard(task)
                self._busy.add(task)
                status = await self.answer(head.split(b" ", 2)[1].decode().partition("?")[0])
                body = f"{self.version}\n".encode()
                closing = self.stopping.is_set() or CONNECTION_CLOSE.lower() in head.lower()
                last = CONNECTION_CLOSE if closing else b""
                writer.write(
                    b"HTTP/1.1 %d x\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n%s"
                    % (status, len(body), last, body)
                )
                await writer.drain()
                self._busy.discard(task)
                if closing:
                    break
        self._idle.discard(task)
        self._busy.discard(task)
        writer.close()

    async def run(self, host: str, port: int) -> None:
        """Serve until it is told to stop."""
        server = await asyncio.start_server(self.serve, host, port)
        await self.stopping.wait()
        server.close()
        for task in tuple(self._idle):
            if task is not None:
                task.cancel()
        while self._busy:
            await asyncio.wait(tuple(self._busy))


async def main(arguments: argparse.Namespace) -> None:
    """Start as slowly as asked for, and serve."""
    await asyncio.sleep(arguments.start_seconds)
    service = Service(
        arguments.version,
        unhealthy=arguments.unhealthy,
        unready=arguments.unready,
        fail_rate=arguments.fail_rate,
        delay=arguments.delay,
        hang_after=arguments.hang_after,
        leak=arguments.leak,
        memory=arguments.memory,
    )
    stop = (lambda: None) if arguments.deaf else service.stopping.set
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    await service.run(arguments.host, arguments.port)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A service with faults.")
    parser.add_argument("--version", default="a", help="what it answers")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--unhealthy", action="store_true", help="/health answers 503")
    parser.add_argument("--unready", action="store_true", help="/ready answers 503")
    parser.add_argument("--fail-rate", type=float, default=0.0, help="part of the work that fails")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that the work takes more")
    parser.add_argument("--hang-after", type=int, default=0, help="requests until it hangs")
    parser.add_argument("--leak", type=int, default=0, help="kB that each request keeps")
    parser.add_argument("--memory", type=int, default=64, help="MB at which it is killed")
    parser.add_argument(
        "--start-seconds", type=float, default=0.0, help="how long it takes to start"
    )
    parser.add_argument("--deaf", action="store_true", help="ignores SIGTERM")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parsed()))
