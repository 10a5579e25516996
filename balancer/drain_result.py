"""How a drain ended: what the control plane says, and what its client hears."""

from typing import NamedTuple


class DrainResult(NamedTuple):
    """How a drain ended.

    Attributes:
        cut: exchanges that the deadline ended; each is a failure that a client saw.
        cut_tunnels: upgraded connections that it ended.
        seconds: how long the drain took.
    """

    cut: int
    cut_tunnels: int
    seconds: float
