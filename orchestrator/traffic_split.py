"""PURE: the weights that give a canary its percentage of the traffic."""

from collections.abc import Collection, Mapping

from orchestrator.policy import WHOLE


def weights(
    percent: float,
    canary: Collection[str],
    others: Collection[str],
    baseline: Collection[str] = (),
) -> dict[str, float]:
    """Return the weights that give the canary together that percentage of the traffic.

    The others share the rest evenly. They keep weight 1, so that a replica that is added later with
    weight 1 gets the same share as they do.

    Args:
        percent: the canary's share, above 0.
        canary: the ids of its replicas, at least one.
        others: the ids of the other serving replicas.
        baseline: the ids of a baseline, which gets as much as the canary, at most half each.
    """
    rest = [*others, *baseline]
    if percent >= WHOLE or not rest:
        return dict.fromkeys(rest, 0.0) | dict.fromkeys(canary, 1.0)
    if baseline and others and 2 * percent < WHOLE:
        part = percent / (WHOLE - 2 * percent) * len(others)
        return (
            dict.fromkeys(others, 1.0)
            | dict.fromkeys(canary, part / len(canary))
            | dict.fromkeys(baseline, part / len(baseline))
        )
    each = percent / (WHOLE - percent) * len(rest) / len(canary)
    return dict.fromkeys(rest, 1.0) | dict.fromkeys(canary, each)


def all_alike(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the same weights for a router that gives each replica as much as any other.

    Args:
        weights: the weights that were wanted; only whether one is above 0 matters.
    """
    return {name: 1.0 if weight > 0 else 0.0 for name, weight in weights.items()}
