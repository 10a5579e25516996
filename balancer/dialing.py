"""Looking up the addresses of a backend. Whatever goes wrong is an OSError."""

import asyncio
import ipaddress
import socket
from functools import lru_cache


@lru_cache(maxsize=4096)
def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def addresses(host: str, port: int) -> list[tuple[str, int]]:
    """The IP addresses and ports to try, in the order of the resolver.

    Raises:
        OSError: the look-up failed.
    """
    if _is_ip_address(host):
        return [(host, port)]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        # The codec of host names raises this for names that it cannot write.
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    return [(str(place[0]), int(place[1])) for *_, place in found]
