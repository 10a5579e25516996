"""The waits for locks of the database, as recorded in `locks.ndjson`.

The file has one line for each observed wait, written after its end. A line has the session that
waited, and the chain of sessions that it waited for. The last session of the chain waits for nobody
and is the root of the wait; the first one is often only the next in the queue.
"""

import msgspec


class DatabaseSession(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One session of the database server.

    Attributes:
        pid: the process id of its backend.
        port: the port of its client; absent over a Unix socket.
        application: its `application_name`.
        state: such as `active` or `idle in transaction`.
        query: its present query, or its last one; shortened.
        transaction_seconds: how long its transaction had been open when it was first observed.
        mode: in the chain of a wait, the mode of the lock that blocks the session before it: the
            lock that it holds, or that it waits for itself. Absent if it was not observed.
    """

    pid: int
    port: int | None = None
    application: str = ""
    state: str | None = None
    query: str | None = None
    transaction_seconds: float | None = None
    mode: str | None = None


class LockWait(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One wait of one session for one lock, with one root.

    Attributes:
        at_ns: its begin according to the server (`pg_locks.waitstart`).
        end_ns: when it was last observed; it lasted at least until then.
        gone_ns: when it was no longer observed; it lasted at most until then.
        waiter: the session that waited.
        mode: the mode of the lock that it waited for, such as `AccessExclusiveLock`.
        kind: what the lock is on: `relation`, `transactionid` (a row that another transaction has
            changed), `tuple`, `advisory`, ...
        relation: the table or index; absent if the lock is on neither.
        chain: the sessions that blocked it, the direct blocker first, the root last.
    """

    at_ns: int
    end_ns: int
    gone_ns: int
    waiter: DatabaseSession
    mode: str
    kind: str
    relation: str | None = None
    chain: tuple[DatabaseSession, ...] = ()

    @property
    def root(self) -> DatabaseSession | None:
        """The session that all others wait for; None if it ended before it could be observed."""
        return self.chain[-1] if self.chain else None

    @property
    def seconds(self) -> float:
        """How long the wait lasted at least."""
        return max(self.end_ns - self.at_ns, 0) / 1e9
