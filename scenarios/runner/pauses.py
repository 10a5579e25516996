"""PURE: the pauses of a deployment, and which of them are still ahead."""

from collections.abc import Iterator
from typing import NamedTuple

from orchestrator.policy import Policy


class Pause(NamedTuple):
    """A pause of a deployment.

    Attributes:
        share: the share of the traffic that the new version has then, in percent.
        text: where it is, and how it ends.
    """

    share: float
    text: str


def pauses_of(policy: Policy, strategy: str) -> tuple[Pause, ...]:
    """All pauses of a deployment, in order."""
    if strategy == "canary":
        return tuple(_of_canary(policy))
    if strategy == "blue-green":
        return tuple(_of_blue_green(policy))
    return ()


def _of_canary(policy: Policy) -> Iterator[Pause]:
    share = 0.0
    for step in policy.canary_plan:
        if step.weight is not None:
            share = step.weight
        elif step.pause == "promoted":
            yield Pause(share, f"at {share:g} % until promoted")
        elif step.pause:
            yield Pause(share, f"at {share:g} % for {step.pause:g} s")


def _of_blue_green(policy: Policy) -> Iterator[Pause]:
    if not policy.auto_promotion:
        yield Pause(0.0, "before the switch until promoted")
    elif policy.auto_promotion_seconds:
        yield Pause(0.0, f"before the switch for {policy.auto_promotion_seconds:g} s")
    if policy.scale_down_delay_seconds:
        delay = policy.scale_down_delay_seconds
        yield Pause(100.0, f"before the old replicas stop, for {delay:g} s")


def ahead(pauses: tuple[Pause, ...], share: float, *, pausing: bool) -> tuple[str, ...]:
    """The texts of those that have not begun yet.

    Args:
        pauses: all of them.
        share: what share the new version has now, in percent.
        pausing: whether one of them is under way, which is then none of those ahead.
    """
    return tuple(
        one.text for one in pauses if one.share > share or (one.share == share and not pausing)
    )
