"""Postgres' table of conflicting lock modes."""

from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.lock_modes import CONFLICTING, conflict, strongest

MODES = st.sampled_from(sorted(CONFLICTING))


@given(MODES, MODES)
def test_conflicts_are_mutual(one: str, other: str) -> None:
    """If one mode conflicts with another, the other conflicts with it."""
    assert conflict(one, other) == conflict(other, one)


@given(MODES)
def test_access_exclusive_conflicts_with_all_and_access_share_only_with_it(mode: str) -> None:
    """The two ends of the table: a plain read, and most forms of ALTER TABLE."""
    assert conflict("AccessExclusiveLock", mode)
    assert conflict("AccessShareLock", mode) == (mode == "AccessExclusiveLock")


def test_writers_do_not_wait_for_writers_nor_index_builds_for_readers() -> None:
    """Pairs that people know from practice."""
    assert not conflict("RowExclusiveLock", "RowExclusiveLock")
    assert not conflict("ShareLock", "ShareLock")
    assert conflict("ShareLock", "RowExclusiveLock")
    assert not conflict("ShareUpdateExclusiveLock", "RowExclusiveLock")
    assert conflict("ShareUpdateExclusiveLock", "ShareUpdateExclusiveLock")
    assert sum(len(row) for row in CONFLICTING.values()) == 38


@given(st.frozensets(MODES), MODES)
def test_the_strongest_conflicting_mode_conflicts(modes: frozenset[str], against: str) -> None:
    """It is one of the given modes, and there is none exactly if none conflicts."""
    found = strongest(modes, against)
    assert (found is None) == (not any(conflict(against, mode) for mode in modes))
    assert found is None or (found in modes and conflict(against, found))


def test_a_mode_of_no_table_says_nothing() -> None:
    """Predicate locks and such are not in the table, so they may conflict."""
    assert conflict("AccessShareLock", "SIReadLock")
