"""The order in which labels are changed behind a Service, on a namespace in memory."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.errors import RouterError
from orchestrator.kubernetes.errors import ApiError
from orchestrator.kubernetes.namespace_view import SeenPod
from orchestrator.kubernetes.pod_manifest import SERVES
from orchestrator.kubernetes.pod_state import PodEnd, PodState
from orchestrator.model import Replica
from orchestrator.routers.kubernetes_service import ServiceRouter

NAMES = ("a-1", "a-2", "b-3", "b-4")


class Namespace:
    """Pods, and EndpointSlices that follow their labels a little later."""

    namespace = "ours"

    def __init__(self) -> None:
        self.cluster = self
        self.pods = {name: PodState(name=name, address="10.0.0.1", ready=True) for name in NAMES}
        self.labelled: set[str] = set()
        self.listed: set[str] = set()
        self.fewest = 99
        self.changes: list[tuple[str, bool]] = []
        self.refuses: int | None = None

    async def patch(self, path: str, changes: dict[str, Any]) -> None:
        if self.refuses is not None:
            raise ApiError("the cluster: no", self.refuses)
        name, on = path.rpartition("/")[2], changes["metadata"]["labels"][SERVES] is not None
        self.changes.append((name, on))
        (self.labelled.add if on else self.labelled.discard)(name)
        asyncio.get_running_loop().call_later(0.001, self._follow)

    def _follow(self) -> None:
        self.listed = {name for name in self.labelled if self.pods[name].ready}
        self.fewest = min(self.fewest, len(self.listed))

    def pod(self, name: str) -> SeenPod | None:
        return SeenPod(0, self.pods[name]) if name in self.pods else None

    def is_endpoint(self, service: str, pod: str) -> bool:
        assert service == "web"
        return pod in self.listed

    def warning(self, pod: str) -> str | None:
        return f"Readiness probe of {pod} failed"

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():  # noqa: ASYNC110 - as the real one, without its watches
            await asyncio.sleep(0.001)


async def routed(place: Namespace) -> ServiceRouter:
    router = ServiceRouter(place, "web", probed=True, lag_seconds=0.0)  # type: ignore[arg-type]
    for name in NAMES:
        await router.register(Replica(id=name, version=name[0], host="10.0.0.1", port=80))
    return router


sets = some.sets(some.sampled_from(NAMES), min_size=1)


@given(sets, sets)
def test_somebody_serves_all_through_a_switch(before: set[str], after: set[str]) -> None:
    """Those who come are endpoints before those who go lose their label; then only they serve."""

    async def work() -> None:
        place = Namespace()
        router = await routed(place)
        await router.switch(before)
        assert place.listed == before
        place.fewest = 99
        await router.switch(after)
        assert place.listed == after
        if before != after:
            assert place.fewest >= min(len(before), len(after))

    asyncio.run(work())


@given(some.dictionaries(some.sampled_from(NAMES), some.floats(0, 3), min_size=1))
def test_any_weight_above_0_is_the_same(weights: dict[str, float]) -> None:
    """Who has some weight serves; who has none does not; the others keep what they have."""

    async def work() -> None:
        place = Namespace()
        router = await routed(place)
        await router.weigh({"a-1": 1.0, "a-2": 1.0})
        await router.weigh(weights)
        kept = {"a-1", "a-2"} - weights.keys()
        assert place.listed == kept | {name for name, weight in weights.items() if weight > 0}

    asyncio.run(work())


async def test_a_switch_to_a_pod_that_is_not_ready_changes_nothing() -> None:
    """It is refused by name and in the words of the kubelet."""
    place = Namespace()
    router = await routed(place)
    await router.switch(["a-1"])
    place.changes.clear()
    place.pods["b-3"] = replace(place.pods["b-3"], ready=False)
    said = "switch: not up: b-3 .its pod is not ready: Readiness probe of b-3 failed"
    with pytest.raises(RouterError, match=said):
        await router.switch(["b-3", "b-4"])
    assert place.changes == []


async def test_a_pod_that_is_gone_holds_up_nobody() -> None:
    """Its label cannot be changed any more, and it is no endpoint either."""
    place = Namespace()
    router = await routed(place)
    await router.switch(["a-1", "a-2"])
    place.pods["a-1"] = replace(place.pods["a-1"], ready=False, end=PodEnd(exit_code=0))
    place.listed.discard("a-1")
    assert await router.why_not_up(["a-1"]) == {"a-1": "it exited with status 0"}
    place.refuses = 404
    async with asyncio.timeout(5):
        assert (await router.drain("a-1", 30)).left is None
    await router.remove("a-1")
    place.refuses = 403
    with pytest.raises(RouterError, match=r"a-2: the cluster: no"):
        await router.drain("a-2", 30)


async def test_replicas_drain_at_the_same_time() -> None:
    """The wait for the nodes is not added up, and who never served has nothing in flight."""
    place = Namespace()
    router = await routed(place)
    await router.switch(["a-1", "a-2"])
    drained = await asyncio.gather(*(router.drain(name, 0) for name in ("a-1", "a-2", "b-3")))
    assert [one.left for one in drained] == [None, None, 0]
    assert place.listed == set()
    assert [one.state for one in await router.backends()] == ["draining", "draining", "up", "up"]
