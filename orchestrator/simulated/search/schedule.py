"""A whole simulated run as data: what is drawn from a seed, shrunk, and replayed."""

import random
from dataclasses import replace as replaced
from typing import Literal

import msgspec

from balancer.health import HealthPolicy
from orchestrator.model import Deploy, Release, RunCommand, Step, Undo, Version
from orchestrator.policy import Healing, Policy
from orchestrator.simulated.chance import stream
from orchestrator.simulated.faults import Fault
from orchestrator.simulated.request import Handling
from orchestrator.simulated.world import SimulatedRun
from orchestrator.simulated.world_settings import (
    Breaks,
    Endpoint,
    MigrationModel,
    Network,
    ReplicaModel,
    Spread,
    World,
    distribution,
)
from orchestrator.termination import Order, TerminationPolicy

StrategyName = Literal["naive", "rolling", "blue-green", "canary"]
PlanStep = Literal["deploy", "migrate", "undo"]

OLD, NEW = "a", "b"
MIGRATION = "0001"
_TABLE = "t"
_LIMIT_SECONDS = 3600.0
_PATH = "/live"
_BUSY = 0.5
"""A replica that is busier may let its users wait for too long when it has a bad moment."""

_REUSE_SECONDS = 2.0
"""A replica that closes idle connections sooner may do so while a request is on its way."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole simulated run.

    Attributes:
        seed: of all its randomness.
        strategy: how versions are deployed.
        plan: the steps of the release, in order: `deploy` deploys version b, `undo` the version
            before it, and `migrate` applies the migration 0001.
        policy: how versions are deployed.
        world: what the world is like.
        rate: how many users come a second.
        health: the health checks of the balancer.
        handling: how the balancer treats requests.
        passive_checks: whether failures of live requests take a backend out.
        faults: what is broken on purpose.
        baseline_seconds: how long users come before the release.
        settle_seconds: how long they come after it.
    """

    seed: int = 0
    strategy: StrategyName = "rolling"
    plan: tuple[PlanStep, ...] = ("deploy",)
    policy: Policy = Policy()
    world: World = World()
    rate: float = 50.0
    health: HealthPolicy = msgspec.field(default_factory=HealthPolicy)
    handling: Handling = msgspec.field(default_factory=Handling)
    passive_checks: bool = True
    faults: tuple[Fault, ...] = ()
    baseline_seconds: float = 1.0
    settle_seconds: float = 1.0

    @property
    def disturbed(self) -> bool:
        """Whether replicas end or hang by themselves, so that counts of replicas may be short."""
        models = (self.world.replica, *self.world.versions.values())
        return bool(self.faults) or any(one.crash_rate for one in models)

    @property
    def benign(self) -> bool:
        """Whether nothing in it is a reason for any request to fail."""
        models = (self.world.replica, *self.world.versions.values())
        return (
            not self.disturbed
            and self.strategy != "naive"
            and not self.world.breaks
            and not self.world.network.loss
            and self.policy.termination.order == "drain-first"
            and self.policy.drain_timeout_seconds >= 1
            and self.policy.unavailable < self.policy.replicas
            and self.policy.termination.close_idle
            and not self.handling.reuse_post
            and not any(one.locks for one in self.world.migrations)
            and all(not one.fail_rate and one.on_stop != "cut" for one in models)
            and all(one.keep_alive_seconds > _REUSE_SECONDS for one in models)
            and all(self._busy(one) < _BUSY for one in models)
        )

    def _busy(self, model: ReplicaModel) -> float:
        """Which part of their workers the fewest replicas need for all requests."""
        serving = max(1, self.policy.replicas - self.policy.unavailable)
        seconds = distribution(model.service_seconds).mean_seconds * model.warm_up_factor
        return self.rate * seconds / (serving * model.workers)

    def run(self) -> SimulatedRun:
        """What is simulated."""
        old, new = (Version(name=name, command=(name,), liveness_path=_PATH) for name in (OLD, NEW))
        steps: list[Step] = []
        for word in self.plan:
            if word == "deploy":
                steps.append(Deploy(version=new))
            elif word == "undo":
                steps.append(Undo())
            else:
                steps.append(RunCommand(name=MIGRATION, command=("migrate",)))
        return SimulatedRun(
            world=self.world,
            release=Release(name="fuzz", start=old, steps=tuple(steps)),
            policy=self.policy,
            strategy=self.strategy,
            seed=self.seed,
            rate=self.rate,
            health=self.health,
            handling=self.handling,
            passive_checks=self.passive_checks,
            faults=self.faults,
            baseline_seconds=self.baseline_seconds,
            settle_seconds=self.settle_seconds,
            limit_seconds=_LIMIT_SECONDS,
        )


