"""The pods of the generators: whether they have started, and what becomes of them."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.client import Cluster, Observed
from orchestrator.kubernetes.errors import ApiError
from scenarios.evidence.cluster import PodState
from scenarios.recording.cluster.reduced import pod as read_pod
from scenarios.runner.generators.generator_job import CONTAINER, NUMBER, loss, start_problem

START_SECONDS = 180.0
"""So long a generator's pod may take to start: an image may have to be pulled first."""

_LOG_SECONDS = 5.0


class GeneratorPods:
    """The pods by the numbers of their generators: only the first pod of each counts."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self.namespace = namespace
        self._names: dict[int, str] = {}
        self._states: dict[int, PodState] = {}
        self._gone: set[int] = set()
        self._on_loss: dict[int, Callable[[str], None]] = {}
        self._changed = asyncio.Event()

    async def watch(self) -> None:
        """Follow them.

        Raises:
            EnvironmentFailure: the cluster refused it.
        """
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        try:
            async with aclosing(self._cluster.follow(path, lambda _: None)) as changes:
                async for one in changes:
                    if one.change != "complete":
                        self._take(one)
        except ApiError as error:
            raise EnvironmentFailure(str(error)) from error

    def on_loss(self, number: int, lose: Callable[[str], None]) -> None:
        """Tell somebody when a generator is lost, at once if it already is."""
        self._on_loss[number] = lose
        self._tell(number)

    async def running(self, number: int) -> tuple[str, str | None]:
        """Wait until a generator's container runs; returns the names of its pod and its node.

        Raises:
            EnvironmentFailure: it does not, and will not; or not in time.
        """
        try:
            async with asyncio.timeout(START_SECONDS):
                while True:
                    state = self._states.get(number)
                    if state is not None:
                        await self.check(number)
                        if state.runs:
                            return self._names[number], state.node
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise EnvironmentFailure(
                f"generator {number} did not start within {START_SECONDS:.0f} s: "
                f"{await self._why_not(number)}"
            ) from None

    async def check(self, number: int) -> None:
        """See that nothing keeps a generator from starting.

        Raises:
            EnvironmentFailure: something does.
        """
        problem = start_problem(self._states[number])
        if problem is not None:
            words = await self._last_words(number)
            raise EnvironmentFailure(f"generator {number} did not start: {problem}{words}")

    async def _last_words(self, number: int) -> str:
        """The last line of a generator's log, if it has one."""
        log = b""
        with suppress(ApiError, EnvironmentFailure, TimeoutError):
            async with asyncio.timeout(_LOG_SECONDS):
                name = self._names[number]
                async for piece in self._cluster.log(self.namespace, name, CONTAINER):
                    log += piece
        lines = log.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f": {last}" if last else ""

    def _take(self, observed: Observed) -> None:
        meta = observed.object["metadata"]
        number = int(meta.get("labels", {}).get(NUMBER, 0))
        if self._names.setdefault(number, str(meta["name"])) != meta["name"]:
            return  # it replaces a pod that was lost
        self._states[number] = read_pod(observed.object)
        if observed.change == "deleted":
            self._gone.add(number)
        self._tell(number)
        self._changed.set()

    def _tell(self, number: int) -> None:
        lose, state = self._on_loss.get(number), self._states.get(number)
        if lose is not None and state is not None:
            reason = loss(state, gone=number in self._gone)
            if reason is not None:
                lose(reason)

    async def _why_not(self, number: int) -> str:
        state = self._states.get(number)
        if state is not None and state.unschedulable:
            return state.unschedulable
        waiting = "" if state is None else next((one.reason for one in state.containers), "")
        with suppress(ApiError):
            found = await self._cluster.get(f"/api/v1/namespaces/{self.namespace}/events")
            warnings = [one for one in found.get("items", ()) if one.get("type") == "Warning"]
            if warnings:
                return str(warnings[-1].get("message", ""))
        return waiting or "the cluster made no pod for its Job"
