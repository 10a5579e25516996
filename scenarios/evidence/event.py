"""The journal of a run, as recorded in `events.ndjson`: what was done to the fleet, and when.

Every verb of a rollout writes `started` and then `completed` or `failed`, with the same `number`.
`noted` stands alone: something that was seen rather than done, such as a replica's exit.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

State = Literal["started", "completed", "failed", "noted"]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the journal.

    Attributes:
        at_ns: when, on the machine's monotonic clock.
        verb: what: `phase`, `release`, `deploy`, `migrate`, `start`, `wait_ready`, `attach`,
            `weigh`, `switch`, `soak`, `analyse`, `drain`, `stop`, `rollback`, `replica`, `step`;
            all of them are in `orchestrator.model.Event`.
        state: how far it is.
        number: joins the start of a verb with its end.
        version: the version that it is about.
        replicas: the ids of the replicas that it is about.
        seconds: how long the verb took, at its end.
        floor_seconds: how much of that nobody could have saved: see `docs/architecture.md`.
        error: why it failed.
        detail: what else is known, such as `{"name": "baseline"}` of a phase, `{"cut": 0}` of a
            drain, `{"migration": "0003.backfill"}`, `{"shares": {"a": 75, "b": 25}}`.
    """

    at_ns: int
    verb: str
    state: State
    number: int
    version: str | None = None
    replicas: tuple[str, ...] = ()
    seconds: float | None = None
    floor_seconds: float | None = None
    error: str | None = None
    detail: Mapping[str, object] = msgspec.field(default_factory=dict)
