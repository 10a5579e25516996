"""Active health checks, the pure part: what the results of probes say about a backend.

A backend is admitted after `rise` good probes in a row, and leaves after `fall` bad ones. Two
results count at once, since they are proof: a refused connection (nobody listens),
and the shutdown status (the backend itself says that it is leaving).

Probes come every `interval` while the state is settled, and every `fast_interval` while a new
backend waits for admission or a row has begun that may end in another state (HAProxy's `inter`
and `fastinter`). Each pause is varied by ± `jitter`, so that many backends are not probed in step.
"""

from dataclasses import dataclass
from enum import Enum

from balancer.backend import State


class ProbeResult(Enum):
    """How one probe ended."""

    PASSED = "passed"
    FAILED = "failed"  # a reset, or a status that is not expected
    TIMED_OUT = "timed_out"  # no complete answer within the policy's timeout
    REFUSED = "refused"  # nobody listens there
    LEAVING = "leaving"  # the backend announces its shutdown


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """How backends are probed.

    Attributes:
        path: what is asked for, by GET on a fresh connection.
        interval: seconds between probes of a backend whose state is settled.
        fast_interval: seconds between probes while a change of state may be under way.
        timeout: seconds after which a probe has failed.
        rise: how many good probes in a row admit a backend.
        fall: how many bad ones in a row take it out.
        jitter: by how much each pause varies, as a part of it.
        expect: the statuses that are good, as (first, last) pairs.
        active: whether a backend that is up is probed; if not, probes only admit backends, and look
            at one that live traffic has trouble with.
        leaving: the status by which a backend announces its shutdown; it is drained at once.
    """

    path: str = "/"
    interval: float = 1.0
    fast_interval: float = 0.25
    timeout: float = 1.0
    rise: int = 2
    fall: int = 3
    jitter: float = 0.1
    expect: tuple[tuple[int, int], ...] = ((200, 299),)
    leaving: int | None = None
    active: bool = True

    def judge(self, status: int) -> ProbeResult:
        """The result of a probe that got a complete answer with this status."""
        if status == self.leaving:
            return ProbeResult.LEAVING
        if any(first <= status <= last for first, last in self.expect):
            return ProbeResult.PASSED
        return ProbeResult.FAILED


class Streak:
    """Counts the equal probe results in a row of one backend."""

    __slots__ = ("_policy", "failures", "passes")

    def __init__(self, policy: HealthPolicy) -> None:
        self._policy = policy
        self.passes = 0
        self.failures = 0

    def observe(self, state: State, probe: ProbeResult) -> State | None:
        """Count a probe of a backend in `state`; returns the state to change to, or None.

        A draining or removed backend goes nowhere: a late good probe must not bring it back.
        """
        if state in (State.DRAINING, State.REMOVED):
            return None
        if probe is ProbeResult.LEAVING:
            return State.DRAINING
        if probe is ProbeResult.PASSED:
            self.failures = 0
            self.passes += 1
            rises = state is not State.UP and self.passes >= self._policy.rise
            return State.UP if rises else None
        self.passes = 0
        self.failures += 1
        proven = probe is ProbeResult.REFUSED or self.failures >= self._policy.fall
        return State.DOWN if state is State.UP and proven else None

    def pause(self, state: State, chance: float) -> float | None:
        """Seconds until the next probe; None: none is due.

        Args:
            state: the backend's state now.
            chance: a random number from 0 to 1.
        """
        policy = self._policy
        row = self.failures if state is State.UP else self.passes
        unsettled = state is State.NEW or row > 0
        if state is State.UP and not unsettled and not policy.active:
            return None
        base = policy.fast_interval if unsettled else policy.interval
        return base * (1 + policy.jitter * (2 * chance - 1))
