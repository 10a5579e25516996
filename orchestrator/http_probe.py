"""One GET sent directly to a replica, past the router: for gates, previews and liveness."""

import aiohttp

from balancer.addresses import host_port
from orchestrator.interfaces import ProbeResult

_LONGEST_TEXT = 200


async def probe(host: str, port: int, path: str, timeout: float) -> ProbeResult:  # noqa: ASYNC109 - a limit on the request
    """Send the GET on a connection of its own; a failure is a result too, not an error."""
    limit = aiohttp.ClientTimeout(total=timeout)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.get(f"http://{host_port(host, port)}{path}", allow_redirects=False) as response,
        ):
            body = await response.content.read(_LONGEST_TEXT)
            return ProbeResult(response.status, " ".join(body.decode(errors="replace").split()))
    except TimeoutError:
        return ProbeResult(None, f"no response within {timeout:g} s")
    except (aiohttp.ClientError, OSError) as error:
        return ProbeResult(None, str(error) or type(error).__name__)
