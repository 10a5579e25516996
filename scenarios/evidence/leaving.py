"""The evidence of a run on how replicas should leave, and how each of them left."""

from typing import Literal

import msgspec


class LeavingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How replicas were started and stopped: `policy.termination` of the scenario.

    Attributes:
        order: `drain-first`, `together`, `stop-first` or `checks-only`.
        deregistration_lag_seconds: the least and the most time that the news that a replica leaves
            took to the router.
        registration_lag_seconds: the same for the news that a replica has come.
        pre_stop_seconds: how long a leaving replica went on serving before its stop signal.
        grace_seconds: how long a replica could take to stop; absent: as its version says.
        grace_includes_pre_stop: whether that time began with `pre_stop_seconds`.
        registration: `when-ready` or `when-started`.
        close_idle: whether the router closed its idle connections to a leaving replica.
        drain_timeout_seconds: how long requests in flight could take to end.
    """

    order: Literal["drain-first", "together", "stop-first", "checks-only"] = "drain-first"
    deregistration_lag_seconds: tuple[float, float] = (0.0, 0.0)
    registration_lag_seconds: tuple[float, float] = (0.0, 0.0)
    pre_stop_seconds: float = 0.0
    grace_seconds: float | None = None
    grace_includes_pre_stop: bool = False
    registration: Literal["when-ready", "when-started"] = "when-ready"
    close_idle: bool = True
    drain_timeout_seconds: float = 30.0


class RequestHandling(msgspec.Struct, frozen=True, kw_only=True):
    """What our own balancer did with requests and backends; the defaults lose the fewest.

    Attributes:
        retry: whether a request was tried again when a backend refused or lost it.
        passive_checks: whether failures of live requests took a backend out.
        active_checks: whether a backend that was up was checked.
        reuse_post: whether a POST went on a kept connection, which its backend may be closing.
    """

    retry: bool = True
    passive_checks: bool = True
    active_checks: bool = True
    reuse_post: bool = False


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """How one replica left; instants are monotonic, in nanoseconds, and absent if not known.

    Attributes:
        began_ns: when the rollout decided that the replica leaves.
        router_told_ns: when the router was told to send it no more requests.
        drained_ns: when its requests in flight had ended, or were cut.
        stop_asked_ns: when it got its stop signal.
        stopped_listening_ns: when its port was closed.
        ended_ns: when its first process had ended.
        children_ended_ns: when the last of its other processes had ended.
        router_noticed_ns: when the router's own checks said that it is down.
        router_checks: False: nobody told the router, and it has no checks of its own, so that it
            could not notice.
        router_forgot_ns: when it was removed from the router.
        idle_kept: whether the router went on using its idle connections, where that was asked for.
        cut: how many of its requests the router cut at the drain's timeout.
        exit_status: its exit status; the negative signal number when a signal ended it.
        killed: whether it was killed after its grace period.
        left_behind: how many of its other processes outlived the first one, and were killed.
    """

    began_ns: int | None = None
    router_told_ns: int | None = None
    drained_ns: int | None = None
    stop_asked_ns: int | None = None
    stopped_listening_ns: int | None = None
    ended_ns: int | None = None
    children_ended_ns: int | None = None
    router_noticed_ns: int | None = None
    router_checks: bool | None = None
    router_forgot_ns: int | None = None
    idle_kept: bool | None = None
    cut: int | None = None
    exit_status: int | None = None
    killed: bool = False
    left_behind: int = 0
