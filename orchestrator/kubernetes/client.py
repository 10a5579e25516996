"""The Kubernetes API, as far as a run needs it: list, watch, logs, and what one may do.

The library lightkube (the extra `hitless[kubernetes]`) reads kubeconfigs and signs requests; it is
imported when it is used. Lists and watches are ours: a list gives a version, a watch begins there,
and both begin again when the server has forgotten that version (410 Gone) or ends a connection:
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.errors import EnvironmentFailure, OrchestratorError
from orchestrator.kubernetes.cluster_clock import ClockBounds, bounds_of

if TYPE_CHECKING:
    import httpx2
    from lightkube.config.kubeconfig import KubeConfig, SingleConfig

Json = dict[str, Any]

_EXTRA = (
    "--cluster needs the library lightkube, which is not installed: pip install "
    "'hitless[kubernetes]'"
)
_WATCH_SECONDS = 60
"""After so long the server ends a watch, which then goes on; so a dead connection is noticed."""
_AGAIN_SECONDS = 0.5
_FORBIDDEN = 403
_UNAUTHORIZED = 401
_NOT_FOUND = 404
_TOO_MANY = 429
_SERVER_ERROR = 500
_UNREADABLE = (OSError, AttributeError, KeyError, TypeError, ValueError, msgspec.MsgspecError)
"""What a file that is no kubeconfig leads to."""

_PERIODS = 13
_PERIOD_SECONDS = 0.1
_V1 = "client.authentication.k8s.io/v1"
_V1BETA1 = "client.authentication.k8s.io/v1beta1"


class ClusterNameError(OrchestratorError):
    """Something that was named does not exist: a kubeconfig, a context, an object."""


class ApiError(OrchestratorError):
    """The API server refused a request.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def passes(self) -> bool:
        """Whether the server may do it a moment later: it is busy, or has just restarted."""
        return self.status == _TOO_MANY or self.status >= _SERVER_ERROR


@dataclass(frozen=True, slots=True)
class Observed:
    """One object, as a list or a watch gave it.

    Attributes:
        at_ns: when it was received, on the monotonic clock.
        change: `listed`, `added`, `modified` or `deleted`; `complete`, with an empty object: the
            list has been read to its end, and what it did not have is gone.
        object: the object.
    """

    at_ns: int
    change: str
    object: Json


class _Event(msgspec.Struct):
    """A line of a watch."""

    type: str
    object: Json


