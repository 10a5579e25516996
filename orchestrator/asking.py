"""One GET to a replica, past the router: what gates, previews and the supervisor ask."""

import aiohttp

from orchestrator.platform import Answer

_LONGEST_TEXT = 200


async def ask(host: str, port: int, path: str, timeout: float) -> Answer:  # noqa: ASYNC109 - the request's
    """Send it on a connection of its own; whatever goes wrong is an answer too."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    limit = aiohttp.ClientTimeout(total=timeout)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.get(f"http://{address}{path}", allow_redirects=False) as response,
        ):
            body = await response.content.read(_LONGEST_TEXT)
            return Answer(response.status, " ".join(body.decode(errors="replace").split()))
    except TimeoutError:
        return Answer(None, f"within {timeout:g} s")
    except (aiohttp.ClientError, OSError) as error:
        return Answer(None, str(error) or type(error).__name__)
