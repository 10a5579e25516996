"""Simulated runs of any kind that have steady stretches, each from a seed."""

import random
from dataclasses import replace
from typing import Any

from msgspec.structs import replace as changed

from orchestrator.policy import Autoscaling, Policy
from orchestrator.simulated.search.schedule import draw
from orchestrator.simulated.world import SimulatedRun
from orchestrator.simulated.world_settings import Endpoint, ReplicaModel, Spread, Staying, World

_RATES = (100.0, 250.0, 500.0, 1000.0, 2000.0)


def any_run(seed: int) -> SimulatedRun:
    """A run as `hitless fuzz` draws it, with more traffic and, in every other one, with ties.

    Ties are events at the same nanosecond: users come at gaps that divide a second, and all that
    replicas do takes a multiple of a gap.
    """
    chance = random.Random(seed)
    ties = chance.random() < 0.5
    schedule = draw(seed)
    run = changed(
        schedule,
        world=_world(chance, schedule.world, ties=ties),
        policy=_policy(chance, schedule.policy),
        rate=chance.choice(_RATES) if ties else float(chance.randint(50, 1500)),
    ).run()
    if ties:
        run = replace(run, health=replace(run.health, jitter=chance.choice((0.0, 0.1))))
    return replace(
        run,
        even=chance.random() < (0.6 if ties else 0.1),
        timeout_seconds=chance.choice((10.0, 10.0, 1.0, 0.1, 0.02, 0.005)),
        baseline_seconds=chance.choice((0.3, 0.5, 1.0)),
        settle_seconds=chance.choice((0.0, 0.3)),
        limit_seconds=300.0,
    )


def _world(chance: random.Random, world: World, *, ties: bool) -> World:
    kinds = tuple(
        Endpoint(
            name=f"GET /{number}",
            weight=chance.choice((1.0, 2.0, 0.0)) if number else 1.0,
            service_factor=chance.choice((1, 1, 2, 3)),
        )
        for number in range(chance.choice((1, 1, 2, 3)))
    )
    workers = chance.choice((1, 2, 3, 4, 8))
    service = Spread(
        median=chance.choice((0.0, 0.001, 0.002, 0.004, 0.01, 0.02))
        if ties
        else round(chance.uniform(0.0005, 0.03), 6),
        spread=chance.choice((1.0, 1.0, 1.0, 1.3, 1.8, 3.0)),
    )

    def model(one: ReplicaModel, workers: int) -> ReplicaModel:
        rare: dict[str, Any] = {}
        if ties:
            rare = {
                "start_seconds": chance.choice((0.1, 0.5, 1.0)),
                "stop_seconds": chance.choice((0.0, 0.05, 0.1)),
                "stop_listening_seconds": chance.choice((0.0, 0.0, 0.05, 0.1)),
            }
        return changed(
            one,
            service_seconds=service,
            workers=workers,
            keep_alive_seconds=chance.choice(
                (75.0, 75.0, 5.0, 1.0, 0.5, 0.1, 0.02, round(chance.uniform(0.005, 1.2), 4))
            ),
            fail_rate=chance.choice((0.0, 0.0, one.fail_rate)),
            crash_rate=chance.choice((0.0, 0.0, one.crash_rate)),
            **rare,
        )

    delay = chance.choice((0.0, 0.0002, 0.001, 0.005))
    return changed(
        world,
        endpoints=kinds if chance.random() < 0.85 else world.endpoints,
        replica=model(world.replica, workers),
        versions={
            name: model(one, chance.choice((workers, workers, 5)))
            for name, one in world.versions.items()
        },
        network=changed(
            world.network,
            delay_seconds=delay if ties else round(chance.uniform(0, 0.005), 6),
            loss=chance.choice((0.0, 0.0, 0.0, world.network.loss)),
        ),
        breaks=chance.choice(((), world.breaks)),
        staying=chance.choice(
            ((), (), (), (), (Staying(endpoint=0, users=2, every_seconds=0.37),))
        ),
    )


def _policy(chance: random.Random, policy: Policy) -> Policy:
    replicas = chance.choice((1, 2, 2, 3, 4, 6, 8, 12, 20, 40, 60))
    scaling = Autoscaling(
        target=chance.choice((0.2, 0.5, 1.0)), most=2 * replicas, scale_down_delay_seconds=0.5
    )
    scales = policy.healing.enabled and chance.random() < 0.2
    return changed(
        policy,
        replicas=replicas,
        max_surge=chance.choice(("25%", "50%", "100%", 1, 2)),
        max_unavailable=chance.choice((0, 0, "25%")),
        progress_deadline_seconds=10.0,
        autoscaling=scaling if scales else None,
    )
