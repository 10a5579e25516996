"""The journal of a run, as recorded in `events.ndjson`: what was done to the fleet, and when.

Every verb of a rollout writes `started` and then `completed` or `failed`, with the same `number`.
`noted` stands alone, for something that was observed and not done, such as a replica's exit.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

State = Literal["started", "completed", "failed", "noted"]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the journal.

    Attributes:
        at_ns: its time on the machine's monotonic clock.
        verb: what is done, such as `deploy`, `migrate` or `drain`; `orchestrator.verbs` has all
            verbs.
        state: whether the verb has started, completed or failed, or was only noted.
        number: the same for the start and the end of one verb.
        version: the version that the verb is about.
        replicas: the ids of the replicas that the verb is about.
        seconds: how long the verb took; only at its end.
        floor_seconds: the part of that time that no orchestrator could have saved: see
            `docs/architecture.md`.
        error: why the verb failed.
        detail: further facts, such as `{"name": "baseline"}` of a phase, `{"cut": 0}` of a
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
