"""The Kubernetes API, as far as a run needs it: list, watch, change, logs, what one may do.

The library lightkube (the extra `hitless[kubernetes]`) reads kubeconfigs and signs requests; it is
imported when it is used. Lists and watches are ours: a list gives a version, a watch begins there,
and both begin again when the server has forgotten that version (410 Gone) or ends a connection:
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.cluster_clock import ClockBounds
from orchestrator.kubernetes.connection import Connection, refused, unreachable
from orchestrator.kubernetes.errors import FORBIDDEN, NOT_FOUND, UNAUTHORIZED, ApiError
from orchestrator.kubernetes.kubeconfig import config_of, one_line

if TYPE_CHECKING:
    import httpx2

Json = dict[str, Any]

_EXTRA = (
    "a cluster needs the library lightkube, which is not installed: pip install "
    "'hitless[kubernetes]'"
)
_WATCH_SECONDS = 60
"""After so long the server ends a watch, which then goes on; so a dead connection is noticed."""
_AGAIN_SECONDS = 0.5

FIELD_MANAGER = "hitless"
"""Who owns the fields that `Cluster.apply` sets:
https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""
_PERIODS = 13
_PERIOD_SECONDS = 0.1
_MERGE_PATCH = "application/merge-patch+json"
_APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML


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


