"""A whole simulated world, and one release in it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from balancer.health import HealthPolicy
from orchestrator.errors import OrchestratorError
from orchestrator.interfaces import ReplicaExit
from orchestrator.journal import Journal
from orchestrator.model import JournalEvent, Release, ReleaseResult, Replica
from orchestrator.policy import Policy
from orchestrator.release import ReleaseRun, bring_up, take_down
from orchestrator.rollout import Rollout
from orchestrator.simulated.balancer import SimulatedBalancer
from orchestrator.simulated.events import Events
from orchestrator.simulated.faults import Fault, Faults
from orchestrator.simulated.journeys import Journeys
from orchestrator.simulated.platform import SimulatedPlatform
from orchestrator.simulated.request import Ended, EndedMany, Handling, Request
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
        rate: how many users come a second; 0: nobody but those who stay.
        even: whether they come at equal gaps.
        offsets: makes the instants at which they come instead, in ns from the begin.
        timeout_seconds: after how long they give up.
        baseline_seconds: how long they come before the release.
        settle_seconds: how long they come after it.
        health: the health checks of the balancer.
        handling: how the balancer treats requests.
        passive_checks: whether failures of live requests take a backend out.
        batches: whether steady stretches are worked out in batches: see `batches`.
        directories: the names of the migrations of each directory, in order.
        faults: what is broken on purpose.
        limit_seconds: after so much virtual time a run that has not ended never will.
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
    offsets: Callable[[], Iterator[int]] | None = None
    directories: Mapping[Path, Sequence[str]] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    limit_seconds: float = 7 * 86_400.0


class EndlessRunError(OrchestratorError):
    """A simulated run that would not end."""


class SimulatedWorld:
    """The parts of a world; made inside of its loop.

    Attributes:
        events: what happens.
        platform: runs replicas.
        balancer: sends requests to them.
        database: what they share.
        users: who sends requests.
        journeys: what follows from requests, and who stays; None: nothing and nobody.
        collect: lets whoever takes what became of requests know all of it up to now.
    """

    def __init__(self, run: SimulatedRun, ended: Ended) -> None:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualTimeLoop):
            raise VirtualTimeError("a simulated world needs a VirtualTimeLoop")
        self.events = loop.events = Events(loop.clock)
        self.journeys: Journeys | None = None
        told = ended
        self.collect: Callable[[], None] = lambda: None
        if run.world.has_journeys or run.world.staying:
            patience_ns = round(run.timeout_seconds * 1e9)
            told = self.journeys = Journeys(
                run.world, self.events, ended, seed=run.seed, patience_ns=patience_ns
            )
        self.platform = SimulatedPlatform(run.world, self.events, run.seed)
        self.balancer = SimulatedBalancer(
            run.world,
            self.events,
            self.platform,
            run.health,
            run.handling,
            seed=run.seed,
            ended=told,
            passive_checks=run.passive_checks,
        )
        self.database = SimulatedDatabase(run.world, self.events, run.directories)
        self.database.on_lock = self.balancer.exchanges.lock
        self.platform.on_behaviour = self.database.meet
        self.users = Users(
            run.rate,
            run.world.endpoints,
            seed=run.seed,
            timeout_seconds=run.timeout_seconds,
            even=run.even,
            send=self.balancer.exchanges.send,
            offsets=None if run.offsets is None else run.offsets(),
        )
        if self.journeys is not None:
            self.journeys.send = self._send_alone
        self.events.arrivals = self.users
        self.database.on_schema = self._schema_changed
        if run.batches and not run.world.has_journeys and run.offsets is None:
            self._batch(run, ended)

    @property
    def planned(self) -> int:
        """How many requests users have wanted to send."""
        self.collect()
        return self.users.planned + (0 if self.journeys is None else self.journeys.sent)

    @property
    def under_way(self) -> int:
        """How many requests are not answered yet, or will follow from others."""
        self.balancer.exchanges.settle()
        pending = 0 if self.journeys is None else self.journeys.pending
        return self.balancer.exchanges.in_flight + pending

    def begin(self) -> None:
        """Let users come from now on."""
        now_ns = self.events.clock.ns
        self.users.begin(now_ns)
        if self.journeys is not None:
            self.journeys.begin(now_ns)

    async def end(self) -> None:
        """Let nobody come any more, and wait until all that users have begun is over."""
        self.balancer.exchanges.settle()
        self.users.end()
        if self.journeys is not None:
            self.journeys.end()
        while self.under_way:  # noqa: ASYNC110 - a look takes no virtual time
            await asyncio.sleep(_LOOK_SECONDS)

    def _send_alone(self, request: Request) -> None:
        self.balancer.exchanges.settle()
        self.balancer.exchanges.send(request)

    def _schema_changed(self) -> None:
        self.balancer.exchanges.epoch += 1

    def _batch(self, run: SimulatedRun, ended: Ended) -> None:
        from orchestrator.simulated.batches import Batches  # noqa: PLC0415 - needs numpy

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
        self.collect = batches.collect
        self.balancer.stretch = batches


Phase = Callable[[str, SimulatedWorld, Rollout], None]
Look = Callable[[SimulatedWorld], None]

_LOOK_SECONDS = 0.05
TICK_SECONDS = 0.5


def simulate(
    run: SimulatedRun,
    ended: Ended,
    *,
    listeners: Sequence[Callable[[JournalEvent], None]] = (),
    on_phase: Phase = lambda _name, _world, _rollout: None,
    on_tick: Look | None = None,
) -> ReleaseResult:
    """Carry out one release in virtual time, and return how it ended.

    Args:
        run: what is simulated.
        ended: takes what became of each request.
        listeners: get the events of the journal.
        on_phase: told when a phase begins: `setup`, `baseline`, `rollout`, `settle`, `teardown` and
            `end`.
        on_tick: told every `TICK_SECONDS` of virtual time; what it raises ends the run.

    Raises:
        OrchestratorError: the first version does not come up.
        EndlessRunError: it has not ended within its limit of virtual time.
        DeadlockError: everything waits for ever.
    """
    return run_in_virtual_time(_carry_out(run, ended, listeners, on_phase, on_tick))


async def _carry_out(
    run: SimulatedRun,
    ended: Ended,
    listeners: Sequence[Callable[[JournalEvent], None]],
    on_phase: Phase,
    on_tick: Look | None,
) -> ReleaseResult:
    world = SimulatedWorld(run, ended)
    journal = Journal(listeners=listeners)
    rollout = Rollout(world.platform, world.balancer, journal, run.policy, seed=run.seed)
    going = _Going(run, world, journal, rollout, on_phase)
    try:
        with first_error():
            async with asyncio.timeout(run.limit_seconds), asyncio.TaskGroup() as group:
                return await going.go(group, on_tick)
    except TimeoutError as error:
        raise EndlessRunError(
            f"the run has not ended after {run.limit_seconds:g} s of virtual time"
        ) from error


class _Going:
    """One run under way."""

    def __init__(
        self,
        run: SimulatedRun,
        world: SimulatedWorld,
        journal: Journal,
        rollout: Rollout,
        on_phase: Phase,
    ) -> None:
        self._run = run
        self._world = world
        self._journal = journal
        self._rollout = rollout
        self._on_phase = on_phase
        self._supervisor = Supervisor(rollout, world.platform, world.balancer)
        self._faults = Faults(journal, rollout, world.platform, world.balancer.exchanges)
        world.platform.on_exit = self._exited

    async def go(self, group: asyncio.TaskGroup, on_tick: Look | None) -> ReleaseResult:
        run, world, rollout = self._run, self._world, self._rollout
        watching = [group.create_task(world.balancer.watch_outliers(), name="outliers")]
        if on_tick is not None:
            watching.append(group.create_task(self._tick(on_tick), name="ticks"))
        async with self._phase("setup"):
            await bring_up(rollout, run.release.start)
        if run.policy.healing.enabled:
            watching.append(group.create_task(self._supervisor.run(), name="healing and scaling"))
        world.begin()
        async with self._phase("baseline", group):
            await asyncio.sleep(run.baseline_seconds)
        async with self._phase("rollout", group):
            release = ReleaseRun(
                run.release,
                rollout,
                STRATEGIES[run.strategy],
                world.database,
                rehearsal=world.database.rehearsal(run.release),
            )
            result = await release.run()
        async with self._phase("settle", group):
            await asyncio.sleep(run.settle_seconds)
            self._faults.close()
            await world.end()
        for task in watching:
            task.cancel()
        async with self._phase("teardown"):
            try:
                await take_down(rollout)
            except OrchestratorError as error:
                raise OrchestratorError(f"the fleet cannot be taken down: {error}") from error
        self._on_phase("end", world, rollout)
        return result

    @asynccontextmanager
    async def _phase(
        self, name: str, group: asyncio.TaskGroup | None = None
    ) -> AsyncIterator[None]:
        """One phase; with a group also the faults that belong to it."""
        async with self._journal.verb("phase", detail={"name": name}, encloses=True):
            self._on_phase(name, self._world, self._rollout)
            if group is not None:
                for fault in self._run.faults:
                    if fault.phase == name:
                        group.create_task(self._faults.make(fault), name=f"fault {fault.do}")
            yield

    async def _tick(self, on_tick: Look) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            on_tick(self._world)

    def _exited(self, replica: Replica, ended: ReplicaExit) -> None:
        self._journal.note(
            "replica",
            version=replica.version,
            replicas=[replica.id],
            error=ended.reason,
            detail={"log": list(ended.log)},
        )
        self._supervisor.exited(replica, ended)
