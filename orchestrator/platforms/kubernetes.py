"""Kubernetes as the platform: each replica is a Pod in the run's own namespace."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orchestrator.clock import monotonic_ns
from orchestrator.errors import EnvironmentFailure, PlatformError
from orchestrator.interfaces import ProbeResult, ReplicaExit
from orchestrator.kubernetes.errors import ApiError
from orchestrator.kubernetes.namespace_view import NamespaceView, SeenPod
from orchestrator.kubernetes.pod_manifest import (
    TemplateError,
    pod_name,
    pod_of,
    port_of,
    probed_path,
)
from orchestrator.kubernetes.pod_state import OUT_OF_MEMORY, PodEnd
from orchestrator.model import Replica, Version
from orchestrator.platforms.local import REPLICA, VERSION, OnExit
from orchestrator.tasks import first_error

TemplateOf = Callable[[Version, str], Awaitable[Mapping[str, Any]]]
"""Gives the pod template of a version for the replica with this id.

It raises `PlatformError` if there is none.
"""

_NOT_FOUND = 404
_GOOD = 400
_KILLED = 137
_GRACE_SLACK_SECONDS = 1.5
"""The cluster's stamps are whole seconds, and a kubelet acts when it hears of a deletion."""

_ADDRESS_SECONDS = 25.0
_ASK_SECONDS = 0.25
_ANSWER_SECONDS = 10.0
_LOG_AGAIN_SECONDS = 0.5
_LOG_END_SECONDS = 2.0
_LOG_LINES = 5
_LONGEST_TEXT = 200
_LOG_PART = 64 * 1024


