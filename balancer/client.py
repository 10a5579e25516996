"""The admin API's client, for orchestrators and dashboards."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Collection, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from balancer.addresses import parse_address
from balancer.drain_result import DrainResult
from balancer.errors import BalancerError

_CONNECT_SECONDS = 5.0
# On top of a drain's own deadline: the answer only has to travel.
_MARGIN_SECONDS = 15.0
_HANDING_OVER = 503
_RETRY_DELAYS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


class AdminError(BalancerError):
    """The balancer refused, or could not be reached.

    Attributes:
        status: of its answer; None when there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _HandingOverError(AdminError):
    """A successor is taking over."""


class BackendView(msgspec.Struct, frozen=True, kw_only=True):
    """One backend, as the balancer reports it.

    Attributes:
        id: its name.
        address: where it is.
        version: what it runs.
        weight: its share of new requests.
        state: `new`, `up`, `down` or `draining`.
        routable: whether it may take new requests.
        ejected: whether passive health took it out for a while.
        in_flight: exchanges under way with it.
        tunnels: upgraded connections.
        last_check: how its last health check ended.
    """

    id: str
    address: str
    version: str
    weight: float
    state: str
    routable: bool
    ejected: bool
    in_flight: int
    tunnels: int
    last_check: str = ""


class AdminClient:
    """An async context manager: `async with AdminClient("unix:/path") as admin: ...`.

    Args:
        address: `unix:/path` or `host:port`.
        token: the bearer token, if the balancer asks for one.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        self._address = parse_address(address, unix=True)
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        path = self._address.path
        connector: aiohttp.BaseConnector = (
            aiohttp.TCPConnector(limit=0)
            if path is None
            else aiohttp.UnixConnector(path=str(path), limit=0)
        )
        self._session = aiohttp.ClientSession(
            base_url="http://localhost/" if path is not None else f"http://{self._address}/",
            connector=connector,
            headers=self._headers,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def backends(self) -> tuple[BackendView, ...]:
        """All backends that the balancer knows."""
        answer = await self._call("GET", "backends")
        return msgspec.convert(answer["backends"], tuple[BackendView, ...])

    async def put_backend(
        self, backend_id: str, *, address: str, version: str, weight: float
    ) -> BackendView:
        """Attach a backend, or change the weight or version of one."""
        answer = await self._call(
            "PUT",
            f"backends/{backend_id}",
            json={"address": address, "version": version, "weight": weight},
        )
        return msgspec.convert(answer, BackendView)

    async def drain(
        self,
        backend_id: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the balancer watches it, and cuts what is left
        tunnel_timeout: float | None = None,
        close_idle: bool = True,
    ) -> DrainResult:
        """Take a backend out, and wait until nothing is under way with it.

        Args:
            backend_id: which.
            timeout: seconds after which exchanges are cut.
            tunnel_timeout: the same for upgraded connections; `timeout` if not given.
            close_idle: False: only open no further connection to it, and send requests on its idle
                ones until the last one has closed, or until `timeout`.
        """
        query = {"timeout": repr(timeout)}
        if not close_idle:
            query["close_idle"] = "false"
        if tunnel_timeout is not None:
            query["tunnel_timeout"] = repr(tunnel_timeout)
        answer = await self._call(
            "POST",
            f"backends/{backend_id}/drain",
            params=query,
            timeout=max(timeout, tunnel_timeout or 0.0) + _MARGIN_SECONDS,
        )
        return DrainResult(answer["cut"], answer["cut_tunnels"], answer["seconds"])

    async def delete(self, backend_id: str) -> int:
        """Forget a backend; returns how many exchanges that cut, 0 after a drain."""
        return int((await self._call("DELETE", f"backends/{backend_id}"))["cut"])

    async def set_active(self, ids: Collection[str]) -> None:
        """Give weight 1 to these backends and 0 to all others, in one step."""
        await self._call("PUT", "active", json={"ids": list(ids)})

    async def set_weights(self, weights: Mapping[str, float]) -> None:
        """Give several backends their weights, in one step."""
        await self._call("PUT", "weights", json={"weights": dict(weights)})

    async def statistics(self) -> dict[str, Any]:
        """Cumulative counters: `versions`, `backends`, `balancer`."""
        return await self._call("GET", "statistics")

    async def events(self, after: int | None = None) -> AsyncGenerator[dict[str, Any], None]:
        """Yield a `snapshot` of the backends and then every event, until the balancer stops.

        When a successor takes over, its events follow, after a further `snapshot`.

        Args:
            after: a sequence number to go on from; none begins with what happens next.
        """
        delays = iter(_RETRY_DELAYS)
        handed_over = True
        while handed_over:
            handed_over = False
            stream = self._stream(after)
            try:
                async for event in stream:
                    if event["event"] == "handed_over":
                        # The successor goes on counting from here.
                        handed_over, after = True, event["sequence"] - 1
                        break
                    yield event
            except _HandingOverError:
                # The predecessor still answered; its successor is there in a moment.
                delay = next(delays, None)
                if delay is None:
                    raise
                await asyncio.sleep(delay)
                handed_over = True
            finally:
                await stream.aclose()

    async def _stream(self, after: int | None) -> AsyncGenerator[dict[str, Any], None]:
        query = {} if after is None else {"after": str(after)}
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        try:
            async with self._request("GET", "events", params=query, timeout=None) as response:
                await self._check(response)
                # Lines are of any length: a snapshot holds all backends.
                buffer = b""
                async for data in response.content.iter_any():
                    *lines, buffer = (buffer + data).split(b"\n")
                    for line in lines:
                        yield decode(line)
        except aiohttp.ClientError as error:
            raise self._unreachable(error) from error

    async def wait_up(self, ids: Collection[str]) -> None:
        """Wait until all of these backends are up at once.

        Raises:
            AdminError: one of them is unknown, drains or is removed, or the balancer is gone.
        """
        wanted = set(ids)
        states: dict[str, str] = {}
        stream = self.events()
        try:
            async for event in stream:
                if event["event"] == "snapshot":
                    states = {one["id"]: one["state"] for one in event["backends"]}
                elif event["event"] == "backend":
                    states[event["id"]] = event["state"]
                elif event["event"] == "lost":
                    states = {one.id: one.state for one in await self.backends()}
                found = {one: states.get(one, "unknown") for one in wanted}
                for one, state in found.items():
                    if state in ("unknown", "draining", "removed"):
                        raise AdminError(f"backend {one} cannot come up: it is {state}")
                if set(found.values()) <= {"up"}:
                    return
        finally:
            await stream.aclose()
        raise AdminError(f"the balancer at {self._address} ended its events")

    async def _call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        timeout: float = 30.0,  # noqa: ASYNC109 - handed to aiohttp, which watches it
    ) -> dict[str, Any]:
        try:
            for delay in _RETRY_DELAYS:
                # Every verb is idempotent, so asking again is safe; a balancer that is handing
                # over answers 503, and its successor is there in a moment.
                with contextlib.suppress(_HandingOverError, aiohttp.ServerDisconnectedError):
                    return await self._ask(method, path, json=json, params=params, timeout=timeout)
                await asyncio.sleep(delay)
            return await self._ask(method, path, json=json, params=params, timeout=timeout)
        except TimeoutError as error:
            raise AdminError(
                f"the balancer at {self._address} did not answer {method} /{path} "
                f"within {timeout:g} s"
            ) from error
        except aiohttp.ClientError as error:
            raise self._unreachable(error) from error

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        json: object,
        params: Mapping[str, str] | None,
        timeout: float,  # noqa: ASYNC109 - handed to aiohttp, which watches it
    ) -> dict[str, Any]:
        async with self._request(
            method, path, json=json, params=params, timeout=timeout
        ) as response:
            await self._check(response)
            answer: dict[str, Any] = await response.json()
            return answer

    def _request(
        self,
        method: str,
        path: str,
        *,
        timeout: float | None,
        json: object = None,
        params: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 - aiohttp's own context manager type is private
        if self._session is None:
            raise AdminError("AdminClient is used outside of its async with block")
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_SECONDS)
        return self._session.request(method, path, json=json, params=params, timeout=limits)

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status >= 400:  # noqa: PLR2004 - errors, RFC 9110 section 15.5
            text = await response.text()
            try:
                detail = msgspec.json.decode(text)["detail"]
            except (msgspec.DecodeError, KeyError, TypeError):
                detail = text.strip()
            kind = _HandingOverError if response.status == _HANDING_OVER else AdminError
            raise kind(f"the balancer refused: {detail}", response.status)

    def _unreachable(self, error: Exception) -> AdminError:
        return AdminError(f"the balancer at {self._address} cannot be reached: {error}")


async def wait_listening(reader: asyncio.StreamReader) -> dict[str, str]:
    """Read the line that `python -m balancer` prints when it listens.

    Raises:
        AdminError: it ended before that; its own words are on its standard error.
    """
    line = await reader.readline()
    try:
        announcement = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        raise AdminError("the balancer ended before it listened; see its standard error") from None
    return {key: str(value) for key, value in announcement.items()}
