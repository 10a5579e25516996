"""Which locks of Postgres conflict: PURE (PostgreSQL documentation, section 13.3.1)."""

from collections.abc import Mapping

_ORDER = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
"""The modes of a table's lock, as `pg_locks.mode` names them; the weakest first."""

# Row by row, the modes that the mode of the row conflicts with; columns as in `_ORDER`.
_CONFLICTS = (
    "-------x",
    "------xx",
    "----xxxx",
    "---xxxxx",
    "--xx-xxx",
    "--xxxxxx",
    "-xxxxxxx",
    "xxxxxxxx",
)

CONFLICTING: Mapping[str, frozenset[str]] = {
    mode: frozenset(other for other, mark in zip(_ORDER, row, strict=True) if mark == "x")
    for mode, row in zip(_ORDER, _CONFLICTS, strict=True)
}
"""By mode, the modes that it conflicts with."""


def conflict(wanted: str, held: str) -> bool:
    """Whether a session that wants one mode waits for a session that has the other one.

    A mode that no table has says nothing, so it may conflict.
    """
    return wanted not in CONFLICTING or held not in CONFLICTING or held in CONFLICTING[wanted]


def strongest(modes: frozenset[str], against: str) -> str | None:
    """The strongest of these modes that conflicts with `against`; None if none does."""
    found = [mode for mode in modes if conflict(against, mode)]
    return max(
        found, key=lambda mode: (_ORDER.index(mode) if mode in _ORDER else -1, mode), default=None
    )
