"""The judge compares what can be compared."""

from collections.abc import Mapping
from typing import cast

from orchestrator.fleet import Fleet, Member
from orchestrator.interfaces import Router
from orchestrator.model import Replica, Version
from orchestrator.request_statistics import Latency, RequestCounts
from orchestrator.samples import CanarySamples


class Told:
    """A router whose statistics are what the test says."""

    def __init__(self) -> None:
        self.answers: dict[str, RequestCounts] = {}

    def tell(self, replica: str, requests: int, failed: int) -> None:
        latency = Latency((1.0,), (requests, 0), float(requests))
        self.answers[replica] = RequestCounts(requests, failed, latency)

    async def counts(self) -> Mapping[str, RequestCounts]:
        return dict(self.answers)


def seen(count: RequestCounts) -> tuple[int, int, int]:
    return count.requests, count.failed, sum(count.latency.counts)


async def test_windows_of_a_canary() -> None:
    """Failures of the others count since the first share, latencies only over the same time."""
    fleet, router = Fleet(), Told()
    for name in ("a", "b"):
        replica = Replica(id=f"{name}-1", version=name, host="127.0.0.1", port=1)
        fleet.add(Member(replica, Version(name=name, command=("serve",))))
    old, new = fleet
    old.weight = 1.0
    samples = CanarySamples(cast(Router, router), fleet)

    router.tell("a-1", 100, 10)
    await samples.begin(["b-1"], ["a-1"], alone=False)
    new.weight = 0.1
    router.tell("a-1", 150, 12)
    router.tell("b-1", 5, 1)
    await samples.begin(["b-1"], ["a-1"], alone=False)
    router.tell("a-1", 180, 13)
    router.tell("b-1", 35, 2)
    canary, others = await samples.since(["b-1"], ["a-1"])
    assert seen(canary) == (30, 1, 30)
    assert seen(others) == (80, 3, 30)

    await samples.begin(["b-1"], ["a-1"], alone=True)
    router.tell("b-1", 95, 2)
    canary, others = await samples.since(["b-1"], ["a-1"])
    assert seen(canary) == (60, 0, 60)
    assert seen(others) == (80, 3, 30)


async def test_a_replica_that_is_replaced_meanwhile() -> None:
    """While the router answers, a replica may be replaced: the window is then its successor's."""
    fleet = Fleet()
    version = Version(name="a", command=("serve",))

    def member(name: str) -> Member:
        replica = Replica(id=name, version="a", host="127.0.0.1", port=1)
        return Member(replica, version, weight=1.0)

    class Slow(Told):
        async def counts(self) -> Mapping[str, RequestCounts]:
            fleet.add(member("a-9"))
            fleet.replace("a-1", "a-9")
            fleet.remove("a-2")
            return await super().counts()

    for name in ("a-1", "a-2", "a-3"):
        fleet.add(member(name))
    router = Slow()
    router.tell("a-9", 7, 1)
    await CanarySamples(cast(Router, router), fleet).begin(["a-3"], ["a-1", "a-2"], alone=False)
    successor = fleet.find("a-1")
    assert successor is not None
    assert successor.before_step == router.answers["a-9"]
