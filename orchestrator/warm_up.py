"""Warm-up: a new replica must answer some requests before it is registered with the router.

The first requests of a process are slow (imports, connection pools, templates), and some
applications report that they are healthy while every real request fails. Users should see neither.
"""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus

import aiohttp

from orchestrator.model import Replica

_RETRY_SECONDS = 0.1
_ANSWER_SECONDS = 10.0


async def warm_up(replica: Replica, paths: Sequence[str], tell: Callable[[str], None]) -> None:
    """Request each path, in order, until it gets a 2xx or 3xx; without a limit of time.

    Args:
        replica: the replica; the requests go to it directly.
        paths: the paths.
        tell: called with what the warm-up waits for and with the last response.
    """
    if not paths:
        return
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        for path in paths:
            said = "no response yet"
            while said:
                tell(f"its warm-up: GET {path}: {said}")
                said = await _ask(session, f"http://{replica.address}{path}")
                if said:
                    tell(f"its warm-up: GET {path}: {said}")
                    await asyncio.sleep(_RETRY_SECONDS)


async def _ask(session: aiohttp.ClientSession, url: str) -> str:
    """Return why the response is not good; an empty text if it is."""
    try:
        async with session.get(url, allow_redirects=False) as response:
            await response.read()
            status = response.status
    except TimeoutError:
        return f"no response within {_ANSWER_SECONDS:g} s"
    except (aiohttp.ClientError, OSError) as error:
        return str(error) or type(error).__name__
    return "" if status < HTTPStatus.BAD_REQUEST else f"it answered {status}"
