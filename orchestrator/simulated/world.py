"""A whole simulated world, and one release in it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from balancer.health import HealthPolicy
from orchestrator.errors import OrchestratorError
from orchestrator.journal import Journal
from orchestrator.model import JournalEvent, Release, ReleaseResult
from orchestrator.policy import Policy
from orchestrator.release import ReleaseRun, bring_up, take_down
from orchestrator.rollout import Rollout
from orchestrator.simulated.balancer import SimulatedBalancer
from orchestrator.simulated.events import Events
from orchestrator.simulated.platform import SimulatedPlatform
from orchestrator.simulated.request import Ended, Handling
from orchestrator.simulated.schema import SimulatedDatabase
from orchestrator.simulated.users import Users
from orchestrator.simulated.world_settings import World
from orchestrator.strategies import STRATEGIES
from orchestrator.supervisor import Supervisor
from orchestrator.tasks import first_error
from orchestrator.virtual_time import VirtualTimeError, VirtualTimeLoop
from orchestrator.virtual_time import run as run_in_virtual_time


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRun:
    """What is simulated.

    Attributes:
        world: what the world is like.
        release: what is released.
        policy: how.
        strategy: the name of the strategy.
        seed: of all randomness.
        rate: how many users come a second, each with one request.
        even: whether they come at equal gaps.
        timeout_seconds: after how long they give up.
        baseline_seconds: how long they come before the release.
        settle_seconds: how long they come after it.
        health: the health checks of the balancer.
        handling: how the balancer treats requests.
        passive_checks: whether failures of live requests take a backend out.
        batches: whether steady stretches are worked out in batches: see `batches`.
    """

    world: World
    release: Release
    policy: Policy
    strategy: str
    seed: int = 0
    rate: float = 100.0
    even: bool = False
    timeout_seconds: float = 10.0
    baseline_seconds: float = 3.0
    settle_seconds: float = 2.0
    health: HealthPolicy = field(default_factory=HealthPolicy)
    handling: Handling = field(default_factory=Handling)
    passive_checks: bool = True
    batches: bool = False


class SimulatedWorld:
    """The parts of a world; made inside of its loop.

    Attributes:
        events: what happens.
        platform: runs replicas.
        balancer: sends requests to them.
        database: what they share.
        users: who sends requests.
    """

    def __init__(self, run: SimulatedRun, ended: Ended) -> None:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualTimeLoop):
            raise VirtualTimeError("a simulated world needs a VirtualTimeLoop")
        self.events = loop.events = Events(loop.clock)
        self.platform = SimulatedPlatform(run.world, self.events, run.seed)
        self.balancer = SimulatedBalancer(
            run.world,
            self.events,
            self.platform,
            run.health,
            run.handling,
            seed=run.seed,
            ended=ended,
            passive_checks=run.passive_checks,
        )
        self.database = SimulatedDatabase(run.world, self.events)
        self.database.on_lock = self.balancer.exchanges.lock
        self.platform.on_behaviour = self.database.meet
        self.users = Users(
            run.rate,
            run.world.endpoints,
            seed=run.seed,
            timeout_seconds=run.timeout_seconds,
            even=run.even,
            send=self.balancer.exchanges.send,
        )
        self.events.arrivals = self.users
        self.database.on_schema = self._schema_changed
        if run.batches:
            self._batch(run, ended)

    def _schema_changed(self) -> None:
        self.balancer.exchanges.epoch += 1

    def _batch(self, run: SimulatedRun, ended: Ended) -> None:
        from orchestrator.simulated.batches import Batches, EndedMany  # noqa: PLC0415 - needs numpy

        if not isinstance(ended, EndedMany):
            raise TypeError("batches need somebody who takes the answers of many requests at once")
        exchanges = self.balancer.exchanges
        batches = Batches(
            self.events,
            self.balancer.pool,
            exchanges,
            self.users,
            ended,
            delay_ns=round(run.world.network.delay_seconds * 1e9),
            rate=run.rate,
        )
        self.events.steady = exchanges.steady = batches
        self.balancer.flush = batches.flush


Phase = Callable[[str, SimulatedWorld, Rollout], None]


def simulate(
    run: SimulatedRun,
    ended: Ended,
    *,
    listeners: Sequence[Callable[[JournalEvent], None]] = (),
    on_phase: Phase = lambda _name, _world, _rollout: None,
) -> ReleaseResult:
    """Carry out one release in virtual time, and return how it ended.

    Args:
        run: what is simulated.
        ended: takes what became of each request.
        listeners: get the events of the journal.
        on_phase: told when a phase begins: `setup`, `baseline`, `rollout`, `settle`, `teardown` and
            `end`.

    Raises:
        OrchestratorError: the first version does not come up.
        DeadlockError: everything waits for ever.
    """
    return run_in_virtual_time(_carry_out(run, ended, listeners, on_phase))


async def _carry_out(
    run: SimulatedRun,
    ended: Ended,
    listeners: Sequence[Callable[[JournalEvent], None]],
    on_phase: Phase,
) -> ReleaseResult:
    world = SimulatedWorld(run, ended)
    journal = Journal(listeners=listeners)
    rollout = Rollout(world.platform, world.balancer, journal, run.policy, seed=run.seed)
    supervisor = Supervisor(rollout, world.platform, world.balancer)
    world.platform.on_exit = supervisor.exited
    with first_error():
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(world.balancer.watch_outliers())]
            on_phase("setup", world, rollout)
            await bring_up(rollout, run.release.start)
            if run.policy.healing.enabled:
                watching.append(group.create_task(supervisor.run()))
            world.users.begin(world.events.clock.ns)
            on_phase("baseline", world, rollout)
            await asyncio.sleep(run.baseline_seconds)
            on_phase("rollout", world, rollout)
            release = ReleaseRun(run.release, rollout, STRATEGIES[run.strategy], world.database)
            result = await release.run()
            on_phase("settle", world, rollout)
            await asyncio.sleep(run.settle_seconds)
            world.users.end()
            for task in watching:
                task.cancel()
            on_phase("teardown", world, rollout)
            try:
                await take_down(rollout)
            except OrchestratorError as error:
                raise OrchestratorError(f"the fleet cannot be taken down: {error}") from error
            await asyncio.sleep(run.timeout_seconds)
            on_phase("end", world, rollout)
    return result