class Cluster:
    """The API of one cluster; `connected` makes it.

    Attributes:
        clock: how its clock relates to this machine's; None before the first response.
        server: its address.
    """

    def __init__(self, client: "httpx2.AsyncClient", server: str) -> None:
        self.clock: ClockBounds | None = None
        self.server = server
        self._client = client

    async def get(self, path: str, **parameters: str) -> Json:
        """Get one object or list.

        Raises:
            ApiError: it was refused.
            EnvironmentFailure: the server does not answer.
        """
        return await self._ask("GET", path, parameters=parameters)

    async def may(
        self, namespace: str, verb: str, resource: str, group: str = "", subresource: str = ""
    ) -> bool:
        """Whether one may do something in a namespace (a SelfSubjectAccessReview).

        Raises:
            ApiError: the question was refused.
            EnvironmentFailure: the server does not answer.
        """
        about = {"namespace": namespace, "verb": verb, "resource": resource, "group": group}
        if subresource:
            about["subresource"] = subresource
        answer = await self._ask(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            body={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": about},
            },
        )
        return answer.get("status", {}).get("allowed") is True

    async def versions_of(self, group: str) -> tuple[str, ...]:
        """The versions of an API group; empty if the server does not have it.

        Raises:
            ApiError: the question was refused.
            EnvironmentFailure: the server does not answer.
        """
        try:
            found = await self.get(f"/apis/{group}")
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return ()
            raise
        return tuple(str(one["version"]) for one in found.get("versions", ()))

    async def measure_clock(self) -> ClockBounds | None:
        """Ask for the time often enough to see a second turn; takes a little more than a second.

        Raises:
            ApiError: the question was refused.
            EnvironmentFailure: the server does not answer.
        """
        for _ in range(_PERIODS):
            await self.get("/version")
            await asyncio.sleep(_PERIOD_SECONDS)
        return self.clock

    async def follow(self, path: str, gap: Callable[[str], None]) -> AsyncIterator[Observed]:
        """Each object of a kind, and then each change, until the caller stops.

        Args:
            path: the path of the list, such as `/api/v1/namespaces/shop/pods`.
            gap: told why changes may be missing: the list had to be read again.

        Raises:
            ApiError: it was refused.
            EnvironmentFailure: the server did not answer to begin with.
        """
        listed, version = await self._list(path)
        while True:
            now_ns = time.monotonic_ns()
            for one in listed.get("items", ()):
                yield Observed(now_ns, "listed", one)
            yield Observed(now_ns, "complete", {})
            async for observed in self._since(path, version, gap):
                yield observed
            listed, version = await self._list_again(path, gap)

    async def _since(
        self, path: str, version: str, gap: Callable[[str], None]
    ) -> AsyncIterator[Observed]:
        """Each change since a version, until the server has forgotten that version."""
        while True:
            told_nothing = True
            try:
                async for kind, one, at_ns in self._watch(path, version):
                    if kind == "ERROR":
                        gap(str(one.get("message", "the watch was ended")))
                        return
                    told_nothing = False
                    version = self._version_of(one)
                    if kind != "BOOKMARK":
                        yield Observed(at_ns, kind.lower(), one)
                if told_nothing:  # a proxy may end each watch at once
                    await asyncio.sleep(_AGAIN_SECONDS)
            except ApiError as error:
                if error.status in (_UNAUTHORIZED, _FORBIDDEN):
                    raise
                gap(str(error))
                return
            except EnvironmentFailure as error:
                gap(str(error))
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _list(self, path: str) -> tuple[Json, str]:
        """A list, and its version."""
        listed = await self.get(path)
        return listed, self._version_of(listed)

    async def _list_again(self, path: str, gap: Callable[[str], None]) -> tuple[Json, str]:
        while True:
            await asyncio.sleep(_AGAIN_SECONDS)
            try:
                return await self._list(path)
            except ApiError as error:
                if not error.passes:
                    raise
                gap(str(error))
            except EnvironmentFailure as error:
                gap(str(error))

    async def log(
        self, namespace: str, pod: str, container: str, *, from_now: bool = False
    ) -> AsyncIterator[bytes]:
        """What a container writes, as it writes it, until it ends or the connection does.

        Args:
            namespace: the namespace.
            pod: the name of the pod.
            container: the name of the container.
            from_now: whether what it wrote before is left out.

        Raises:
            ApiError: it was refused, such as for a container that has not started.
            EnvironmentFailure: the server does not answer.
        """
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        parameters = {"container": container, "follow": "true"}
        if from_now:
            parameters["tailLines"] = "0"
        async with self._stream(path, parameters, None) as response:
            async for chunk in response.aiter_raw():
                yield chunk

    async def _watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Json, int]]:
        parameters = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        async with self._stream(path, parameters, 1.5 * _WATCH_SECONDS) as response:
            async for line in response.aiter_lines():
                if line:
                    try:
                        event = msgspec.json.decode(line, type=_Event)
                    except msgspec.DecodeError as error:
                        raise self._nonsense(error) from error
                    yield event.type, event.object, time.monotonic_ns()

    def _version_of(self, found: Json) -> str:
        """The version of an object or of a list."""
        try:
            return str(found["metadata"]["resourceVersion"])
        except (KeyError, TypeError) as error:
            raise self._nonsense(error) from error

    def _nonsense(self, error: Exception) -> EnvironmentFailure:
        """The failure where something answers that is no API server, or a proxy cuts its answer."""
        return EnvironmentFailure(
            f"the cluster {self.server} does not answer as Kubernetes does: {_one_line(error)}"
        )

    @asynccontextmanager
    async def _stream(
        self, path: str, parameters: Mapping[str, str], patience: float | None
    ) -> AsyncIterator["httpx2.Response"]:
        import httpx2  # noqa: PLC0415 - only with the extra

        timeout = httpx2.Timeout(10.0, read=patience)
        try:
            async with self._client.stream(
                "GET", path, params=dict(parameters), timeout=timeout
            ) as response:
                if response.is_error:
                    await response.aread()
                    raise _refused(response)
                yield response
        except httpx2.TransportError as error:
            raise _unreachable(self.server, error) from error

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: Json | None = None,
    ) -> Json:
        import httpx2  # noqa: PLC0415 - only with the extra
        from lightkube.core.exceptions import ConfigError  # noqa: PLC0415 - likewise

        sent_ns = time.monotonic_ns()
        try:
            response = await self._client.request(
                method, path, params=dict(parameters or {}), json=body
            )
        except httpx2.TransportError as error:
            raise _unreachable(self.server, error) from error
        except (ConfigError, OSError) as error:
            raise EnvironmentFailure(f"the kubeconfig: {_one_line(error)}") from error
        self._hear_clock(response.headers.get("date"), sent_ns)
        if response.is_error:
            raise _refused(response)
        try:
            return msgspec.json.decode(response.content, type=Json)
        except msgspec.DecodeError as error:
            raise self._nonsense(error) from error

    def _hear_clock(self, date: str | None, sent_ns: int) -> None:
        bounds = None if date is None else bounds_of(date, sent_ns, time.monotonic_ns())
        if bounds is not None:
            self.clock = bounds if self.clock is None else self.clock.narrowed(bounds)


