"""What the balancer's own code costs for one exchange, without sockets: pure and compiled.

    python -m benchmarks.exchange [--tries 200]

The two protocols of an exchange are called directly, with transports that throw all away; only the
look for unread bytes (poll) is a real system call. The least of many short stretches of processor
time counts, so that a busy machine matters little. In real traffic the same code costs about twice
as much, since the kernel's work takes the processor's caches in between.

`compiled` needs `make compiled`.
"""

import argparse
import asyncio
import gc
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import uvloop

ROOT = Path(__file__).resolve().parents[1]
COMPILED = ROOT / "build" / "compiled"
GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 15\r\n\r\n" + b"x" * 15
STRETCH = 300


class Void(asyncio.Transport):
    """A transport of an open connection that throws away what is written."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._facts = {"socket": sock, "peername": ("127.0.0.1", 1)}
        self.writes = 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        """The socket and the address of the peer."""
        return self._facts.get(name, default)

    def is_closing(self) -> bool:
        """Never."""
        return False

    def write(self, data: object) -> None:
        """Count it."""
        del data
        self.writes += 1

    def abort(self) -> None:
        """Do nothing."""


async def measure(tries: int) -> None:
    """Print the microseconds of a GET and of a POST."""
    from balancer.backend import State  # noqa: PLC0415 - the build that PYTHONPATH names
    from balancer.options import parse  # noqa: PLC0415
    from balancer.proxy.downstream import DownstreamConnection  # noqa: PLC0415
    from balancer.proxy.upstream import UpstreamConnection  # noqa: PLC0415
    from balancer.server import assembled  # noqa: PLC0415

    config = parse(["--listen", "127.0.0.1:0", "--reuse-post"])
    async with assembled(config) as balancer:
        plane = balancer.data_plane
        backend = plane.pool.attach("a", host="127.0.0.1", port=1, version="a", weight=1.0)
        plane.pool.mark(backend, State.UP)
        pairs = socket.socketpair(), socket.socketpair()
        client, server = Void(pairs[0][0]), Void(pairs[1][0])
        downstream = DownstreamConnection(plane)
        downstream.connection_made(client)
        upstream = UpstreamConnection(plane.connection_pool, backend)
        upstream.connection_made(server)
        plane.connection_pool.put(upstream, time.monotonic_ns())

        def stretch(request: bytes) -> float:
            begin, answer = downstream.data_received, upstream.data_received
            started = time.process_time()
            for _ in range(STRETCH):
                begin(request)
                answer(RESPONSE)
            return (time.process_time() - started) / STRETCH * 1e6

        costs = []
        for request in (GET, POST):
            before = client.writes, server.writes
            costs.append(min(stretch(request) for _ in range(tries)))
            if (client.writes - before[0], server.writes - before[1]) != (tries * STRETCH,) * 2:
                raise SystemExit("not every request was answered")
        print(f"GET {costs[0]:.2f} us, POST of 1 KiB {costs[1]:.2f} us", flush=True)


def main() -> None:
    """Measure each build in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=200, help=f"stretches of {STRETCH} exchanges")
    parser.add_argument("--this", action="store_true", help="only the build that Python finds")
    given = parser.parse_args()
    if given.this:
        # As `python -m balancer` does.
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        uvloop.run(measure(given.tries))
        return
    for name, folder in (("pure", ROOT), ("compiled", COMPILED)):
        if not folder.exists():
            print(f"left out: {name}: make compiled")
            continue
        print(f"{name:<10}", end="", flush=True)
        file = str(Path(__file__).resolve())
        command = [sys.executable, "-P", file, "--this", "--tries", str(given.tries)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(folder)})


if __name__ == "__main__":
    main()
