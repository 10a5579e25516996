"""The connection to the API of a cluster: requests, responses, and the cluster's clock."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.cluster_clock import ClockBounds, bounds_of
from orchestrator.kubernetes.errors import BAD_REQUEST, UNAUTHORIZED, ApiError
from orchestrator.kubernetes.kubeconfig import one_line

if TYPE_CHECKING:
    import httpx2

Json = dict[str, Any]

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What something behind the API server answered, or the API server in its place.

    Attributes:
        status: the HTTP status.
        headers: the fields of its head.
        content: its body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_error(self) -> bool:
        """Whether it refuses what was asked for."""
        return self.status >= BAD_REQUEST

    @property
    def words(self) -> str:
        """The message of a `Status` object of the API, or a text, as one line."""
        try:
            told = msgspec.json.decode(self.content, type=Json).get("message", "")
        except msgspec.DecodeError:
            told = self.content.decode(errors="replace")
        return " ".join(str(told).split()) or f"status {self.status}"


class Connection:
    """A connection that signs requests with the credentials of a kubeconfig.

    Attributes:
        clock: how its clock relates to this machine's; None before the first response.
        server: its address.
        context: the name of the context of the kubeconfig.
    """

    def __init__(self, client: "httpx2.AsyncClient", server: str, context: str) -> None:
        self.clock: ClockBounds | None = None
        self.server = server
        self.context = context
        self._client = client

    def nonsense(self, error: Exception) -> EnvironmentFailure:
        """The failure where something answers that is no API server, or a proxy cuts its answer."""
        return EnvironmentFailure(
            f"the cluster {self.server} does not answer as Kubernetes does: {one_line(error)}"
        )

    @asynccontextmanager
    async def stream(
        self, path: str, parameters: Mapping[str, str], patience: float | None
    ) -> AsyncIterator["httpx2.Response"]:
        """A response whose body is read while it comes.

        Args:
            path: the path.
            parameters: its query.
            patience: so many seconds may pass without a part of the body; None: any time.

        Raises:
            ApiError: it was refused.
            EnvironmentFailure: the server does not answer, or not any more.
        """
        import httpx2  # noqa: PLC0415 - only with the extra

        timeout = httpx2.Timeout(10.0, read=patience)
        try:
            async with self._client.stream(
                "GET", path, params=dict(parameters), timeout=timeout
            ) as response:
                if response.is_error:
                    await response.aread()
                    raise refused(response)
                yield response
        except httpx2.TransportError as error:
            raise unreachable(self.server, error) from error

    async def send(
        self,
        method: str,
        path: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str],
        seconds: float,
    ) -> Answer:
        """Send any request through the API server, such as to a pod by its subresource `proxy`.

        Args:
            method: the HTTP method.
            path: such as `/api/v1/namespaces/shop/pods/web-0:8080/proxy/`.
            content: its body.
            headers: further fields of its head.
            seconds: how long each part of the answer may take.

        Raises:
            EnvironmentFailure: the server does not answer.
        """
        import httpx2  # noqa: PLC0415 - only with the extra
        from lightkube.core.exceptions import ConfigError  # noqa: PLC0415 - likewise

        try:
            response = await self._client.request(
                method, path, content=content, headers=dict(headers), timeout=seconds
            )
        except httpx2.TransportError as error:
            raise unreachable(self.server, error) from error
        except (ConfigError, OSError) as error:
            raise EnvironmentFailure(f"the kubeconfig: {one_line(error)}") from error
        return Answer(response.status_code, response.headers, response.content)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: Json | None = None,
        media: str = JSON_TYPE,
    ) -> Json:
        """What the server answers, as a document.

        Args:
            method: the method.
            path: the path.
            parameters: its query.
            body: the body of the request; None: none.
            media: the type of that body.

        Raises:
            ApiError: it was refused.
            EnvironmentFailure: the server does not answer, or not as Kubernetes does.
        """
        import httpx2  # noqa: PLC0415 - only with the extra
        from lightkube.core.exceptions import ConfigError  # noqa: PLC0415 - likewise

        sent_ns = time.monotonic_ns()
        try:
            response = await self._client.request(
                method,
                path,
                params=dict(parameters or {}),
                content=None if body is None else msgspec.json.encode(body),
                headers=None if body is None else {"Content-Type": media},
            )
        except httpx2.TransportError as error:
            raise unreachable(self.server, error) from error
        except (ConfigError, OSError) as error:
            raise EnvironmentFailure(f"the kubeconfig: {one_line(error)}") from error
        self._hear_clock(response.headers.get("date"), sent_ns)
        if response.is_error:
            raise refused(response)
        try:
            return msgspec.json.decode(response.content, type=Json)
        except msgspec.DecodeError as error:
            raise self.nonsense(error) from error

    def _hear_clock(self, date: str | None, sent_ns: int) -> None:
        bounds = None if date is None else bounds_of(date, sent_ns, time.monotonic_ns())
        if bounds is not None:
            self.clock = bounds if self.clock is None else self.clock.narrowed(bounds)


def refused(response: "httpx2.Response") -> ApiError:
    """The error of a request that the server refused."""
    try:
        told = str(response.json().get("message", ""))
    except (ValueError, AttributeError):
        told = ""
    status = response.status_code
    if status == UNAUTHORIZED:
        told = "the credentials of the kubeconfig are not accepted"
    return ApiError(f"the cluster: {told or response.reason_phrase} ({status})", status)


def unreachable(server: str, error: Exception) -> EnvironmentFailure:
    """The failure where no answer came."""
    return EnvironmentFailure(f"the cluster {server} does not answer: {one_line(error)}")