@asynccontextmanager
async def connected(context: str | None) -> AsyncIterator[Cluster]:
    """The API of the cluster that a context of the kubeconfig names.

    Args:
        context: the context; None: the current one.

    Raises:
        EnvironmentFailure: the library is not installed, or the kubeconfig cannot be used.
        ClusterNameError: there is no kubeconfig, or not this context.
    """
    try:
        import httpx2  # noqa: PLC0415 - only with the extra
        from lightkube.config.client_adapter import (  # noqa: PLC0415 - likewise
            AsyncClient,
            ConnectionParams,
        )
        from lightkube.core.exceptions import ConfigError  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise EnvironmentFailure(_EXTRA) from error
    config = _config(context)
    try:
        client = AsyncClient(config, ConnectionParams(timeout=httpx2.Timeout(10.0)))
    except (ConfigError, OSError, ValueError) as error:
        raise EnvironmentFailure(f"the kubeconfig: {_one_line(error)}") from error
    async with client:
        yield Cluster(client, config.cluster.server)


def _config(context: str | None) -> "SingleConfig":
    import yaml  # noqa: PLC0415 - a part of the extra
    from lightkube.config.kubeconfig import KubeConfig  # noqa: PLC0415 - likewise
    from lightkube.config.models import User  # noqa: PLC0415 - likewise
    from lightkube.core.exceptions import ConfigError  # noqa: PLC0415 - likewise

    try:
        every = _first_with(context, KubeConfig)
    except ConfigError as error:
        raise ClusterNameError(
            f"there is no kubeconfig ({_one_line(error)}); KUBECONFIG names its file"
        ) from error
    except (*_UNREADABLE, yaml.YAMLError) as error:
        raise ClusterNameError(f"the kubeconfig cannot be read: {_one_line(error)}") from error
    known = ", ".join(sorted(every.contexts))
    if context is not None and context not in every.contexts:
        raise ClusterNameError(f"the kubeconfig has no context {context!r}; it has: {known}")
    try:
        config = every.get(context)
    except ConfigError as error:
        raise ClusterNameError(f"the kubeconfig: {_one_line(error)}") from error
    if config is None:
        raise ClusterNameError(f"the kubeconfig has no current context; it has: {known}")
    if config.user is None:
        return config._replace(user=User())  # as a proxy of kubectl wants none
    if config.user.exec is not None and config.user.exec.apiVersion == _V1:
        _speak_v1beta1(config.user.exec)
    return config


def _first_with(context: str | None, kind: "type[KubeConfig]") -> "KubeConfig":
    """The kubeconfig; where KUBECONFIG names several files, the first one with the context."""
    files = [one for one in os.environ.get("KUBECONFIG", "").split(os.pathsep) if one]
    if len(files) <= 1:
        return kind.from_env()
    every = [kind.from_file(one) for one in files if Path(one).is_file()]
    fitting = (
        one
        for one in every
        if (one.current_context if context is None else context in one.contexts)
    )
    return next(fitting, every[0] if every else kind.from_file(files[0]))


def _speak_v1beta1(plugin: Any) -> None:  # noqa: ANN401 - a class of the library, lazily imported
    """Let the library ask a credential plugin of version v1, which it does not know.

    A token is told in the same way in both versions; what the plugin is asked for comes in its
    environment: https://kubernetes.io/docs/reference/access-authn-authz/authentication/
    """
    from lightkube.config.models import NameValue  # noqa: PLC0415 - only with the extra

    asked = {"apiVersion": _V1, "kind": "ExecCredential", "spec": {"interactive": False}}
    told = NameValue(name="KUBERNETES_EXEC_INFO", value=json.dumps(asked))
    plugin.env = [*(plugin.env or []), told]
    plugin.apiVersion = _V1BETA1


async def lacking(
    cluster: Cluster, namespace: str, wanted: Sequence[tuple[str, str, str, str]]
) -> list[str]:
    """Which rights are missing, each such as `watch pods`.

    Args:
        cluster: the cluster.
        namespace: where they are needed.
        wanted: verb, resource, group and subresource of each.

    Raises:
        ApiError: the question was refused.
        EnvironmentFailure: the server does not answer.
    """
    found = []
    for verb, resource, group, subresource in wanted:
        if not await cluster.may(namespace, verb, resource, group, subresource):
            found.append(f"{verb} {resource}{f'/{subresource}' if subresource else ''}")
    return found


def _refused(response: "httpx2.Response") -> ApiError:
    try:
        told = str(response.json().get("message", ""))
    except (ValueError, AttributeError):
        told = ""
    status = response.status_code
    if status == _UNAUTHORIZED:
        told = "the credentials of the kubeconfig are not accepted"
    return ApiError(f"the cluster: {told or response.reason_phrase} ({status})", status)


def _unreachable(server: str, error: Exception) -> EnvironmentFailure:
    return EnvironmentFailure(f"the cluster {server} does not answer: {_one_line(error)}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
