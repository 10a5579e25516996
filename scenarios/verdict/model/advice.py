"""Settings that would have kept a leaving replica from losing requests."""

from collections.abc import Mapping

import msgspec


class Undrained(msgspec.Struct, frozen=True, kw_only=True):
    """How failed requests met a replica that had been asked to stop.

    A lag is the time from a replica's stop signal to the moment when the router sent the request.

    Attributes:
        after_stop: how many failed requests the router sent after the stop signal.
        in_flight: how many were in flight when the replica got its stop signal.
        longest_seconds: the longest lag; absent if all requests were in flight at the stop signal.
        replicas: the longest lag of each replica that got requests after its stop signal.
        noticed: by replica, how long after its stop signal the router's own checks noticed that it
            was gone, where nobody told the router (`checks-only`).
        blind: whether such a router has no checks of its own, so that it could not notice.
    """

    after_stop: int
    in_flight: int
    longest_seconds: float | None
    replicas: Mapping[str, float]
    noticed: Mapping[str, float] = msgspec.field(default_factory=dict)
    blind: bool = False


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """Another setting that would have covered the same requests.

    Attributes:
        setting: the key of the scenario.
        value: the value that would have covered them, in seconds, or as a word. For a lag it is the
            largest such value.
    """

    setting: str
    value: float | str


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """One setting that would have covered failed requests of this run.

    Attributes:
        setting: the key of the scenario, such as `policy.termination.pre_stop_seconds`; `server` if
            the server itself must change.
        value: the smallest value that would have covered the requests, in seconds. For a lag it is
            the largest such value. Absent if it is no number or the evidence does not tell it.
        covers: how many failed requests of this run the setting would have covered.
        sentence: the advice in words, with the reason.
        cause: the cause of the failed requests.
        instead: other settings that would have covered them as well.
    """

    setting: str
    value: float | None = None
    covers: int
    sentence: str
    cause: str = "lifecycle:undrained"
    instead: tuple[Alternative, ...] = ()
