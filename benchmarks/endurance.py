"""What idle connections, large bodies and hostile clients do to a proxy."""

import contextlib
import socket
import time
from contextlib import ExitStack

from benchmarks.http_load import MEGABYTE, Proxy
from benchmarks.machine import memory

GIGABYTE = 1 << 30

_START = b"POST / HTTP/1.1\r\nHost: b\r\n"
ATTACKS = {
    "head of 100 KB": _START + b"A: b\r\n" * 17_000 + b"\r\n",
    "10,000 options in Connection": _START + b"Connection: " + b"a," * 10_000 + b"\r\n\r\n",
    "40,000 chunks of a byte": _START + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"1\r\nx\r\n" * 40_000,
    "4,000 requests at once": b"TRACE / HTTP/1.1\r\nHost: b\r\nMax-Forwards: 0\r\n\r\n" * 4000,
}  # fmt: skip


def idle_memory(proxy: Proxy, count: int) -> dict[str, int]:
    """Resident bytes before and with so many idle connections, each of which was answered once."""
    before = memory(proxy.pid)
    with ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), 10))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
            sock.recv(1000)
        return {"before": before, f"with {count:,} idle connections": memory(proxy.pid)}


def flat_memory(proxy: Proxy, size: int = GIGABYTE) -> dict[str, int]:
    """The highest resident bytes while bodies of `size` pass, down and then up.

    Raises:
        SystemExit: the upload was not answered with 200.
    """
    with socket.create_connection(("127.0.0.1", proxy.port)) as sock:
        sock.sendall(f"GET /{size} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".encode())
        taken = bytearray(MEGABYTE)
        while sock.recv_into(taken):
            pass
    down = memory(proxy.pid, "VmHWM")
    with socket.create_connection(("127.0.0.1", proxy.port)) as sock:
        sock.sendall(
            f"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: {size}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        part = bytes(MEGABYTE)
        for _ in range(size // MEGABYTE):
            sock.sendall(part)
        if not sock.recv(100).startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{proxy.name}: the upload failed")
    return {"peak after 1 GiB down": down, "after 1 GiB up": memory(proxy.pid, "VmHWM")}


def longest_wait(proxy: Proxy, attack: bytes, tries: int = 5) -> float:
    """Milliseconds that another client waits while `attack` is read; the least of some tries."""
    waits = []
    for _ in range(tries):
        place = ("127.0.0.1", proxy.port)
        with socket.create_connection(place) as bad, socket.create_connection(place) as good:
            bad.settimeout(1)
            good.sendall(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
            good.recv(1000)
            with contextlib.suppress(OSError):
                bad.sendall(attack)
            before = time.monotonic()
            good.sendall(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
            good.recv(1000)
            waits.append(time.monotonic() - before)
    return min(waits) * 1e3
