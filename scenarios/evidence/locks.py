"""Who waited for whose lock in the database, as recorded in `locks.ndjson`.

One line for each wait that was seen, written when it was over: a session that waits, and the chain
of those that it waits for, down to the one that waits for nobody. The direct blocker is often only
the next in the queue; the last of the chain is the one to blame.
"""

import msgspec


class DatabaseSession(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One session of the database server.

    Attributes:
        pid: the process id of its backend.
        application: its `application_name`.
        state: such as `active` or `idle in transaction`.
        query: what it runs, or ran last; shortened.
        transaction_seconds: for how long its transaction had been open when it was first seen.
        mode: in the chain of a wait, the lock by which it stands in the way: the one that it holds,
            or, where it waits itself, the one that it wants. Absent if it was not seen.
    """

    pid: int
    application: str = ""
    state: str | None = None
    query: str | None = None
    transaction_seconds: float | None = None
    mode: str | None = None


class LockWait(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One wait for one lock, behind one root.

    Attributes:
        at_ns: when it began, by the server's own account (`pg_locks.waitstart`).
        end_ns: when it was last seen: it certainly lasted that long.
        gone_ns: when it was first not seen any more: it lasted no longer.
        waiter: who waited.
        mode: the lock that it wanted, such as `AccessExclusiveLock`.
        kind: what kind of thing it is on: `relation`, `transactionid` (a row that another
            transaction has changed), `tuple`, `advisory`, ...
        relation: the table or index, where there is one.
        chain: who stood in the way, the nearest first, the root last.
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
        """The session that all others wait for; None if it was gone before it could be seen."""
        return self.chain[-1] if self.chain else None

    @property
    def seconds(self) -> float:
        """How long it certainly lasted."""
        return max(self.end_ns - self.at_ns, 0) / 1e9
