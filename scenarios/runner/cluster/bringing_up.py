"""Waits until the version before the release serves, or says early why it will not."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.client import Cluster
from orchestrator.tasks import first_error
from scenarios.evidence.cluster import ContainerState, DeploymentState, PodState
from scenarios.recording.cluster.reduced import change_of
from scenarios.recording.cluster.watching import HOPELESS, PATIENCE_SECONDS, words_of

_CRASHES = 3
"""A container that has ended so often will do so again."""
_LOG_LINES = 3


class NotUpError(Exception):
    """The version does not come up.

    Attributes:
        reason: why, in one line.
        pod: the pod that shows it, if one does.
        container: its container.
    """

    def __init__(self, reason: str, pod: str = "", container: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.pod = pod
        self.container = container


class _Seen:
    """The Deployments and pods of a namespace, as they are now."""

    def __init__(self) -> None:
        self.deployments: dict[str, DeploymentState] = {}
        self.pods: dict[str, PodState] = {}
        self.listed: set[str] = set()

    @property
    def up(self) -> bool:
        """Whether each Deployment is complete."""
        return len(self.listed) == len(_PATHS) and all(
            one.complete for one in self.deployments.values()
        )

    def check(self) -> None:
        """Raise NotUpError if what is seen will not become ready by itself."""
        for name, state in self.deployments.items():
            if state.observed >= state.generation and state.stalled:
                raise NotUpError(f"deployment/{name} makes no progress: {state.stalled}")
        for name, pod in self.pods.items():
            for one in (*pod.init, *pod.containers):
                _check_container(name, one)


_PATHS = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Pod": "/api/v1/namespaces/{}/pods",
}


async def until_up(cluster: Cluster, namespace: str) -> None:
    """Wait until each Deployment of a namespace is complete.

    Raises:
        EnvironmentFailure: that will not happen; the message has the words of the cluster and the
            last lines of the log.
        ApiError: a watch was refused.
    """
    seen = _Seen()
    try:
        with first_error():
            async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
                done = asyncio.Event()
                tasks = [
                    group.create_task(_follow(cluster, kind, path.format(namespace), seen, done))
                    for kind, path in _PATHS.items()
                ]
                await done.wait()
                for task in tasks:
                    task.cancel()
    except NotUpError as error:
        raise EnvironmentFailure(
            f"{error.reason}{await _last_lines(cluster, namespace, error)}"
        ) from error
    except TimeoutError:
        raise EnvironmentFailure(f"it was not available after {PATIENCE_SECONDS:.0f} s") from None


async def _follow(cluster: Cluster, kind: str, path: str, seen: _Seen, done: asyncio.Event) -> None:
    async with aclosing(cluster.follow(path, lambda _: None)) as changes:
        async for observed in changes:
            if observed.change == "complete":
                seen.listed.add(kind)
            elif (change := change_of(kind, observed)) is not None:
                gone = change.change == "deleted"
                if change.deployment is not None:
                    seen.deployments[change.name] = change.deployment
                elif gone:
                    seen.pods.pop(change.name, None)
                elif change.pod is not None:
                    seen.pods[change.name] = change.pod
            seen.check()
            if seen.up:
                done.set()


def _check_container(pod: str, one: ContainerState) -> None:
    if one.state == "waiting" and one.reason in HOPELESS:
        raise NotUpError(f"pod/{pod}, image {one.image}: {words_of(one)}")
    if one.restarts >= _CRASHES and one.state != "running":
        raise NotUpError(
            f"pod/{pod}: its container {one.name} ended {one.restarts} times, at last with status "
            f"{one.last_exit_code}",
            pod,
            one.name,
        )


async def _last_lines(cluster: Cluster, namespace: str, error: NotUpError) -> str:
    if not error.pod:
        return ""
    lines: Iterable[str] = await cluster.last_lines(
        namespace, error.pod, error.container, _LOG_LINES
    )
    text = " | ".join(line.strip() for line in lines if line.strip())
    return f"; the last lines of its log: {text}" if text else ""
