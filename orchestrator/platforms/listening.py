"""Whether anybody listens on a port of this machine, without connecting to it.

A connection would disturb the application, and would not tell a server that has closed its port
from one whose queue is full. The kernel's own table says it exactly: `/proc/net/tcp`, whose rows
have the local address and the state, in hexadecimal (proc_net_tcp in the kernel's documentation).
"""

import asyncio
import time
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN = "0A"
_POLL_SECONDS = 0.01


def is_listening(port: int) -> bool | None:
    """Return whether a socket listens on the port; None where the kernel does not tell."""
    known = False
    for table in _TABLES:
        try:
            with table.open() as rows:
                next(rows, None)  # the titles of the columns
                for row in rows:
                    _, local, _, state, *_ = row.split(maxsplit=4)
                    if state != _LISTEN:
                        break  # listening sockets come first
                    if int(local.rpartition(":")[2], 16) == port:
                        return True
        except OSError:
            continue
        known = True
    return False if known else None


async def wait_closed(port: int) -> int | None:
    """Wait until nobody listens on the port.

    Returns when that was seen, on the machine's monotonic clock in nanoseconds; None where the
    kernel does not tell.
    """
    while (listens := is_listening(port)) is True:  # noqa: ASYNC110 - the kernel tells nobody
        await asyncio.sleep(_POLL_SECONDS)
    return None if listens is None else time.monotonic_ns()
