"""What a change of the schema did to a copy of the database, as Postgres itself tells it."""

from typing import Literal, TypeAlias

import msgspec

from scenarios.check.lock_result import strength

LeftKind: TypeAlias = Literal[
    "invalid_index",
    "pending_detach",
    "refused_rows",
    "rewritten",
    "unreadable_rows",
    "view_for_table",
]


class StatementEffect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A statement that changed the schema. Tables that the change itself made do not count.

    Attributes:
        text: what the client sent, with its comments.
        transaction: the number of its transaction within the change, from 1 on.
        locks: the tables on which its transaction then held a lock that holds up writes, and the
            strongest mode, as the documentation spells it.
        works_through: the tables of which it read or wrote most rows.
        then_works_through: the same, for what its transaction did before the next such statement.
        rewrites: the table that it wrote anew.
        lock_timeout: whether `lock_timeout` was set.
    """

    text: str
    transaction: int
    locks: tuple[tuple[str, str], ...] = ()
    works_through: tuple[str, ...] = ()
    then_works_through: tuple[str, ...] = ()
    rewrites: str | None = None
    lock_timeout: bool = False

    def mode(self, table: str) -> str | None:
        """The mode of the lock on a table; None if writes to it go on."""
        return next((mode for name, mode in self.locks if name == table), None)

    @property
    def locked(self) -> tuple[str, ...]:
        """The tables with a lock, the strongest one first."""
        return tuple(name for name, _ in sorted(self.locks, key=lambda one: -strength(one[1])))


class LeftBehind(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something in the database that was not there before the change.

    Attributes:
        kind: what it is.
        name: the index, the constraint, the partition, the column, or the table.
        table: the table that it belongs to.
        rows: how many rows it concerns.
        sqlstates: with which codes Postgres refuses what worked before.
        message: what Postgres says of the first of these.
    """

    kind: LeftKind
    name: str
    table: str
    rows: int = 0
    sqlstates: tuple[str, ...] = ()
    message: str = ""


class ChangeEffects(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one change did.

    Attributes:
        change: the change.
        statements: its statements that changed the schema, in order.
        changed_rows: the tables of which one transaction changed most rows.
        left_behind: what was not there before.
        failed: why it failed; absent if it did not.
        sqlstate: the code of that.
    """

    change: str
    statements: tuple[StatementEffect, ...] = ()
    changed_rows: tuple[str, ...] = ()
    left_behind: tuple[LeftBehind, ...] = ()
    failed: str | None = None
    sqlstate: str | None = None