@dataclass(slots=True, eq=False)
class _Pod:
    """A replica's pod, and what is being done with it."""

    name: str
    version: Version
    template: Mapping[str, Any]
    log: Path
    waits_for: str = "its container does not run yet"
    stopping: bool = False
    asked_ns: int | None = None
    grace: float = 0.0
    following: asyncio.Task[None] | None = None
    ended: asyncio.Future[ReplicaExit] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class KubernetesPlatform:
    """Runs each replica as a Pod; an async context manager.

    It begins nothing outside the namespace of its view. Who made that namespace removes it, with
    all pods that are left.
    """

    def __init__(
        self,
        view: NamespaceView,
        template_of: TemplateOf,
        *,
        log_directory: Path,
        labels: Mapping[str, str] | None = None,
        on_exit: OnExit | None = None,
        address_seconds: float = _ADDRESS_SECONDS,
    ) -> None:
        """Make the platform; nothing is started yet.

        Args:
            view: the namespace, watched.
            template_of: gives the pod template of a version.
            log_directory: the folder for the replicas' output, as `<replica id>.log`.
            labels: labels of all pods, besides those of their templates.
            on_exit: called when a replica ends that nobody stopped.
            address_seconds: how long a pod may take until it has an address: until then a node must
                have taken it.
        """
        self._view = view
        self._cluster = view.cluster
        self._template_of = template_of
        self._logs = log_directory
        self._labels = dict(labels or {})
        self._on_exit = on_exit
        self._address_seconds = address_seconds
        self._pods: dict[str, _Pod] = {}
        self._tasks = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._running:
            task.cancel()
        # The group must not see the error, or it would wrap it in an exception group.
        with first_error():
            await self._tasks.__aexit__(None, None, None)

    async def start(self, version: Version, replica_id: str) -> Replica:
        """Make a pod, and wait until it has an address.

        Raises:
            PlatformError: the cluster refuses the pod, no node takes it, or it has no template.
        """
        try:
            name = pod_name(replica_id)
            template = await self._template_of(version, replica_id)
            port = port_of(template)
            pod = pod_of(
                template,
                name=name,
                labels=self._labels,
                # libpq names the replica's sessions by this, also in the server's log.
                env={"PGAPPNAME": replica_id, REPLICA: replica_id, VERSION: version.name},
            )
            await self._cluster.create(self._path(), pod)
        except (TemplateError, ApiError) as error:
            raise PlatformError(f"{replica_id}: {error}") from error
        started_ns = monotonic_ns()
        one = _Pod(name, version, template, self._logs / f"{replica_id}.log")
        self._pods[replica_id] = one
        replica = Replica(
            id=replica_id,
            version=version.name,
            host=await self._address(replica_id, name),
            port=port,
            started_ns=started_ns,
        )
        one.following = self._begin(self._follow_log(one), f"log of {replica_id}")
        self._begin(self._watch(replica, one), f"watch {replica_id}")
        return replica

    async def _address(self, replica_id: str, name: str) -> str:
        """The address of a pod, once it has one; of one that ends before it has one: nothing."""

        def there() -> bool:
            seen = self._view.pod(name)
            return seen is not None and bool(seen.state.address or seen.state.end)

        try:
            async with asyncio.timeout(self._address_seconds):
                await self._view.until(there)
        except TimeoutError:
            why = self._why_not_running(name)
            raise PlatformError(
                f"{replica_id}: it has no address after {self._address_seconds:g} s: {why}"
            ) from None
        seen = self._view.pod(name)
        return (None if seen is None else seen.state.address) or "0.0.0.0"  # noqa: S104 - nobody is there

    def has_log(self, pod: str) -> bool:
        """Whether this copies the log of a pod: of its first container."""
        return any(one.name == pod for one in self._pods.values())

    def is_running(self, replica: Replica) -> bool:
        """Whether the replica's container has not ended yet."""
        one = self._pod(replica)
        seen = self._view.pod(one.name)
        return not one.ended.done() and (seen is None or seen.state.end is None)

    async def wait_listening(self, replica: Replica) -> None:
        """Wait, without a limit, until the replica accepts connections and is warmed up.

        It accepts connections if it is ready, or if it answers the path of its readiness probe with
        any status. Where the probe is no HTTP probe, only the first can be known.

        Raises:
            PlatformError: it cannot start, such as when its image cannot be pulled.
        """
        one = self._pod(replica)
        path = probed_path(one.template)
        while True:
            change = asyncio.ensure_future(self._view.wait_for_change())
            try:
                seen = self._view.pod(one.name)
                if seen is not None and seen.state.hopeless:
                    raise PlatformError(f"{replica.id} cannot start: {seen.state.waiting}")
                if seen is not None and seen.state.ready:
                    break
                if seen is not None and seen.state.started and path is not None:
                    answer = await self.probe(replica, path, _ANSWER_SECONDS)
                    if answer.status is not None:
                        break
                    one.waits_for = f"it does not listen on {replica.address}: {answer.text}"
                else:
                    one.waits_for = self._why_not_running(one.name)
                await asyncio.wait([change], timeout=_ASK_SECONDS)
            finally:
                change.cancel()
        for path in one.version.warm_up:
            await self._warm_up(replica, one, path)

    async def _warm_up(self, replica: Replica, one: _Pod, path: str) -> None:
        one.waits_for = f"its warm-up: GET {path}: no response yet"
        while True:
            answer = await self.probe(replica, path, _ANSWER_SECONDS)
            if answer.status is not None and answer.status < _GOOD:
                return
            one.waits_for = f"its warm-up: it {answer.to(path)}"
            await asyncio.sleep(_ASK_SECONDS)

    def why_not_listening(self, replica: Replica) -> str:
        """What `wait_listening` still waits for."""
        return self._pod(replica).waits_for

    async def probe(self, replica: Replica, path: str, timeout: float) -> ProbeResult:  # noqa: ASYNC109 - a limit on the request
        """Send the replica one GET through the API server, so past the Service."""
        one = self._pod(replica)
        proxied = f"{self._path(one.name)}:{replica.port}/proxy{path}"
        try:
            status, body = await self._cluster.through(proxied, timeout)
        except TimeoutError:
            return ProbeResult(None, f"no response within {timeout:g} s")
        except (ApiError, EnvironmentFailure) as error:
            return ProbeResult(None, str(error))
        return ProbeResult(status, " ".join(body.split())[:_LONGEST_TEXT])

    async def wait_ended(self, replica: Replica) -> ReplicaExit:
        """Wait until the replica's container has ended, or its pod is gone."""
        return await asyncio.shield(self._pod(replica).ended)

    async def stop(self, replica: Replica, grace: float) -> ReplicaExit:
        """Delete the pod with this grace period, in whole seconds and at least one.

        The kubelet runs its preStop hook, which is a part of that period. Then it sends SIGTERM, or
        the image's STOPSIGNAL, and kills what is left at the end of the period.

        Raises:
            PlatformError: the cluster refuses the deletion.
        """
        one = self._pod(replica)
        seen = self._view.pod(one.name)
        if seen is not None and seen.state.end is not None:
            await self._delete(replica, one, 0)  # only its object is left
            return await self.wait_ended(replica)
        one.stopping, one.asked_ns = True, monotonic_ns()
        if seen is not None and seen.state.has_run:
            one.grace = max(1.0, math.ceil(grace))
        # A pod that has not begun needs no time, and a kubelet that waits before it pulls an image
        # again would take it: until then it does not hear of the deletion.
        await self._delete(replica, one, int(one.grace))
        return await self.wait_ended(replica)

    async def _delete(self, replica: Replica, one: _Pod, seconds: int) -> None:
        try:
            await self._cluster.delete(self._path(one.name), grace_seconds=seconds)
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise PlatformError(f"{replica.id}: {error}") from error

    async def _watch(self, replica: Replica, one: _Pod) -> None:
        """Wait for the end of a pod, and tell it."""
        seen = await self._end(one.name)
        if one.following is not None:  # its last words are on their way
            await asyncio.wait([one.following], timeout=_LOG_END_SECONDS)
            one.following.cancel()
        ended = self._exit(one, seen, seen.state.end or PodEnd())
        one.ended.set_result(ended)
        if not one.stopping and self._on_exit is not None:
            self._on_exit(replica, ended)

    async def _end(self, name: str) -> SeenPod:
        while True:
            seen = self._view.pod(name)
            if seen is not None and seen.state.end is not None:
                return seen
            await self._view.wait_for_change()

    def _exit(self, one: _Pod, seen: SeenPod, end: PodEnd) -> ReplicaExit:
        ended_ns = self._ended_ns(one, seen, end)
        seconds = 0.0 if one.asked_ns is None else max(0.0, (ended_ns - one.asked_ns) / 1e9)
        killed = (
            bool(one.grace) and end.exit_code in (_KILLED, None) and end.reason != OUT_OF_MEMORY
        )
        reason = str(end)
        if seen.state.deleted and not one.stopping:
            reason = f"was deleted by somebody else, and {reason}"
        return ReplicaExit(
            reason=reason,
            log=last_lines(one.log, _LOG_LINES),
            killed=killed and seconds >= one.grace - _GRACE_SLACK_SECONDS,
            seconds=seconds,
            exit_status=end.exit_status,
            stop_asked_ns=one.asked_ns,
            ended_ns=ended_ns,
            # The end of a container's first process ends all others: pid_namespaces(7).
            children_ended_ns=ended_ns,
        )

    def _ended_ns(self, one: _Pod, seen: SeenPod, end: PodEnd) -> int:
        """When a container ended: its stamp on our clock, within what is known otherwise."""
        clock = self._cluster.clock
        if end.finished_wall_ns is None or clock is None:
            return seen.at_ns
        stamp = end.finished_wall_ns + 500_000_000 + clock.middle_ns
        return max(one.asked_ns or 0, min(stamp, seen.at_ns))

    async def _follow_log(self, one: _Pod) -> None:
        """Copy what the first container writes into the replica's log, until it has ended."""
        container = one.template["spec"]["containers"][0]["name"]
        one.log.touch()

        def has_run() -> bool:
            seen = self._view.pod(one.name)
            return seen is not None and (seen.state.has_run or seen.state.end is not None)

        def has_ended() -> bool:
            seen = self._view.pod(one.name)
            return seen is not None and seen.state.end is not None

        await self._view.until(has_run)
        again = False
        with one.log.open("ab", buffering=0) as file:
            while not (again and has_ended()):
                try:
                    async for part in self._cluster.log(
                        self._view.namespace, one.name, container, from_now=again
                    ):
                        file.write(part)
                except ApiError:
                    return  # there is none, such as of a container that could not start
                except EnvironmentFailure:
                    pass  # the connection was cut, not the container
                again = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOG_AGAIN_SECONDS):
                        await self._view.until(has_ended)

    def _why_not_running(self, name: str) -> str:
        """Why a pod does not run, or is not ready, in the words of the cluster."""
        seen = self._view.pod(name)
        if seen is None:
            return "the cluster has not told of its pod yet"
        if seen.state.end is not None:
            return f"it {seen.state.end}"
        said = seen.state.waiting
        if said is None:
            said = self._view.warning(name)
            return "its container runs, and is not ready yet" if said is None else said
        if ": " not in said and (warning := self._view.warning(name)) is not None:
            return f"{said}: {warning}"
        return said

    def _begin(self, work: Any, name: str) -> asyncio.Task[None]:  # noqa: ANN401 - a coroutine
        task: asyncio.Task[None] = self._tasks.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _path(self, name: str | None = None) -> str:
        pods = f"/api/v1/namespaces/{self._view.namespace}/pods"
        return pods if name is None else f"{pods}/{name}"

    def _pod(self, replica: Replica) -> _Pod:
        try:
            return self._pods[replica.id]
        except KeyError:
            raise PlatformError(f"{replica.id} was not started here") from None


def last_lines(log: Path, count: int) -> tuple[str, ...]:
    """The last lines of a file; none if there is no file."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _LOG_PART))
            return tuple(file.read().decode(errors="replace").splitlines()[-count:])
    except OSError:
        return ()
