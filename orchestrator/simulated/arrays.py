"""Draws by the thousand, with numpy; each is the number that Python draws one by one."""

import random

import numpy as np
from numpy.typing import NDArray

from orchestrator.simulated.chance import Distribution

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def generator(chance: random.Random) -> np.random.Generator:
    """The same stream from its present state: both are a Mersenne Twister with 53 random bits.

    The given one must not be drawn from any more.
    """
    _, words, _ = chance.getstate()
    twister = np.random.MT19937()
    twister.state = {
        "bit_generator": "MT19937",
        "state": {"key": np.array(words[:-1], dtype=np.uint32), "pos": words[-1]},
    }
    return np.random.Generator(twister)


_MOST_KNOWN = 256
_KNOWN: dict[int, tuple[Distribution, Ints, Floats]] = {}


def _quantiles_of(distribution: Distribution) -> tuple[Ints, Floats]:
    """The quantiles, and the steps between them; made once, since that takes long."""
    known = _KNOWN.get(id(distribution))
    if known is None:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        # With the distribution, so that its id is not given to another one.
        quantiles = np.array(distribution.quantiles, dtype=np.int64)
        known = (distribution, quantiles, np.diff(quantiles).astype(np.float64))
        _KNOWN[id(distribution)] = known
    return known[1:]


def at_many(distribution: Distribution, shares: Floats) -> Ints:
    """What `Distribution.at` gives for each share, bit for bit."""
    quantiles, steps = _quantiles_of(distribution)
    if distribution.is_constant:
        return np.full(len(shares), quantiles[0], dtype=np.int64)
    place = shares * (len(quantiles) - 1)
    index = place.astype(np.int64)
    place -= index
    place *= steps[index]
    found: Ints = quantiles[index]
    found += place.astype(np.int64)
    return found


def kinds(shares: Floats, bounds: list[float]) -> Ints:
    """For each share, the first number whose bound is above it."""
    if len(bounds) == 1:
        return np.zeros(len(shares), dtype=np.int64)
    return np.searchsorted(np.array(bounds), shares, side="right").astype(np.int64)
