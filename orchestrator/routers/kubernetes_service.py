"""A Service of Kubernetes as the router: a pod gets connections if it has the label `serves`.

Admission adds the label, and a drain removes it. Then the control plane changes the EndpointSlices,
and kube-proxy writes its rules on each node. No API tells when a node has done so. kube-proxy
gathers changes for up to a second (`--iptables-min-sync-period`), and writing takes a moment. So
each change waits for the EndpointSlices, and then for `lag_seconds`:
https://kubernetes.io/docs/reference/networking/virtual-ips/
"""

import asyncio
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import RouterError
from orchestrator.interfaces import Drained
from orchestrator.kubernetes.errors import ApiError
from orchestrator.kubernetes.namespace_view import NamespaceView
from orchestrator.kubernetes.pod_manifest import ON, SERVES, pod_name
from orchestrator.kubernetes.pod_state import PodState
from orchestrator.model import Replica
from orchestrator.request_statistics import RequestCounts
from orchestrator.routers.capabilities import Capabilities
from orchestrator.routers.settings import BackendState
from orchestrator.tasks import all_or_first_error

LAG_SECONDS = 2.0
"""How long nodes may take to act by the EndpointSlices: a second of kube-proxy's, and its work."""

_NOT_FOUND = 404


def service_capabilities(*, probed: bool) -> Capabilities:
    """What a Service can do.

    Args:
        probed: whether its pods have a readiness probe: only then it stops using a sick one.
    """
    return Capabilities(
        cuts_at_deadline=False,
        counts_in_flight=False,
        drain_waits="nothing",
        own_health=probed,
        atomic_switch=False,
        reasons=False,
        backend_idle_seconds=0.0,  # it keeps no connections: those of its clients are theirs
        weights=False,
        sees_requests=False,
    )


