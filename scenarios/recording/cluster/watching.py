"""Watches a namespace of a cluster while a run goes on, and records what it tells."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.errors import ApiError
from scenarios.evidence.cluster import (
    ClusterChange,
    ClusterClock,
    ContainerState,
    DeploymentState,
    JobState,
    PodState,
)
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.cluster.reduced import Unchanged, change_of
from scenarios.recording.cluster.view import ClusterView

MOST_LOGS = 100
"""So many logs of pods are followed."""

PATIENCE_SECONDS = 1200.0
"""So long a rollout may take after its command; the cluster itself gives up after ten minutes
(`progressDeadlineSeconds`)."""

_LOG_AGAIN_SECONDS = 0.5

HOPELESS = frozenset(
    {
        "CreateContainerConfigError",
        "ErrImageNeverPull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
    }
)
"""Why a container waits that no further attempt will start."""


def words_of(one: ContainerState) -> str:
    """What became of a container: what it wrote last, else why it waits or has ended."""
    if one.state == "terminated" and one.message:
        return one.message
    return ": ".join(part for part in (one.reason, one.message) if part)


class ClusterWatch:
    """What is seen of a namespace, from the begin of `watching` on.

    Attributes:
        logs_elsewhere: whether somebody else copies the log of the first container of a pod.
    """

    def __init__(self, view: ClusterView, folder: Path) -> None:
        """Say what is watched, and where the evidence goes."""
        self.logs_elsewhere: Callable[[str], bool] = lambda _pod: False
        self._view = view
        self._files = RunFolder(folder)
        self._folder = folder
        self._deployments: dict[str, DeploymentState] = {}
        self._pods: dict[str, PodState] = {}
        self._of_owner: dict[str, dict[str, PodState]] = {}
        self._jobs: dict[str, JobState] = {}
        self._failed_jobs: dict[str, str] = {}
        self._old_jobs: set[str] = set()
        self._generation_before: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._followed: set[tuple[str, int]] = set()
        self._unchanged = Unchanged()
        self._logs: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Record for the length of the block.

        Raises:
            EnvironmentFailure: the cluster refused a watch.
        """
        with self._files.cluster_changes.recorder() as recorder:
            await self._measure_clock(recorder)
            async with asyncio.TaskGroup() as group:
                listed = [asyncio.Event() for _ in self._view.paths]
                tasks = [
                    group.create_task(
                        self._follow(kind, path, recorder, first, group), name=f"watch of {kind}s"
                    )
                    for (kind, path), first in zip(self._view.paths.items(), listed, strict=True)
                ]
                for first in listed:
                    await first.wait()
                try:
                    yield
                    with contextlib.suppress(EnvironmentFailure):  # it was measured before
                        await self._measure_clock(recorder)
                finally:
                    for task in (*tasks, *self._logs):
                        task.cancel()

    async def completed(self, *, beside: bool = False) -> str | None:
        """Wait until the rollout has ended; None if it is complete, else why it is not.

        It is complete when each Deployment has only available pods of its present template, and no
        pod of it that is being deleted runs any more.

        Args:
            beside: whether to wait for other Deployments than the one that serves, too, if they
                have changed.

        Raises:
            EnvironmentFailure: the cluster does not answer.
        """
        wanted = await self._generations(beside=beside)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    self._changed.clear()
                    failure = self._failure(wanted)
                    if failure is not None or self._complete(wanted):
                        return failure
                    await self._changed.wait()
        except TimeoutError:
            return f"the rollout was not complete {PATIENCE_SECONDS:.0f} s after its command"

    async def job_ended(self, name: str) -> str | None:
        """Wait until a Job has ended; None if it has succeeded, else why not.

        A Job whose pod cannot start without help has failed, too.

        Args:
            name: the name of the Job, which was made a moment ago.
        """
        while True:
            self._changed.clear()
            state, last = self._jobs.get(name), self._last_words(f"job/{name}")
            if state is not None and state.outcome == "Complete":
                return None
            if state is not None and state.outcome is not None:
                return ": ".join(one for one in (state.reason, last or state.message) if one)
            if last is not None and last.startswith(tuple(HOPELESS)):
                return last
            await self._changed.wait()

    def _last_words(self, owner: str) -> str | None:
        """What became of the first container of a pod of this owner, as far as it is known."""
        found = [
            words_of(one)
            for pod in self._of_owner.get(owner, {}).values()
            for one in pod.containers[:1]
        ]
        return next(filter(None, reversed(found)), None)

    async def _generations(self, *, beside: bool) -> dict[str, int]:
        try:
            listed = await self._view.cluster.get(self._view.paths["Deployment"])
        except ApiError as error:
            raise EnvironmentFailure(str(error)) from error
        chosen = self._view.target.deployment
        found = {
            str(one["metadata"]["name"]): int(one["metadata"].get("generation", 0))
            for one in listed.get("items", ())
        }
        # One that the command left alone, and that may never be complete, is none of it.
        return {
            name: generation
            for name, generation in found.items()
            if (name == chosen)
            or ((beside or chosen is None) and generation != self._generation_before.get(name))
        }

    def _failure(self, wanted: Mapping[str, int]) -> str | None:
        for name, reason in self._failed_jobs.items():
            return f"job/{name} failed: {reason}"
        for name, generation in wanted.items():
            state = self._deployments.get(name)
            if state is not None and state.observed >= generation and state.stalled:
                return f"deployment/{name} makes no progress: {state.stalled}"
        return None

    def _complete(self, wanted: Mapping[str, int]) -> bool:
        for name, generation in wanted.items():
            state = self._deployments.get(name)
            if state is None or state.generation < generation or not state.complete:
                return False
        owners = {f"deployment/{name}" for name in wanted}
        # A kubelet may take a minute to remove a pod of which nothing runs any more.
        return not any(
            pod.deleted_wall_ns is not None and pod.runs and pod.owner in owners
            for pod in self._pods.values()
        )

    async def _measure_clock(self, recorder: Recorder[ClusterChange]) -> None:
        try:
            clock = await self._view.cluster.measure_clock()
        except ApiError as error:
            raise EnvironmentFailure(str(error)) from error
        if clock is not None:
            told = ClusterClock(low_ns=clock.low_ns, high_ns=clock.high_ns)
            recorder.write(ClusterChange(at_ns=time.monotonic_ns(), change="clock", clock=told))

    async def _follow(
        self,
        kind: str,
        path: str,
        recorder: Recorder[ClusterChange],
        first: asyncio.Event,
        group: asyncio.TaskGroup,
    ) -> None:
        def gap(reason: str) -> None:
            now_ns = time.monotonic_ns()
            recorder.write(ClusterChange(at_ns=now_ns, change="gap", name=kind, error=reason))

        seen: set[str] = set()
        try:
            async for observed in self._view.cluster.follow(path, gap):
                if observed.change == "complete":
                    for name in self._unchanged.names(kind) - seen:
                        gone = ClusterChange(at_ns=observed.at_ns, change="deleted", name=name)
                        self._write(kind, self._as_it_was(kind, gone), recorder)
                    seen = set()
                    first.set()
                    continue
                change = change_of(kind, observed)
                if change is None:
                    continue
                if observed.change == "listed":
                    seen.add(change.name)
                self._write(kind, change, recorder)
                self._take(change, initial=not first.is_set(), group=group)
        except ApiError as error:
            raise EnvironmentFailure(str(error)) from error

    def _as_it_was(self, kind: str, gone: ClusterChange) -> ClusterChange:
        if kind == "Pod" and gone.name in self._pods:
            return ClusterChange(
                at_ns=gone.at_ns,
                change="deleted",
                name=gone.name,
                pod=self._pods.pop(gone.name),
            )
        return gone

    def _write(self, kind: str, change: ClusterChange, recorder: Recorder[ClusterChange]) -> None:
        if self._unchanged.new(kind, change):
            recorder.write(change)

    def _take(self, change: ClusterChange, *, initial: bool, group: asyncio.TaskGroup) -> None:
        """Keep what the end of the rollout depends on, and follow the logs of new containers."""
        gone = change.change == "deleted"
        if change.deployment is not None:
            self._deployments[change.name] = change.deployment
            if initial:
                self._generation_before[change.name] = change.deployment.generation
            if gone:
                self._deployments.pop(change.name, None)
        elif change.pod is not None:
            self._pods[change.name] = change.pod
            self._of_owner.setdefault(change.pod.owner or "", {})[change.name] = change.pod
            if gone:
                self._pods.pop(change.name, None)
            else:
                self._follow_logs(change.name, change.pod, group, from_now=initial)
        elif change.job is not None:
            self._take_job(change.name, change.job, initial=initial, gone=gone)
        self._changed.set()

    def _take_job(self, name: str, job: JobState, *, initial: bool, gone: bool) -> None:
        self._jobs[name] = job
        if (job.owner or "").startswith("cronjob/"):
            return  # it runs whenever its time has come, and is none of the release
        if initial:
            self._old_jobs.add(name)
        elif gone:
            self._old_jobs.discard(name)  # the next one of its name is another Job
        elif job.outcome == "Failed" and name not in self._old_jobs:
            told = (job.reason, job.message)
            self._failed_jobs[name] = ": ".join(one for one in told if one)

    def _follow_logs(
        self, name: str, pod: PodState, group: asyncio.TaskGroup, *, from_now: bool
    ) -> None:
        if not self._view.logs or len(self._followed) >= MOST_LOGS:
            return
        chosen = self._view.target.deployment
        mine = chosen is None or pod.owner == f"deployment/{chosen}"
        if not mine and not (pod.owner or "").startswith("job/"):
            return
        for number, container in enumerate(pod.containers):
            key = f"{name}/{container.name}", container.restarts
            if container.state == "waiting" or key in self._followed:
                continue
            if number == 0 and self.logs_elsewhere(name):
                continue
            self._followed.add(key)
            suffix = "" if number == 0 else f".{container.name}"
            target = self._folder / f"{name}{suffix}.log"
            following = self._log(name, container.name, target, from_now=from_now)
            self._logs.append(group.create_task(following, name=f"log of {name}"))

    async def _log(self, pod: str, container: str, target: Path, *, from_now: bool) -> None:
        namespace = self._view.target.namespace
        with target.open("ab", buffering=0) as file:
            while True:
                try:
                    async for chunk in self._view.cluster.log(
                        namespace, pod, container, from_now=from_now
                    ):
                        file.write(chunk)
                except ApiError:
                    pass  # the container is gone, or not there yet: the watch of its pod tells
                except EnvironmentFailure:
                    from_now = True
                    await asyncio.sleep(_LOG_AGAIN_SECONDS)
                    continue
                return
