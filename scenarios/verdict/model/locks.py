"""Who waited for whom in the database."""

import msgspec


class Blocker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session for whose locks the application waited: the root, not the next in the queue.

    Attributes:
        application: its `application_name`.
        during: the migration or fault that was under way, else what the rollout was doing.
        query: what it ran, or ran last.
        state: its state, such as `idle in transaction`.
        mode: the lock that was waited for most.
        relation: the table that it is on, where there is one.
        waits: how many waits of the application it caused.
        seconds: the longest of them.
        first: when the first began.
        last: when the last was last seen.
        requests: how many requests it delayed.
        slowest: the latency of the slowest of those.
        examples: the first of those.
        queue: the longest of the waits as a chain of who waited for whom, down to the head of the
            queue, as a sentence; absent in older verdicts.
    """

    application: str
    during: str
    query: str | None = None
    state: str | None = None
    mode: str
    relation: str | None = None
    waits: int
    seconds: float
    first: float
    last: float
    requests: int = 0
    slowest: float | None = None
    examples: tuple[str, ...] = ()
    queue: str | None = None


class Rewrite(msgspec.Struct, frozen=True, kw_only=True):
    """A table that was written anew, under ACCESS EXCLUSIVE, as some migrations demand.

    Attributes:
        table: which.
        during: the migration that ran.
        at: when it was seen.
    """

    table: str
    during: str
    at: float


class Locks(msgspec.Struct, frozen=True, kw_only=True):
    """Who waited for whom in the database.

    Attributes:
        watched: whether anybody looked.
        waits: how often a session of the application waited for a lock.
        longest: the longest of these waits in seconds; absent without any.
        requests: how many requests spent at least half of their time so.
        blockers: whom they waited for, the one that delayed most requests first.
        deadlocks: transactions that Postgres gave up for a deadlock (40P01).
        gave_way: tries of migrations that gave up waiting for their lock (55P03).
        rewrites: tables that were written anew.
        invalid_indexes: indexes that a failed build left behind.
    """

    watched: bool = False
    waits: int = 0
    longest: float | None = None
    requests: int = 0
    blockers: tuple[Blocker, ...] = ()
    deadlocks: int = 0
    gave_way: int = 0
    rewrites: tuple[Rewrite, ...] = ()
    invalid_indexes: tuple[str, ...] = ()
