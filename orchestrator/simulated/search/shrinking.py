"""The smallest schedule that breaks the same invariant.

A step of the search makes one part of the schedule simpler: a setting gets its default, a fault or
a step of the plan is left out, there are fewer replicas or fewer requests. What still breaks the
invariant is kept, until no step is left that does (Zeller and Hildebrandt, "Simplifying and
Isolating Failure-Inducing Input", 2002).
"""

from collections.abc import Callable, Iterator
from dataclasses import fields
from dataclasses import replace as replaced
from typing import Any

import msgspec

from balancer.health import HealthPolicy
from orchestrator.policy import Policy, PolicyError
from orchestrator.simulated.request import Handling
from orchestrator.simulated.search.schedule import Schedule
from orchestrator.simulated.world_settings import ReplicaModel, World
from orchestrator.termination import TerminationPolicy

Breaks = Callable[[Schedule], bool]

MOST_TRIALS = 400


def shrink(schedule: Schedule, breaks: Breaks, most: int = MOST_TRIALS) -> Schedule:
    """Make a schedule as simple as it goes while it still breaks.

    Args:
        schedule: one that breaks.
        breaks: whether a schedule breaks the same invariant.
        most: after how many trials to be content.
    """
    left = most
    while True:
        for simpler in _simpler(schedule):
            if left == 0:
                return schedule
            left -= 1
            if breaks(simpler):
                schedule = simpler
                break
        else:
            return schedule


def _simpler(schedule: Schedule) -> Iterator[Schedule]:
    """Schedules with one thing less, the greatest steps first."""
    change = msgspec.structs.replace
    yield from _fewer(schedule)
    for rate in (5.0, 20.0, 50.0):
        if rate < schedule.rate:
            yield change(schedule, rate=rate)
    for world in _simpler_worlds(schedule.world):
        yield change(schedule, world=world)
    for policy in _simpler_policies(schedule.policy):
        yield change(schedule, policy=policy)
    for health in _plainer(schedule.health, HealthPolicy()):
        yield change(schedule, health=health)
    for handling in _plainer(schedule.handling, Handling()):
        yield change(schedule, handling=handling)
    plain = Schedule()
    for name in ("passive_checks", "strategy", "baseline_seconds", "settle_seconds", "seed"):
        if getattr(schedule, name) != getattr(plain, name):
            yield change(schedule, **{name: getattr(plain, name)})


def _fewer(schedule: Schedule) -> Iterator[Schedule]:
    """Schedules with fewer faults, or with fewer steps."""
    faults, steps = schedule.faults, schedule.plan
    if faults:
        yield msgspec.structs.replace(schedule, faults=())
    for index in range(len(faults)):
        rest = faults[:index] + faults[index + 1 :]
        yield msgspec.structs.replace(schedule, faults=rest)
    for index in range(len(steps)):
        plan = steps[:index] + steps[index + 1 :]
        if "deploy" in plan and plan[0] != "undo":
            yield msgspec.structs.replace(schedule, plan=plan)


def _plainer(part: Any, plain: Any) -> Iterator[Any]:  # noqa: ANN401 - any dataclass
    """The settings of a dataclass with one of them at its default."""
    for one in fields(part):
        if getattr(part, one.name) != getattr(plain, one.name):
            yield replaced(part, **{one.name: getattr(plain, one.name)})


def _simpler_worlds(world: World) -> Iterator[World]:
    for change in _with_defaults(world, World()):
        if change.endpoints:
            yield change
    if len(world.endpoints) > 1:
        for one in world.endpoints:
            yield msgspec.structs.replace(world, endpoints=(one,))
    for model in _with_defaults(world.replica, ReplicaModel()):
        yield msgspec.structs.replace(world, replica=model)
    for version, own in world.versions.items():
        for model in _with_defaults(own, ReplicaModel()):
            versions = {**world.versions, version: model}
            yield msgspec.structs.replace(world, versions=versions)


def _simpler_policies(policy: Policy) -> Iterator[Policy]:
    yield from _with_defaults(policy, Policy())
    for termination in _with_defaults(policy.termination, TerminationPolicy()):
        yield msgspec.structs.replace(policy, termination=termination)
    for replicas in range(1, policy.replicas):
        try:
            yield msgspec.structs.replace(policy, replicas=replicas)
        except PolicyError:
            continue


def _with_defaults(struct: Any, plain: Any) -> Iterator[Any]:  # noqa: ANN401 - any settings
    """The settings with one of them at its default."""
    for name in struct.__struct_fields__:
        if getattr(struct, name) != getattr(plain, name):
            try:
                yield msgspec.structs.replace(struct, **{name: getattr(plain, name)})
            except PolicyError:
                continue
