"""The changes of the balancer's backends, as recorded in `backends.ndjson`."""

import msgspec


class BackendChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of one backend, from the event stream of the balancer.

    Attributes:
        at_ns: its time on the machine's monotonic clock.
        change: `attached`, `up`, `down`, `weight`, `draining`, `idle`, `removed`, `ejected`,
            `restored`; `reload` and `reloaded`, without an `id`, when the router began and
            finished to load a new configuration.
        id: the replica.
        state: its state afterwards.
        version: its version.
        weight: its weight.
        reason: why it changed, such as the result of its last check.
        check: how the last check ended, if it is the reason: `passed`, `failed`, `timed_out`,
            `refused` or `leaving`; absent in older runs.
    """

    at_ns: int
    change: str
    id: str = ""
    state: str = ""
    version: str = ""
    weight: float = 0.0
    reason: str | None = None
    check: str | None = None
