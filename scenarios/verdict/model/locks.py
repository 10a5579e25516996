"""Which sessions of the database waited for the locks of which others."""

import msgspec


class Blocker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session for whose locks the application waited: the root, not the next in the queue.

    Attributes:
        application: its `application_name`.
        during: the migration or fault that was under way, else what the rollout was doing.
        query: its present query, or its last one.
        state: its state, such as `idle in transaction`.
        mode: the mode of the lock that most sessions waited for.
        relation: the table of that lock; absent if it is not a lock on a table.
        waits: how many waits of the application the session caused.
        seconds: the duration of the longest wait.
        first: when the first wait began.
        last: when the last wait was last observed.
        requests: how many requests the session delayed.
        slowest: the latency of the slowest delayed request.
        examples: the ids of the first delayed requests.
        queue: the longest wait as a sentence that names each session and the session that it waited
            for, down to the head of the queue; absent in older verdicts.
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
    """A table that a migration rewrote, which blocks all other access (ACCESS EXCLUSIVE).

    Attributes:
        table: the name of the table.
        during: the migration that was under way.
        at: when the rewrite was observed.
    """

    table: str
    during: str
    at: float


class Locks(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions of the database waited for the locks of which others.

    Attributes:
        watched: whether the run watched the locks.
        waits: how often a session of the application waited for a lock.
        longest: the longest of these waits in seconds; absent if there was no wait.
        requests: how many requests waited for locks for at least half of their time.
        blockers: the sessions that they waited for; the one that delayed most requests comes first.
        deadlocks: how many transactions Postgres aborted because of a deadlock (40P01).
        gave_way: how many attempts of migrations gave up waiting for a lock (55P03).
        rewrites: the tables that were rewritten.
        invalid_indexes: the indexes that a failed build left behind.
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
