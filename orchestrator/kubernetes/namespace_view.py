"""What a namespace holds now: its pods, the endpoints of its Services, and warnings about pods.

Three watches keep it up to date, so that whoever asks needs no request.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.client import Cluster, Observed
from orchestrator.kubernetes.errors import ApiError
from orchestrator.kubernetes.pod_state import PodEnd, PodState, pod_state
from orchestrator.tasks import first_error

_OF_A_SERVICE = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class SeenPod:
    """A pod, and when the cluster told of it.

    Attributes:
        at_ns: when its present state was told, on the machine's monotonic clock.
        state: that state. The state of a pod that was removed has an end.
    """

    at_ns: int
    state: PodState


class NamespaceView:
    """The pods and endpoints of one namespace; an async context manager."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        """Describe it; nothing is asked yet.

        Args:
            cluster: the API.
            namespace: the namespace.
        """
        self.cluster = cluster
        self.namespace = namespace
        self._pods: dict[str, SeenPod] = {}
        self._slices: dict[str, tuple[str, dict[str, bool]]] = {}
        self._warnings: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._watches: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin to watch; returns when the first lists are there.

        Raises:
            EnvironmentFailure: the cluster does not answer, or refuses a watch.
        """
        core = f"/api/v1/namespaces/{self.namespace}"
        slices = await self._slices_path()
        await self._tasks.__aenter__()
        begun = []
        for path, take, keep in (
            (f"{core}/pods", self._take_pod, self._keep_pods),
            (slices, self._take_slice, self._keep_slices),
            (f"{core}/events", self._take_event, self._keep_events),
        ):
            listed = asyncio.Event()
            begun.append(listed)
            follow = self._follow(path, take, keep, listed)
            self._watches.append(self._tasks.create_task(follow, name=f"watch of {path}"))
        for listed in begun:
            await listed.wait()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for watch in self._watches:
            watch.cancel()
        # The group must not see the error, or it would wrap it in an exception group.
        with first_error():
            await self._tasks.__aexit__(None, None, None)

    def pod(self, name: str) -> SeenPod | None:
        """A pod as it is, or as it was when it was removed; None if it was never seen."""
        return self._pods.get(name)

    def is_endpoint(self, service: str, pod: str) -> bool:
        """Whether the EndpointSlices of a Service say that a pod gets requests."""
        return any(of == service and pods.get(pod) for of, pods in self._slices.values())

    def warning(self, pod: str) -> str | None:
        """The last warning about a pod, such as that its readiness probe failed; None: none."""
        return self._warnings.get(pod)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait, without a limit, until something holds of what is known here."""
        while not holds():
            await self.wait_for_change()

    async def wait_for_change(self) -> None:
        """Wait until the cluster tells of the next change."""
        await self._changed.wait()

    async def _slices_path(self) -> str:
        try:
            versions = await self.cluster.versions_of("discovery.k8s.io")
        except ApiError as error:
            raise EnvironmentFailure(str(error)) from error
        version = "v1" if "v1" in versions else "v1beta1"
        return f"/apis/discovery.k8s.io/{version}/namespaces/{self.namespace}/endpointslices"

    async def _follow(
        self,
        path: str,
        take: Callable[[Observed], None],
        keep: Callable[[set[str], int], None],
        listed: asyncio.Event,
    ) -> None:
        seen: set[str] = set()
        try:
            async for observed in self.cluster.follow(path, lambda _reason: None):
                if observed.change == "complete":
                    keep(seen, observed.at_ns)
                    seen = set()
                    listed.set()
                else:
                    if observed.change == "listed":
                        seen.add(observed.object["metadata"]["name"])
                    take(observed)
                self._changed.set()
                self._changed = asyncio.Event()
        except ApiError as error:
            raise EnvironmentFailure(str(error)) from error

    def _take_pod(self, observed: Observed) -> None:
        state = pod_state(observed.object)
        before = self._pods.get(state.name)
        if before is not None and before.state.end is not None:
            return  # a pod ends once; that it is removed afterwards is no news
        if before is not None:
            state = state.after(before.state)
        if observed.change == "deleted" and state.end is None:
            state = replace(state, end=PodEnd(), ready=False)
        self._pods[state.name] = SeenPod(observed.at_ns, state)

    def _keep_pods(self, names: set[str], at_ns: int) -> None:
        for name, seen in self._pods.items():
            if name not in names and seen.state.end is None:
                gone = replace(seen.state, end=PodEnd(), ready=False)
                self._pods[name] = SeenPod(at_ns, gone)

    def _take_slice(self, observed: Observed) -> None:
        meta = observed.object["metadata"]
        if observed.change == "deleted":
            self._slices.pop(meta["name"], None)
            return
        service = str((meta.get("labels") or {}).get(_OF_A_SERVICE, ""))
        self._slices[meta["name"]] = service, endpoints_of(observed.object)

    def _keep_slices(self, names: set[str], at_ns: int) -> None:
        del at_ns
        self._slices = {name: one for name, one in self._slices.items() if name in names}

    def _take_event(self, observed: Observed) -> None:
        one = observed.object
        about = one.get("involvedObject") or {}
        if one.get("type") == "Warning" and about.get("kind") == "Pod":
            self._warnings[str(about.get("name"))] = " ".join(str(one.get("message", "")).split())

    def _keep_events(self, names: set[str], at_ns: int) -> None:
        del names, at_ns  # what was said remains said


def endpoints_of(found: Mapping[str, Any]) -> dict[str, bool]:
    """PURE: by pod, whether an EndpointSlice (`v1` or `v1beta1`) lets it get requests."""
    pods: dict[str, bool] = {}
    for one in found.get("endpoints") or ():
        target = one.get("targetRef") or {}
        if target.get("kind") == "Pod":
            ready = (one.get("conditions") or {}).get("ready")
            pods[target["name"]] = ready is not False  # absent means ready
    return pods
