"""PURE: from a share of the traffic in percent to the weights that give it."""

from collections.abc import Collection

from orchestrator.policy import WHOLE


def weights(
    percent: float,
    canary: Collection[str],
    others: Collection[str],
    twins: Collection[str] = (),
) -> dict[str, float]:
    """The weights that give the canary together that many percent of the traffic.

    The others share the rest evenly, and keep weight 1, so that one that comes later has its fair
    share with it.

    Args:
        percent: the canary's share, above 0.
        canary: who gets it, at least one.
        others: who else serves.
        twins: a baseline that gets as much as the canary does, up to half of everything each.
    """
    rest = [*others, *twins]
    if percent >= WHOLE or not rest:
        return dict.fromkeys(rest, 0.0) | dict.fromkeys(canary, 1.0)
    if twins and others and 2 * percent < WHOLE:
        part = percent / (WHOLE - 2 * percent) * len(others)
        return (
            dict.fromkeys(others, 1.0)
            | dict.fromkeys(canary, part / len(canary))
            | dict.fromkeys(twins, part / len(twins))
        )
    each = percent / (WHOLE - percent) * len(rest) / len(canary)
    return dict.fromkeys(rest, 1.0) | dict.fromkeys(canary, each)
