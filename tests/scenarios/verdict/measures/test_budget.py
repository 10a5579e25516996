"""Budgets, nines, and what users saw."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.verdict.measures.budget import budget_of, name_of, nines, windowed
from scenarios.verdict.measures.slo import Ordered
from tests.support import evidence as make
from tests.support.by_rows.slo import Marks

SECOND = 1_000_000_000


def ordered(*requests: tuple[float, bool]) -> Ordered:
    marks = Marks()
    for when, failed in requests:
        marks.add(round(when * SECOND), failed=failed)
    return marks.ordered()


@pytest.mark.parametrize(
    ("objective", "count", "name"),
    [
        (0.9, 1, "one nine (90 %)"),
        (0.99, 2, "two nines (99 %)"),
        (0.999, 3, "three nines (99.9 %)"),
        (0.9995, 3, "above three nines (99.95 %)"),
        (0.9999, 4, "four nines (99.99 %)"),
        (0.99999, 5, "five nines (99.999 %)"),
        (0.5, 0, "above no nines (50 %)"),
    ],
)
def test_nines_have_their_right_names(objective: float, count: int, name: str) -> None:
    """99.9 % is three nines; four nines are 99.99 %."""
    assert nines(objective) == count
    assert name_of(objective) == name


def test_what_an_objective_allows_in_a_year() -> None:
    """Three nines are 8.77 hours a year, four nines 52.6 minutes."""
    assert budget_of(0.999, 1, 0, 1).downtime_a_year_seconds / 3600 == pytest.approx(8.766)
    assert budget_of(0.9999, 1, 0, 1).downtime_a_year_seconds / 60 == pytest.approx(52.596)


def test_a_budget_is_spent_by_failures() -> None:
    """Two failures of 1,000 are twice what three nines allow, and little of a month's."""
    budget = budget_of(None, 1000, 2, 10.0)
    assert budget.allowed == pytest.approx(1.0)
    assert budget.spent == pytest.approx(2.0)
    assert budget.month == pytest.approx(2 / (100 * 30 * 86400 * 0.001))


def test_nothing_is_spent_of_nothing() -> None:
    """Without a request there is no share to tell."""
    budget = budget_of(0.999, 0, 0, 0.0)
    assert (budget.spent, budget.month) == (None, None)


def test_one_hole_differs_from_many_blips() -> None:
    """The same number of failures is one bad stretch, or none that is wholly bad."""
    hole = windowed(ordered(*((n / 10, 50 <= n < 60) for n in range(200))), [1.0])
    blips = windowed(ordered(*((n / 10, n % 20 == 0) for n in range(200))), [1.0])
    assert hole[0].worst == 0.0
    assert hole[0].start == pytest.approx(5.0)
    assert blips[0].worst == pytest.approx(0.9)


@given(st.lists(st.tuples(st.integers(0, 5000), st.booleans()), min_size=1, max_size=60))
def test_the_worst_window_is_the_worst(requests: list[tuple[int, bool]]) -> None:
    """No stretch that begins with a request and lies within the run is worse than the one told."""
    marks = ordered(*((when / 1000, failed) for when, failed in requests))
    last = marks.planned[-1]
    shares = []
    for begin in marks.planned:
        if begin + SECOND <= last:
            inside = [
                failed
                for planned, failed in zip(marks.planned, marks.failed, strict=True)
                if begin <= planned < begin + SECOND
            ]
            shares.append(1 - sum(inside) / len(inside))
    found = windowed(marks, [1.0])
    if shares:
        assert found[0].worst <= min(shares) + 1e-12
    for window in found:
        assert 0 <= window.worst <= 1


def test_users_who_wait_are_down() -> None:
    """Between two of a user's requests the first one's outcome holds, for each user apart."""
    visits = (
        ("ann", 0.0, False),
        ("ann", 1.0, True),
        ("ann", 2.0, False),
        ("bob", 0.5, False),
        ("bob", 1.5, False),
        ("once", 0.7, True),
    )
    users = make.users_of(
        make.request(number, when, subject=user, status=500 if failed else 200)
        for number, (user, when, failed) in enumerate(visits)
    )
    assert users.users == 2
    assert users.uptime == pytest.approx(2 / 3)
