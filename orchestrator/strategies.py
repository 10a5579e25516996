"""Strategies: coroutines that use the verbs of a Rollout, and nothing else.

Each replaces the serving replicas by `policy.replicas` replicas of the new version. A verb that
fails ends the strategy; the release then rolls the deployment back.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from orchestrator.model import Version
from orchestrator.policy import WHOLE, Policy
from orchestrator.rollout import Replicas, Rollout

Strategy: TypeAlias = Callable[[Rollout, Version, Policy], Awaitable[None]]


async def naive(rollout: Rollout, new: Version, policy: Policy) -> None:
    """Stop all old replicas, then start the new ones, as a restart by hand does."""
    await rollout.stop(rollout.serving())
    fresh = await rollout.start(new, policy.replicas)
    await rollout.wait_ready(fresh)
    await rollout.attach(fresh)


async def rolling(rollout: Rollout, new: Version, policy: Policy) -> None:
    """Replace a few replicas at a time, within `max_surge` and `max_unavailable`.

    At every moment at most `replicas + max_surge` replicas exist, including those that are still
    stopping, and at least `replicas - max_unavailable` serve.
    """
    old = list(rollout.serving())
    ready = 0
    while old or ready < policy.replicas:
        spare = len(old) + ready - (policy.replicas - policy.unavailable)
        leaving, old = old[: max(spare, 0)], old[max(spare, 0) :]
        await rollout.drain(leaving)
        await rollout.stop(leaving)

        room = policy.replicas + policy.surge - len(old) - ready
        fresh = await rollout.start(new, min(room, policy.replicas - ready))
        await rollout.wait_ready(fresh)
        await rollout.attach(fresh)
        await rollout.soak(fresh)
        ready += len(fresh)


async def blue_green(rollout: Rollout, new: Version, policy: Policy) -> None:
    """Start a full second set of replicas, then switch all traffic at once."""
    blue = rollout.serving()
    green = await rollout.start(new, policy.replicas)
    await rollout.wait_ready(green)
    await rollout.preview(green)
    if not policy.auto_promotion:
        await rollout.pause(green, None, "the switch")
    elif policy.auto_promotion_seconds:
        await rollout.pause(green, policy.auto_promotion_seconds, "the switch")
    await rollout.switch(green)
    await rollout.soak(green)  # the old set still stands by for a rollback
    if policy.scale_down_delay_seconds:
        await rollout.pause(green, policy.scale_down_delay_seconds, "the end of the old set")
    await rollout.drain(blue)
    await rollout.stop(blue)


async def canary(rollout: Rollout, new: Version, policy: Policy) -> None:
    """Give the new version a growing share of the traffic, and judge it at each step."""
    stable = rollout.serving()
    fresh: Replicas = ()
    baseline: Replicas = ()
    for step in policy.canary_plan:
        if step.weight is not None:
            wanted = canary_size(step.weight, len(stable), policy.replicas)
            added = await rollout.start(new, wanted - len(fresh))
            added_baseline: Replicas = ()
            if policy.analysis.against == "baseline" and step.weight < WHOLE:
                added_baseline = await rollout.start(rollout.version_of(stable[0]), len(added))
            await rollout.wait_ready((*added, *added_baseline))
            fresh, baseline = fresh + added, baseline + added_baseline
            await rollout.weigh(fresh, step.weight, baseline=baseline)
        elif step.analysis:
            await rollout.analyse(fresh, baseline=baseline)
        elif step.pause == "promoted":
            await rollout.pause(fresh, None, f"the canary of {new.name}")
        else:
            await rollout.pause(fresh, step.pause, f"the canary of {new.name}")
    await rollout.drain((*stable, *baseline))
    await rollout.stop((*stable, *baseline))


def canary_size(percent: float, stable: int, replicas: int) -> int:
    """Return how many replicas a canary with this share of the traffic has.

    They are enough that none of them gets more requests than a replica of the stable version: a
    busier replica is slower, and the canary would be judged for that. They are at most as many as
    will serve in the end, so this holds for shares up to half of the traffic.
    """
    if percent >= WHOLE:
        return replicas
    even = math.ceil(percent * stable / (WHOLE - percent))
    return max(1, min(replicas, even))


STRATEGIES: Mapping[str, Strategy] = {
    "naive": naive,
    "rolling": rolling,
    "blue-green": blue_green,
    "canary": canary,
}
"""The strategies by name."""
