"""PURE: how replicas are started and stopped: the order of the steps, and their delays.

A platform does two things when a replica leaves: it tells the router to send no more requests
there, and it asks the replica to stop. `TerminationPolicy` says in which order this happens and how
late the news arrives. Requests fail when the replica stops listening before the router knows. Other
platforms' defaults are in `orchestrator.personas`.
"""

import math
import random
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from orchestrator.values import NotNegative, PolicyError, check_numbers

Order = Literal["drain-first", "together", "stop-first", "checks-only"]
Registration = Literal["when-ready", "when-started"]
# `TerminationPolicy` checks the numbers itself: msgspec (0.20) reads wrong memory for a constrained
# float in a union with a tuple of fixed length.
Lag = float | tuple[float, float]

_KILL_EXTENSION_SECONDS = 2.0


class TerminationPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How replicas are started and stopped; the defaults drop no request.

    A lag is a number of seconds, or `[least, most]`: each replica then has a lag of its own between
    the two, which follows from the run's seed and the replica's id.

    Attributes:
        order: `drain-first`: the router is told, the requests in flight end, and only then the
            replica is asked to stop; `together`: the router is told and the replica is asked to
            stop at the same time; `stop-first`: the router is told after the replica has ended;
            `checks-only`: nobody tells the router, whose own health checks must notice the end.
        deregistration_lag_seconds: how late the router is told that a replica leaves.
        registration_lag_seconds: how late the router is told of a new replica.
        pre_stop_seconds: how long a leaving replica goes on serving before it gets its stop signal,
            as with Kubernetes' `preStop` hook or Nomad's `shutdown_delay`.
        grace_seconds: how long a replica may take to stop before it is killed; absent: as long as
            its version's `termination_grace_seconds` says.
        grace_includes_pre_stop: whether the grace period begins with `pre_stop_seconds`, as in
            Kubernetes, or with the stop signal. A replica has at least 2 s after its stop signal.
        registration: `when-ready`: the router is told of a new replica when the replica listens, is
            warmed up and ready; `when-started`: as soon as its process is started, so that only
            the router's own checks keep traffic away from it.
        close_idle: whether the router closes its idle connections to a replica when it is told that
            the replica leaves; if not, it keeps using them, but opens no new ones. A router that
            cannot keep using them closes them, and the journal records that for the replica.
    """

    order: Order = "drain-first"
    deregistration_lag_seconds: Lag = 0.0
    registration_lag_seconds: Lag = 0.0
    pre_stop_seconds: NotNegative = 0.0
    grace_seconds: NotNegative | None = None
    grace_includes_pre_stop: bool = False
    registration: Registration = "when-ready"
    close_idle: bool = True

    def __post_init__(self) -> None:
        check_numbers(self)
        for name in ("deregistration_lag_seconds", "registration_lag_seconds"):
            value = getattr(self, name)
            if isinstance(value, tuple):
                least, most = value
                if not (0 <= least <= most and math.isfinite(most)):
                    raise PolicyError(
                        f"{name} is [{least:g}, {most:g}]; it must be [least, most] in seconds, "
                        "with 0 <= least <= most",
                        name,
                    )


DRAIN_FIRST = TerminationPolicy()
"""The order that drops no request, without any delay."""


class Lags(NamedTuple):
    """How long the news about one replica takes to the router, in seconds.

    Attributes:
        registration: the news that it has come.
        deregistration: the news that it leaves.
    """

    registration: float
    deregistration: float


def lags_of(policy: TerminationPolicy, seed: int, replica_id: str) -> Lags:
    """Draw the lags of one replica; the same seed and replica always have the same lags."""
    chance = random.Random(f"{seed}/{replica_id}")  # noqa: S311 - reproducible, not secret
    return Lags(
        registration=_drawn(policy.registration_lag_seconds, chance.random()),
        deregistration=_drawn(policy.deregistration_lag_seconds, chance.random()),
    )


def longest(lag: Lag) -> float:
    """Return the longest lag that can be drawn."""
    return lag[1] if isinstance(lag, tuple) else lag


@dataclass(frozen=True, slots=True)
class LeavingPlan:
    """What a platform does with one leaving replica, from the decision on.

    Attributes:
        tells_router: when the news for the router is sent: at the `start`; after the `end` of the
            replica; or `never`.
        stops: when the stop begins: at the `start`, or after the replica is `drained`.
        lag_seconds: how long the news for the router takes.
        pre_stop_seconds: how long the replica goes on serving before its stop signal.
        kill_after_seconds: how long after its stop signal the replica is killed.
        close_idle: whether the router closes its idle connections to the replica.
    """

    tells_router: Literal["start", "end", "never"]
    stops: Literal["start", "drained"]
    lag_seconds: float
    pre_stop_seconds: float
    kill_after_seconds: float
    close_idle: bool


class LeavingTimeline(NamedTuple):
    """When things happen to one leaving replica, in seconds since the decision.

    Attributes:
        router_told: when the router stops choosing the replica; infinite if it is never told.
        stop_asked: when the replica gets its stop signal.
        killed: when the replica is killed if it still runs.
        ended: when it has ended.
    """

    router_told: float
    stop_asked: float
    killed: float
    ended: float

    @property
    def undrained_seconds(self) -> float:
        """How long requests can still reach the replica after its stop signal."""
        return max(0.0, self.router_told - self.stop_asked)


def leaving_plan(
    policy: TerminationPolicy, lag_seconds: float, grace_seconds: float
) -> LeavingPlan:
    """Plan how one replica leaves.

    Args:
        policy: how replicas leave.
        lag_seconds: the deregistration lag of this replica: see `lags_of`.
        grace_seconds: its version's `termination_grace_seconds`.
    """
    grace = grace_seconds if policy.grace_seconds is None else policy.grace_seconds
    if policy.grace_includes_pre_stop and policy.pre_stop_seconds > 0:
        # Kubernetes extends the grace period once by 2 s when the preStop hook outlasts it.
        grace = max(grace - policy.pre_stop_seconds, _KILL_EXTENSION_SECONDS)
    tells: Literal["start", "end", "never"] = "start"
    if policy.order == "stop-first":
        tells = "end"
    elif policy.order == "checks-only":
        tells = "never"
    return LeavingPlan(
        tells_router=tells,
        stops="drained" if policy.order == "drain-first" else "start",
        lag_seconds=lag_seconds,
        pre_stop_seconds=policy.pre_stop_seconds,
        kill_after_seconds=grace,
        close_idle=policy.close_idle,
    )


def leaving_timeline(
    plan: LeavingPlan, drain_seconds: float, shutdown_seconds: float
) -> LeavingTimeline:
    """Say when each step of a plan happens.

    Args:
        plan: the plan.
        drain_seconds: how long the replica's requests in flight take to end.
        shutdown_seconds: how long the replica takes to end after its stop signal.
    """
    told = plan.lag_seconds
    begins = told + drain_seconds if plan.stops == "drained" else 0.0
    asked = begins + plan.pre_stop_seconds
    killed = asked + plan.kill_after_seconds
    ended = min(asked + shutdown_seconds, killed)
    if plan.tells_router == "end":
        told = ended + plan.lag_seconds
    elif plan.tells_router == "never":
        told = math.inf
    return LeavingTimeline(told, asked, killed, ended)


def _drawn(lag: Lag, share: float) -> float:
    if not isinstance(lag, tuple):
        return lag
    least, most = lag
    return least + share * (most - least)