def draw(seed: int) -> Schedule:
    """A schedule that follows from a seed alone."""
    chance = stream(seed, "fuzz")
    replicas = chance.choice((1, 2, 3, 3, 4, 6, 9))
    plan = _plan(chance)
    migrates = "migrate" in plan
    schedule = Schedule(
        seed=seed,
        strategy=chance.choice(("naive", "rolling", "rolling", "rolling", "blue-green", "canary")),
        plan=plan,
        policy=_policy(chance, replicas),
        world=_world(chance, migrates=migrates),
        rate=chance.choice((5.0, 20.0, 60.0, 150.0)),
        health=HealthPolicy(
            interval=chance.choice((0.2, 1.0, 5.0)),
            fast_interval=chance.choice((0.05, 0.25)),
            timeout=chance.choice((0.5, 1.0)),
            rise=chance.choice((1, 2, 3)),
            fall=chance.choice((1, 2, 3)),
            active=chance.random() < 0.8,  # noqa: PLR2004 - mostly
        ),
        handling=Handling(
            retry=chance.random() < 0.7,  # noqa: PLR2004 - mostly
            reuse_post=chance.random() < 0.2,  # noqa: PLR2004 - seldom
            hold_seconds=chance.choice((0.0, 0.0, 0.5)),
        ),
        passive_checks=chance.random() < 0.7,  # noqa: PLR2004 - mostly
        faults=_faults(chance),
    )
    # In every other schedule nothing is a reason for a request to fail: then each failure tells.
    return _calmed(schedule) if chance.random() < 0.5 else schedule  # noqa: PLR2004 - half


def _calmed(schedule: Schedule) -> Schedule:
    change, world, policy = msgspec.structs.replace, schedule.world, schedule.policy
    termination = change(policy.termination, order="drain-first", close_idle=True)
    return change(
        schedule,
        strategy="rolling" if schedule.strategy == "naive" else schedule.strategy,
        faults=(),
        policy=change(policy, drain_timeout_seconds=30.0, termination=termination),
        handling=replaced(schedule.handling, reuse_post=False),
        world=change(
            world,
            replica=_calm(world.replica),
            versions={name: _calm(one) for name, one in world.versions.items()},
            network=change(world.network, loss=0.0),
            breaks=(),
            migrations=tuple(change(one, locks=None) for one in world.migrations),
        ),
    )


def _calm(model: ReplicaModel) -> ReplicaModel:
    return msgspec.structs.replace(
        model, on_stop="finish", keep_alive_seconds=75.0, crash_rate=0.0, fail_rate=0.0
    )


def _plan(chance: random.Random) -> tuple[PlanStep, ...]:
    plans: tuple[tuple[PlanStep, ...], ...] = (
        ("deploy",), ("deploy",), ("deploy",), ("migrate", "deploy"), ("deploy", "migrate"),
        ("deploy", "undo"), ("migrate", "deploy", "undo"),
    )  # fmt: skip
    return chance.choice(plans)


def _policy(chance: random.Random, replicas: int) -> Policy:
    surge = chance.choice((0, 1, 1, 2, "25%", "50%", "100%"))
    unavailable = chance.choice((0, 0, 0, 1, "25%"))
    if surge == 0:
        unavailable = 1
    steps = chance.choice(((5.0, 25.0, 50.0, 100.0), (50.0, 100.0), (100.0,)))
    return Policy(
        replicas=replicas,
        max_surge=surge,
        max_unavailable=unavailable,
        min_ready_seconds=chance.choice((0.0, 0.5, 2.0)),
        progress_deadline_seconds=chance.choice((3.0, 10.0)),
        drain_timeout_seconds=chance.choice((0.0, 0.05, 5.0, 30.0)),
        scale_down_delay_seconds=chance.choice((0.0, 0.0, 1.0)),
        canary_steps=steps,
        canary_soak_seconds=chance.choice((0.0, 0.5)),
        healing=Healing(enabled=chance.random() < 0.9),  # noqa: PLR2004 - nearly always
        termination=_termination(chance),
    )