class ServiceRouter:
    """The Router over the label that a Service selects."""

    def __init__(
        self, view: NamespaceView, service: str, *, probed: bool, lag_seconds: float = LAG_SECONDS
    ) -> None:
        """Describe it.

        Args:
            view: the namespace, watched.
            service: the name of the Service; it selects the label `serves`.
            probed: whether its pods have a readiness probe.
            lag_seconds: how long nodes may take to act by the EndpointSlices.
        """
        self.capabilities = service_capabilities(probed=probed)
        self._view = view
        self._service = service
        self._lag = lag_seconds
        self._known: dict[str, _Backend] = {}
        self._changing = asyncio.Lock()

    @property
    def admission_seconds(self) -> float:
        """The least time until a healthy replica is up: it may be ready already."""
        return 0.0

    async def register(self, replica: Replica) -> None:
        """Take note of the replica; its pod does not have the label yet, so it gets no traffic."""
        if replica.id not in self._known:
            self._known[replica.id] = _Backend(replica, pod_name(replica.id))

    async def wait_up(self, ids: Collection[str]) -> None:
        """Wait until all of them are ready, and endpoints if they have the label."""
        await self._view.until(lambda: not any(self._why_not_up(name) for name in ids))

    async def why_not_up(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return those of them that are not up, each with what the cluster says of it."""
        return {name: why for name in ids if (why := self._why_not_up(name)) is not None}

    async def weigh(self, weights: Mapping[str, float]) -> None:
        """Let those with a weight above 0 serve, all alike, and the others not."""
        async with self._changing:
            if unknown := [name for name in weights if name not in self._known]:
                raise RouterError(f"set weights: unknown: {', '.join(unknown)}")
            await self._serve({name: weight > 0 for name, weight in weights.items()})

    async def switch(self, ids: Collection[str]) -> None:
        """Let these replicas serve, and then all others not; for a moment both do.

        Raises:
            RouterError: one of them is not up; nothing was changed.
        """
        async with self._changing:
            if why := await self.why_not_up(ids):
                said = ", ".join(f"{name} ({reason})" for name, reason in sorted(why.items()))
                raise RouterError(f"switch: not up: {said}")
            await self._serve({name: name in ids for name in self._known})

    async def drain(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - of requests, which nobody counts here
        """Send the replica no new connections; returns when no node does so any more.

        Requests on connections that it has are not waited for: nobody can see them but the replica
        itself, which ends them after its stop signal. So the timeout, which limits that wait, does
        not matter here.
        """
        del timeout
        began = time.monotonic()
        backend = self._known.get(replica_id)
        if backend is None:
            return Drained(0, 0.0)
        if backend.serves:
            async with self._changing:
                backend.draining = True
                await self._label(backend, serves=False)
        # Several replicas drain at the same time, so the lock is not held meanwhile.
        await self._view.until(lambda: self._is_told(backend))
        await asyncio.sleep(max(0.0, backend.left + self._lag - time.monotonic()))
        return Drained(0, time.monotonic() - began, None if backend.has_served else 0)

    async def remove(self, replica_id: str) -> None:
        """Forget the replica; fine if it is unknown."""
        async with self._changing:
            backend = self._known.pop(replica_id, None)
            if backend is not None and backend.serves:
                await self._label(backend, serves=False)

    async def counts(self) -> Mapping[str, RequestCounts]:
        """Return nothing: a Service does not see requests."""
        return {}

    async def backends(self) -> Sequence[BackendState]:
        """What the cluster makes of the replicas now."""
        return [
            BackendState(
                id=name,
                version=one.replica.version,
                state=self._state(name, one),
                weight=1.0 if one.serves else 0.0,
            )
            for name, one in self._known.items()
        ]

    def _state(self, name: str, one: "_Backend") -> str:
        if one.draining:
            return "draining"
        if self._why_not_up(name) is None:
            one.has_been_up = True
            return "up"
        return "down" if one.has_been_up else "pending"

    async def _serve(self, wanted: Mapping[str, bool]) -> None:
        """Bring labels into force: first those that are added, so that somebody always serves."""
        came = [one for name, on in wanted.items() if on and not (one := self._known[name]).serves]
        went = [one for name, on in wanted.items() if not on and (one := self._known[name]).serves]
        for backends, serves in ((came, True), (went, False)):
            await all_or_first_error(self._label(one, serves=serves) for one in backends)
            await self._view.until(lambda: all(self._is_told(one) for one in backends))  # noqa: B023 - it is awaited here
        if came or went:
            await asyncio.sleep(self._lag)

    def _is_told(self, one: "_Backend") -> bool:
        """Whether the EndpointSlices say of a pod what its label does."""
        listed = self._view.is_endpoint(self._service, one.pod)
        seen = self._view.pod(one.pod)
        may_serve = seen is not None and seen.state.ready and not seen.state.deleted
        return listed == (one.serves and may_serve)

    async def _label(self, one: "_Backend", *, serves: bool) -> None:
        path = f"/api/v1/namespaces/{self._view.namespace}/pods/{one.pod}"
        labels = {SERVES: ON if serves else None}
        try:
            await self._view.cluster.patch(path, {"metadata": {"labels": labels}})
        except ApiError as error:
            # A pod that is gone serves nobody, and whoever watches it tells.
            if error.status != _NOT_FOUND:
                raise RouterError(f"{one.replica.id}: {error}") from error
        one.serves = serves
        one.has_served = one.has_served or serves
        if not serves:
            one.left = time.monotonic()

    def _why_not_up(self, name: str) -> str | None:
        one = self._known.get(name)
        if one is None:
            return "the router does not know it"
        seen = self._view.pod(one.pod)
        if seen is None:
            return "the cluster has not told of its pod yet"
        if (why := _why_not_ready(seen.state, self._view.warning(one.pod))) is not None:
            return why
        if one.serves and not self._view.is_endpoint(self._service, one.pod):
            return f"the EndpointSlices of service/{self._service} do not list it yet"
        return None


def _why_not_ready(state: PodState, warning: str | None) -> str | None:
    if state.end is not None:
        return f"it {state.end}"
    if state.deleted:
        return "its pod is being deleted"
    if not state.ready:
        return f"its pod is not ready: {state.waiting or warning or 'nobody says why'}"
    return None


@dataclass(slots=True)
class _Backend:
    """A replica that is known, whether its pod has the label, and when it lost it."""

    replica: Replica
    pod: str
    serves: bool = False
    has_served: bool = False
    left: float = -math.inf
    draining: bool = False
    has_been_up: bool = False
