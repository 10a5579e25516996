"""Which locks the changes of a schema hold, for how long, and how that grows with the rows."""

from itertools import combinations

import msgspec

BLOCKING = ("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE")
"""The modes that hold up writes, the weakest first; only the last one holds up reads, too."""


class HeldLock(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The strongest lock that a change holds on a table which was there before.

    Attributes:
        change: the change.
        table: the table.
        mode: the lock mode, in Postgres' words.
        statement: the statement that takes the lock.
        seconds: how long it is held until the commit, by the number of existing rows.
        rewrites: whether the change writes the whole table anew.
        waited: how long the change waited for locks on the table, by the number of existing rows.
        held_up: how long a session of the application waited behind the change at most, likewise.
            That is at least so long: sessions are looked at every 10 ms.
    """

    change: str
    table: str
    mode: str
    statement: str
    seconds: tuple[tuple[int, float], ...]
    rewrites: bool = False
    waited: tuple[tuple[int, float], ...] = ()
    held_up: tuple[tuple[int, float], ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether writes have to wait for it."""
        return self.mode in BLOCKING

    def at(self, rows: int) -> tuple[float, float]:
        """How long it would be held with so many rows: the least and the most, in seconds.

        Each two measurements make a line, and the result is the range of all lines. A lock that
        does not grow with the rows differs only by chance, so no guess is below the shortest
        measurement.
        """
        lines = [
            (second - first) / (more - less)
            for (less, first), (more, second) in combinations(self.seconds, 2)
            if more != less
        ] or [0.0]
        count, longest = self.seconds[-1]
        shortest = min(seconds for _, seconds in self.seconds)
        guesses = [max(shortest, longest + slope * (rows - count)) for slope in lines]
        return min(guesses), max(guesses)


def mode_in_words(mode: str) -> str:
    """A mode of `pg_locks`, such as `AccessExclusiveLock`, as the documentation spells it."""
    name = mode.removesuffix("Lock")
    return "".join(f" {c}" if c.isupper() else c for c in name).strip().upper()


def strength(mode: str) -> int:
    """How strong a mode is; those that do not hold up writes are 0."""
    return BLOCKING.index(mode) + 1 if mode in BLOCKING else 0