class Cluster(Connection):
    """The API of one cluster; `connected` makes it."""

    async def get(self, path: str, **parameters: str) -> Json:
        """Get one object or list.

        Raises:
            ApiError: it was refused.
            EnvironmentFailure: the server does not answer.
        """
        return await self.ask("GET", path, parameters=parameters)

    async def create(self, path: str, body: Json) -> Json:
        """Create an object; returns it as it then is.

        Args:
            path: the path of the list, such as `/api/v1/namespaces`.
            body: the object.

        Raises:
            ApiError: it was refused; with status 409, an object of this name exists.
            EnvironmentFailure: the server does not answer.
        """
        return await self.ask("POST", path, body=body)

    async def apply(self, path: str, body: Json, *, dry: bool = False) -> Json:
        """Create an object, or let its fields be as they are here (server-side apply).

        Fields that an earlier call set, and that are missing here, are removed. Fields that
        somebody else set, such as the `replicas` of an autoscaler, are taken over.

        Args:
            path: the path of the object.
            body: the object, with `apiVersion`, `kind` and its name.
            dry: only let the server check it; nothing is stored.

        Raises:
            ApiError: it was refused.
            EnvironmentFailure: the server does not answer.
        """
        how = {"fieldManager": FIELD_MANAGER, "force": "true"}
        if dry:
            how["dryRun"] = "All"
        return await self.ask("PATCH", path, parameters=how, body=body, media=_APPLY_PATCH)

    async def patch(self, path: str, changes: Json) -> Json:
        """Change an object by a JSON merge patch (RFC 7386); returns it as it then is.

        Args:
            path: the path of the object.
            changes: the fields that change; None removes a field.

        Raises:
            ApiError: it was refused.
            EnvironmentFailure: the server does not answer.
        """
        how = {"fieldManager": FIELD_MANAGER}
        return await self.ask("PATCH", path, parameters=how, body=changes, media=_MERGE_PATCH)

    async def delete(
        self, path: str, *, uid: str | None = None, grace_seconds: int | None = None
    ) -> None:
        """Ask for the end of an object, and of what belongs to it; fine if it does not exist.

        Args:
            path: the path of the object.
            uid: delete only the object with this uid, and none that has its name since.
            grace_seconds: how long a pod may take; None: as long as its template says.

        Raises:
            ApiError: it was refused; with status 409, the object has another uid.
            EnvironmentFailure: the server does not answer.
        """
        body: Json = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        try:
            await self.ask("DELETE", path, body=body)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise

    async def may(
        self, namespace: str, verb: str, resource: str, group: str = "", subresource: str = ""
    ) -> bool:
        """Whether one may do something in a namespace (a SelfSubjectAccessReview).

        The namespace need not exist; an empty one stands for the whole cluster.

        Raises:
            ApiError: the question was refused.
            EnvironmentFailure: the server does not answer.
        """
        about = {"namespace": namespace, "verb": verb, "resource": resource, "group": group}
        if subresource:
            about["subresource"] = subresource
        answer = await self.ask(
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
            if error.status == NOT_FOUND:
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

    async def follow(
        self, path: str, gap: Callable[[str], None], **selectors: str
    ) -> AsyncGenerator[Observed, None]:
        """Each object of a kind, and then each change, until the caller stops.

        Args:
            path: the path of the list, such as `/api/v1/namespaces/shop/pods`.
            gap: told why changes may be missing: the list had to be read again.
            selectors: `labelSelector` or `fieldSelector`: only such objects.

        Raises:
            ApiError: it was refused.
            EnvironmentFailure: the server did not answer to begin with.
        """
        listed, version = await self._list(path, selectors)
        while True:
            now_ns = time.monotonic_ns()
            for one in listed.get("items", ()):
                yield Observed(now_ns, "listed", one)
            yield Observed(now_ns, "complete", {})
            async with aclosing(self._since(path, version, gap, selectors)) as changes:
                async for observed in changes:
                    yield observed
            listed, version = await self._list_again(path, gap, selectors)

    async def _since(
        self, path: str, version: str, gap: Callable[[str], None], selectors: Mapping[str, str]
    ) -> AsyncGenerator[Observed, None]:
        """Each change since a version, until the server has forgotten that version."""
        while True:
            told_nothing = True
            try:
                async with aclosing(self._watch(path, version, selectors)) as told:
                    async for kind, one, at_ns in told:
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
                if error.status in (UNAUTHORIZED, FORBIDDEN):
                    raise
                gap(str(error))
                return
            except EnvironmentFailure as error:
                gap(str(error))
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _list(self, path: str, selectors: Mapping[str, str]) -> tuple[Json, str]:
        """A list, and its version."""
        listed = await self.get(path, **selectors)
        return listed, self._version_of(listed)

    async def _list_again(
        self, path: str, gap: Callable[[str], None], selectors: Mapping[str, str]
    ) -> tuple[Json, str]:
        while True:
            await asyncio.sleep(_AGAIN_SECONDS)
            try:
                return await self._list(path, selectors)
            except ApiError as error:
                if not error.passes:
                    raise
                gap(str(error))
            except EnvironmentFailure as error:
                gap(str(error))

    async def through(self, path: str, seconds: float) -> tuple[int, str]:
        """Send a pod one GET through the API server, which reaches it from anywhere.

        Args:
            path: the path of its subresource, such as `/api/v1/namespaces/shop/pods/a-1:80/proxy/`.
            seconds: how long the answer may take.

        Returns:
            The status and the body of what the pod answered.

        Raises:
            ApiError: the API server refused it, or did not reach the pod.
            EnvironmentFailure: the API server does not answer.
            TimeoutError: the answer took longer.
        """
        import httpx2  # noqa: PLC0415 - only with the extra

        try:
            async with asyncio.timeout(seconds):
                response = await self._client.request("GET", path, timeout=httpx2.Timeout(None))
        except httpx2.TransportError as error:
            raise unreachable(self.server, error) from error
        if response.is_error and _is_a_refusal(response):
            raise refused(response)
        return response.status_code, response.text

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
        async with self.stream(path, parameters, None) as response:
            async for chunk in response.aiter_raw():
                yield chunk

    async def last_lines(self, namespace: str, pod: str, container: str, count: int) -> list[str]:
        """The last lines that a container wrote; none if nobody can tell.

        Args:
            namespace: the namespace.
            pod: the name of the pod.
            container: the name of the container.
            count: how many lines.
        """
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        parameters = {"container": container, "tailLines": str(count)}
        try:
            async with self.stream(path, parameters, 10.0) as response:
                return [line async for line in response.aiter_lines()]
        except (ApiError, EnvironmentFailure):
            return []

    async def _watch(
        self, path: str, version: str, selectors: Mapping[str, str]
    ) -> AsyncGenerator[tuple[str, Json, int], None]:
        parameters = {
            **selectors,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        async with self.stream(path, parameters, 1.5 * _WATCH_SECONDS) as response:
            async for line in response.aiter_lines():
                if line:
                    try:
                        event = msgspec.json.decode(line, type=_Event)
                    except msgspec.DecodeError as error:
                        raise self.nonsense(error) from error
                    yield event.type, event.object, time.monotonic_ns()

    def _version_of(self, found: Json) -> str:
        """The version of an object or of a list."""
        try:
            return str(found["metadata"]["resourceVersion"])
        except (KeyError, TypeError) as error:
            raise self.nonsense(error) from error


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
    config = config_of(context)
    try:
        client = AsyncClient(config, ConnectionParams(timeout=httpx2.Timeout(10.0)))
    except (ConfigError, OSError, ValueError) as error:
        raise EnvironmentFailure(f"the kubeconfig: {one_line(error)}") from error
    async with client:
        yield Cluster(client, config.cluster.server, config.context_name)


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


def _is_a_refusal(response: "httpx2.Response") -> bool:
    """Whether the API server itself answered, and no pod behind it: with an object `Status`."""
    try:
        told = msgspec.json.decode(response.content, type=Json)
    except msgspec.MsgspecError:
        return False
    return told.get("kind") == "Status" and told.get("apiVersion") == "v1"
