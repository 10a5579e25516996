"""The simulated platform and router run through the contracts of all platforms and routers.

The cases are those of the other two modules, in virtual time. What is left out needs real
processes: commands, environments, logs and wrappers.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from balancer.health import HealthPolicy
from balancer.proxy.error_responses import ErrorResponse
from orchestrator.interfaces import Platform, ReplicaExit, Router
from orchestrator.model import Release, Replica, Version
from orchestrator.policy import Policy
from orchestrator.request_statistics import RequestCounts
from orchestrator.routers.capabilities import Capabilities
from orchestrator.simulated.request import Request
from orchestrator.simulated.world import SimulatedRun, SimulatedWorld
from orchestrator.simulated.world_settings import Breaks, Endpoint, ReplicaModel, World
from orchestrator.virtual_time import run as run_in_virtual_time
from tests.contract import test_platform_contract as platforms
from tests.contract import test_router_contract as routers

PATHS = ("/", "/slow", "/long", "/hang")
FACTORS = (1.0, 300.0, 1000.0, 1e8)
WORLD = World(
    replica=ReplicaModel(start_seconds=0.2, service_seconds=0.001),
    versions={
        "a.dies": ReplicaModel(start_seconds=0.2, crash_rate=3600.0),
        "a.deaf": ReplicaModel(start_seconds=0.2, on_stop="ignore"),
    },
    endpoints=tuple(
        Endpoint(name=f"GET {path}", service_factor=factor)
        for path, factor in zip(PATHS, FACTORS, strict=True)
    ),
    breaks=(
        Breaks(version="b.sick", ready=False),
        Breaks(version="c.sick", ready=False),
        Breaks(version="b.failing"),
    ),
)


class Answers:
    """Hands each request's end to whoever waits for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting: dict[int, asyncio.Future[tuple[int, str]]] = {}

    def answered(self, request: Request, status: int, sqlstate: str | None) -> None:
        assert sqlstate is None
        assert request.backend is not None
        (self.folder / f"{request.backend.id}.log").write_text("ended")
        self._set(request, status, request.backend.version.partition(".")[0])

    def refused(self, request: Request, response: ErrorResponse) -> None:
        self._set(request, response.status, response.details)

    def gave_up(self, request: Request) -> None:
        self._set(request, 504, "gave up")

    def _set(self, request: Request, status: int, body: str) -> None:
        self.waiting.pop(request.number).set_result((status, body))


@dataclass
class Running:
    """A router as the cases of the contract know it."""

    router: Router
    kind: str = "simulated"


@dataclass
class Subject:
    """A simulated world as the subject of both contracts."""

    folder: Path
    numbers: Any = field(default_factory=lambda: count(1))
    exits: list[tuple[str, str]] = field(default_factory=list)
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    dies: tuple[str, tuple[str, ...]] = ("exited with status 1", ())
    tells_port = True

    def __post_init__(self) -> None:
        self.answered = Answers(self.folder)
        run = SimulatedRun(
            world=WORLD,
            release=Release(name="r", start=Version(name="a", command=()), steps=()),
            policy=Policy(),
            strategy="rolling",
            health=HealthPolicy(interval=0.2, fast_interval=0.05),
        )
        self.world = SimulatedWorld(run, self.answered)
        self.world.platform.on_exit = self.on_exit
        self.running = Running(self.world.balancer)
        self.requests = count(1)

    @property
    def platform(self) -> Platform:
        return self.world.platform

    @property
    def router(self) -> Router:
        return self.world.balancer

    @property
    def can(self) -> Capabilities:
        return self.router.capabilities

    def need(self, **capabilities: object) -> None:
        for name, wanted in capabilities.items():
            assert getattr(self.can, name) == wanted

    def on_exit(self, replica: Replica, ended: ReplicaExit) -> None:
        self.exits.append((replica.id, ended.reason))
        self.exited.set()

    def version(self, mode: str = "") -> Version:
        return Version(name=f"a.{mode}" if mode else "a", command=())

    async def kill(self, replica: Replica) -> None:
        self.world.platform.of(replica).kill()

    async def accepts(self, replica: Replica) -> bool:
        return self.world.platform.of(replica).accepts

    async def replica(self, version: str, mode: str = "") -> Replica:
        given = Version(name=f"{version}.{mode}" if mode else version, command=())
        replica = await self.platform.start(given, f"{version}-{next(self.numbers)}")
        await self.platform.wait_listening(replica)
        await self.router.register(replica)
        return replica

    async def up(self, version: str, mode: str = "") -> Replica:
        replica = await self.replica(version, mode)
        await self.router.wait_up([replica.id])
        return replica

    async def meets_nobody(self) -> bool:
        return (await self.get())[0] in routers.NOBODY

    async def get(self, path: str = "/", request_id: str = "") -> tuple[int, str]:
        del request_id
        now, number = self.world.events.clock.ns, next(self.requests)
        future: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self.answered.waiting[number] = future
        request = Request(number, PATHS.index(path), now, 0.5, now + 60 * 10**9, None)
        self.world.balancer.exchanges.send(request)
        return await future

    async def at_the_replica(
        self, path: str, replica: Replica, method: str = "GET"
    ) -> "asyncio.Future[tuple[int, str]]":
        assert method == "GET"
        asked = asyncio.ensure_future(self.get(path))
        await asyncio.sleep(0.01)
        assert self.world.platform.of(replica).pending
        return asked

    async def counted(self, requests: int) -> Mapping[str, RequestCounts]:
        counts = await self.router.counts()
        assert sum(one.requests for one in counts.values()) >= requests
        return counts

    async def answers(self, requests: int) -> Counter[str]:
        got = [await self.get() for _ in range(requests)]
        return Counter(body for _, body in got)


Case = Callable[[Any], Awaitable[None]]
CASES: tuple[Case, ...] = (
    platforms.test_a_replica_from_start_to_stop,
    platforms.test_replicas_do_not_share_an_address,
    platforms.test_a_replica_that_dies_says_why,
    platforms.test_a_replica_that_is_killed,
    platforms.test_a_replica_that_ignores_its_stop,
    platforms.test_how_a_replica_ended,
    routers.test_registered_is_not_attached,
    routers.test_only_the_healthy_are_up,
    routers.test_weights_are_shares,
    routers.test_switch_is_all_or_nothing,
    routers.test_a_drain_waits,
    routers.test_a_drain_has_an_end,
    routers.test_a_drain_may_keep_idle_connections_in_use,
    routers.test_drained_can_be_removed_and_forgotten,
    routers.test_counts_are_by_replica,
    routers.test_registering_again_changes_nothing,
    routers.test_admission_takes_no_less_than_it_says,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("test_"))
def test_the_contract_holds_in_virtual_time(case: Case, tmp_path: Path) -> None:
    """A case of the contract of a platform or a router holds for the simulated one."""

    async def work() -> None:
        await case(Subject(tmp_path))

    run_in_virtual_time(work())
