"""Free TCP ports for the servers of a run.

Ports are taken below the kernel's ephemeral range: inside of it, the kernel can give the port to an
outgoing connection between our check and the server's bind. On Linux each port is also claimed by
an abstract unix socket with the port's number in its name, so that two runs on one machine never
choose the same port. The kernel drops the claim when the process ends, also after `kill -9`.
"""

import contextlib
import errno
import secrets
import socket
import sys
from pathlib import Path
from typing import Self

from orchestrator.errors import EnvironmentFailure

_LOWEST = 10_000
_EPHEMERAL_DEFAULT = 32_768  # Linux; BSD and macOS begin at 49152
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class PortAllocator:
    """Hands out free ports of one host, each only once; a context manager that frees its claims."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self._claims: list[socket.socket] = []
        self._end = max(_first_ephemeral(), _LOWEST + 1000)
        # A random start keeps runs apart that do not share claims, such as those of two containers.
        self._next = _LOWEST + secrets.randbelow(self._end - _LOWEST)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._claims:
            self._claims.pop().close()

    def take(self) -> int:
        """Return a port that nobody listens on and that was not handed out before.

        Raises:
            EnvironmentFailure: no port is free.
        """
        for _ in range(self._end - _LOWEST):
            port = self._next
            self._next = port + 1 if port + 1 < self._end else _LOWEST
            if self._claim(port):
                return port
        raise EnvironmentFailure(
            f"no free TCP port on {self._host} from {_LOWEST} to {self._end - 1}"
        )

    def _claim(self, port: int) -> bool:
        # Without SO_REUSEADDR, so that a port with connections in TIME_WAIT does not count as free.
        with socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET) as probe:
            try:
                probe.bind((self._host, port))
            except OSError as error:
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    return False
                raise EnvironmentFailure(
                    f"no port can be bound on {self._host}: {error.strerror}"
                ) from error
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if sys.platform == "linux":
            try:
                claim.bind(f"\0hitless-port-{self._host}-{port}")
            except OSError:
                claim.close()
                return False
        self._claims.append(claim)
        return True


def _first_ephemeral() -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(_RANGE.read_text().split()[0])
    return _EPHEMERAL_DEFAULT
