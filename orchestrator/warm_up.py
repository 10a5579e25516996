"""Warm-up: a new replica answers some requests before the router hears of it.

The first requests of a process are the slow ones (imports, connection pools, templates), and some
applications say that they are healthy while every real request fails. Neither should reach users.
"""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus

import aiohttp

from orchestrator.model import Replica

_RETRY_SECONDS = 0.1
_ANSWER_SECONDS = 10.0


async def warm_up(replica: Replica, paths: Sequence[str], tell: Callable[[str], None]) -> None:
    """Request each path, in order, until it gets a 2xx or 3xx; for ever, if it never does.

    Args:
        replica: whom to ask, directly.
        paths: what to ask for.
        tell: is told what is waited for, and what the last answer was.
    """
    if not paths:
        return
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        for path in paths:
            said = "it is being asked"
            while said:
                tell(f"its warm-up: GET {path}: {said}")
                said = await _ask(session, f"http://{replica.address}{path}")
                if said:
                    tell(f"its warm-up: GET {path}: {said}")
                    await asyncio.sleep(_RETRY_SECONDS)


async def _ask(session: aiohttp.ClientSession, url: str) -> str:
    """Why the answer will not do; empty if it does."""
    try:
        async with session.get(url, allow_redirects=False) as response:
            await response.read()
            status = response.status
    except TimeoutError:
        return f"no answer in {_ANSWER_SECONDS:g} s"
    except (aiohttp.ClientError, OSError) as error:
        return str(error) or type(error).__name__
    return "" if status < HTTPStatus.BAD_REQUEST else f"it answered {status}"
