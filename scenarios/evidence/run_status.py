"""The state of a run under way, as `hitless ctl RUN status` shows it."""

import msgspec


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One replica.

    Attributes:
        id: its id.
        version: what it runs.
        state: as the router sees it, or `starting`, `stopping`, `died`.
        weight: its weight at the router; absent when the router does not know it.
        in_flight: the requests in flight on it; absent likewise.
        answered: how many requests it has answered so far.
    """

    id: str
    version: str
    state: str
    weight: float | None
    in_flight: int | None
    answered: int


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a run.

    Attributes:
        release: what the release does, in a few words, such as `deploying b, paused`.
        phase: the phase of the run, such as `rollout`.
        step: the number of the release's current step, from 1; 0 before the first.
        steps: all steps of the release, in order.
        doing: the verb under way; absent between verbs.
        seconds: for how long it has been under way.
        lasts_seconds: how long it takes, where that is known.
        gives_up_seconds: after how long it is given up, where there is such a limit.
        waits_for: what waits for a promotion; absent if nothing does.
        next_pauses: the pauses that are still ahead in this deployment, in order.
        shares: the share of the traffic that each version should have, by the router's weights.
        replicas: the fleet.
        ok: how many requests have succeeded so far.
        failed: how many have failed so far.
    """

    release: str
    phase: str = ""
    step: int = 0
    steps: tuple[str, ...] = ()
    doing: str | None = None
    seconds: float = 0.0
    lasts_seconds: float | None = None
    gives_up_seconds: float | None = None
    waits_for: str | None = None
    next_pauses: tuple[str, ...] = ()
    shares: dict[str, float] = msgspec.field(default_factory=dict)
    replicas: tuple[ReplicaStatus, ...] = ()
    ok: int = 0
    failed: int = 0
