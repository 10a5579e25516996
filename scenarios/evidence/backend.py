"""What the balancer made of its backends, as recorded in `backends.ndjson`."""

import msgspec


class BackendChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of one backend, as the balancer's own event stream tells it.

    Attributes:
        at_ns: when, on the machine's monotonic clock.
        change: `attached`, `up`, `down`, `weight`, `draining`, `idle`, `removed`, `ejected`,
            `restored`; `reload` and `reloaded` when the router itself began and ended to take a new
            configuration, which have no `id`.
        id: the replica.
        state: what it is afterwards.
        version: its version.
        weight: its weight.
        reason: why, such as what its last check said.
        check: how that check ended, where it is why: `passed`, `failed`, `timed_out`, `refused` or
            `leaving`; absent in older runs.
    """

    at_ns: int
    change: str
    id: str = ""
    state: str = ""
    version: str = ""
    weight: float = 0.0
    reason: str | None = None
    check: str | None = None
