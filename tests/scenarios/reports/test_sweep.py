"""The frontier of a sweep, the smallest settings that lose nothing, and the plot."""

from collections.abc import Mapping
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.reports.sweep import (
    SweepPoint,
    frontier,
    merged,
    sentences,
    smallest,
    sweep_of,
    sweep_plot,
)


def point(
    seconds: float = 1.0,
    failed: int = 0,
    extra: float = 0.0,
    settings: Mapping[str, str] | None = None,
    completed: int = 1,
) -> SweepPoint:
    return SweepPoint(
        settings=settings or {},
        seeds=1,
        requests=1000,
        failed=failed,
        slow=0,
        completed=completed,
        seconds=seconds,
        extra_replica_seconds=extra,
        most_replicas=4,
    )


POINTS = st.lists(
    st.builds(
        point,
        st.integers(1, 6).map(float),
        st.integers(0, 4),
        st.integers(0, 4).map(float),
        completed=st.sampled_from([0, 1, 1, 1]),
    ),
    max_size=25,
)


@given(POINTS)
def test_nothing_beats_the_frontier(points: list[SweepPoint]) -> None:
    """Who is not on the frontier is beaten by somebody on it; nobody on it is beaten."""

    def costs(one: SweepPoint) -> tuple[float, float, float]:
        return one.seconds, one.failed, one.extra_replica_seconds

    def beats(one: SweepPoint, other: SweepPoint) -> bool:
        pairs = list(zip(costs(one), costs(other), strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    found = frontier(points)
    complete = [one for one in points if one.completed]
    assert all(points[number].completed for number in found)
    for number, one in enumerate(points):
        if number in found:
            assert not any(beats(other, one) for other in complete)
        elif one.completed:
            assert any(beats(points[best], one) for best in found)


def test_the_smallest_pre_stop_that_loses_nothing() -> None:
    """It is told for some combination, and for all of them; a setting without numbers has none."""
    points = [
        point(failed=failed, settings={"pre_stop": stop, "surge": surge, "order": "together"})
        for stop, surge, failed in (
            ("0", "1", 9), ("0.5", "1", 0), ("1", "1", 0),
            ("0", "25%", 7), ("0.5", "25%", 2), ("1", "25%", 0),
        )
    ]  # fmt: skip
    found = smallest(points, "pre_stop")
    assert found is not None
    assert (found.with_others, found.whatever_others) == ("0.5", "1")
    surge = smallest(points, "surge")
    assert surge is not None
    assert (surge.with_others, surge.whatever_others) == ("1", None)
    assert smallest(points, "order") is None
    said = sentences(sweep_of("good", "rolling", points))
    assert said[0] == (
        "the smallest pre_stop with which some combination loses nothing is 0.5; from 1 on, no "
        "combination loses anything"
    )


def test_several_seeds_are_one_point() -> None:
    """Failures add up over the seeds, and the worst time and capacity count."""
    both = merged([point(2.0, 3, 1.0), point(1.0, 4, 5.0)])
    assert (both.seeds, both.requests, both.failed) == (2, 2000, 7)
    assert (both.seconds, both.extra_replica_seconds) == (2.0, 5.0)
    assert not both.lossless
    with pytest.raises(ValueError, match="at least one run"):
        merged([])


@given(POINTS)
def test_the_plot_shows_each_point(points: list[SweepPoint]) -> None:
    """The plot is well-formed, has a mark for each complete release, and all of it is inside."""
    sweep = sweep_of("<good>", "rolling & more", points)
    root = ET.fromstring(sweep_plot(sweep))  # noqa: S314 - what we wrote ourselves
    marks = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(marks) == sum(one.completed for one in points)
    for mark in marks:
        assert 0 <= float(mark.attrib["cx"]) <= 760
        assert 0 <= float(mark.attrib["cy"]) <= 360
    best = [mark for mark in marks if mark.attrib["class"] == "best"]
    assert len(best) >= len(sweep.frontier)
