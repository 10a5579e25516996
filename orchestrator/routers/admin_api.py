"""The admin API of another router, which speaks HTTP."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from orchestrator.errors import RouterError

_SECONDS = 10.0
_ERROR = 400  # RFC 9110, section 15: statuses from here on are errors


class AdminApi:
    """Asks a router, and says in the router's name what went wrong."""

    def __init__(
        self, name: str, address: Callable[[], str], session: aiohttp.ClientSession
    ) -> None:
        """Describe the API.

        Args:
            name: what messages call the router.
            address: tells where the API is, as `host:port`; an OSError means nowhere yet.
            session: how to get there.
        """
        self._name = name
        self._address = address
        self._session = session

    async def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Send one request, and return the body of the response.

        Raises:
            RouterError: the router does not answer, or answers with an error.
        """
        try:
            url = f"http://{self._address()}{path}"
            async with self._session.request(method, url, data=body, headers=headers) as response:
                said = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = str(error) or "no answer in time"
            raise RouterError(f"{self._name} does not answer: {why}") from error
        if response.status >= _ERROR:
            raise RouterError(
                f"{self._name}: {method} {path}: {_words(said) or response.reason or ''}"
            )
        return said


@asynccontextmanager
async def admin_api(
    name: str, address: Callable[[], str], *, socket: Path | None = None
) -> AsyncIterator[AdminApi]:
    """An admin API while the block runs.

    Args:
        name: what messages call the router.
        address: tells where the API is, as `host:port`; an OSError means nowhere yet.
        socket: the Unix socket to connect to instead.
    """
    connector = None if socket is None else aiohttp.UnixConnector(path=str(socket))
    limit = aiohttp.ClientTimeout(total=_SECONDS)
    async with aiohttp.ClientSession(timeout=limit, connector=connector) as session:
        yield AdminApi(name, address, session)


def _words(said: bytes) -> str:
    """The words of an error: its text, or the `error` of a JSON object."""
    try:
        return str(msgspec.json.decode(said, type=dict[str, object])["error"])
    except (msgspec.DecodeError, KeyError):
        return " ".join(said.decode(errors="replace").split())