def _termination(chance: random.Random) -> TerminationPolicy:
    orders: tuple[Order, ...] = (
        "drain-first", "drain-first", "drain-first", "together", "stop-first", "checks-only",
    )  # fmt: skip
    return TerminationPolicy(
        order=chance.choice(orders),
        deregistration_lag_seconds=chance.choice((0.0, 0.0, 0.3, (0.0, 1.0))),
        registration_lag_seconds=chance.choice((0.0, 0.0, 0.5)),
        pre_stop_seconds=chance.choice((0.0, 0.0, 0.5, 2.0)),
        grace_seconds=chance.choice((None, 0.5, 5.0)),
        grace_includes_pre_stop=chance.random() < 0.3,  # noqa: PLR2004 - seldom
        registration=chance.choice(("when-ready", "when-ready", "when-started")),
        close_idle=chance.random() < 0.8,  # noqa: PLR2004 - mostly
    )


def _world(chance: random.Random, *, migrates: bool) -> World:
    def model() -> ReplicaModel:
        return ReplicaModel(
            start_seconds=Spread(median=chance.choice((0.1, 0.5, 2.0)), spread=1.3),
            ready_seconds=chance.choice((0.0, 0.0, 0.4)),
            service_seconds=Spread(median=chance.choice((0.002, 0.02, 0.2)), spread=1.5),
            workers=chance.choice((2, 8)),
            warm_up_seconds=chance.choice((0.0, 0.0, 1.0)),
            warm_up_factor=chance.choice((1.0, 3.0)),
            on_stop=chance.choice(("finish", "finish", "finish", "finish", "cut", "ignore")),
            stop_listening_seconds=chance.choice((0.0, 0.0, 0.05)),
            stop_seconds=chance.choice((0.0, 0.05, 0.5)),
            keep_alive_seconds=chance.choice((5.0, 75.0, 0.5)),
            crash_rate=chance.choice((0.0, 0.0, 0.0, 0.0, 0.0, 60.0)),
            fail_rate=chance.choice((0.0, 0.0, 0.0, 0.0, 0.2)),
        )

    breaks: list[Breaks] = []
    if migrates and chance.random() < 0.4:  # noqa: PLR2004 - now and then
        breaks.append(Breaks(version=OLD, since=MIGRATION, ready=chance.random() < 0.5))  # noqa: PLR2004 - half
    if chance.random() < 0.1:  # noqa: PLR2004 - seldom
        breaks.append(Breaks(version=NEW, ready=chance.random() < 0.5))  # noqa: PLR2004 - half
    post = Endpoint(name="POST /", lock=_TABLE if chance.random() < 0.5 else None)  # noqa: PLR2004 - half
    return World(
        replica=model(),
        versions={NEW: model()} if chance.random() < 0.4 else {},  # noqa: PLR2004 - now and then
        network=Network(
            delay_seconds=chance.choice((0.0002, 0.002, 0.02)),
            loss=chance.choice((0.0, 0.0, 0.0, 0.01)),
            retransmit_seconds=0.2,
        ),
        endpoints=(Endpoint(name="GET /"), post)[: chance.choice((1, 2, 2))],
        breaks=tuple(breaks),
        schema_paths=(HealthPolicy().path,),
        migrations=(
            MigrationModel(
                name=MIGRATION,
                seconds=chance.choice((0.1, 1.0)),
                locks=chance.choice((None, _TABLE)),
                fails=chance.choice((None, None, None, "55P03")),
            ),
        ),
    )


def _faults(chance: random.Random) -> tuple[Fault, ...]:
    if chance.random() < 0.7:  # noqa: PLR2004 - mostly none
        return ()
    return tuple(
        Fault(
            do=chance.choice(("kill", "freeze", "block")),
            phase=chance.choice(("baseline", "rollout", "rollout", "settle")),
            after_seconds=round(chance.random() * 5, 2),
            seconds=chance.choice((0.3, 2.0)),
            table=_TABLE,
        )
        for _ in range(chance.choice((1, 1, 2)))
    )
