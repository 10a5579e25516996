"""The clock of a cluster, mapped onto the machine's with a stated error."""

from datetime import UTC, datetime
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kubernetes.cluster_clock import SECOND_NS, ClockBounds, bounds_of, wall_ns

offsets = st.integers(-(10**18), 10**18)
waits = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=20)


def date_of(wall: int) -> str:
    """The field `Date` of a server whose clock says that many nanoseconds since 1970."""
    return format_datetime(datetime.fromtimestamp(wall // SECOND_NS, UTC), usegmt=True)


@given(begin=st.integers(0, 10**12), offset=st.integers(-2 * 10**18, -(10**18)), waits=waits)
def test_the_bounds_hold_the_true_offset(
    begin: int, offset: int, waits: list[tuple[int, int]]
) -> None:
    """Whatever the network and the cut to whole seconds do, the bounds hold the true offset."""
    now, known = begin, None
    for there, back in waits:
        sent, stamped = now, now + there
        now = stamped + back
        told = bounds_of(date_of(stamped - offset), sent, now)
        assert told is not None
        assert told.low_ns <= offset <= told.high_ns
        known = told if known is None else known.narrowed(told)
    assert known is not None
    assert known.low_ns <= offset <= known.high_ns
    assert abs(known.middle_ns - offset) <= known.error_ns


def test_the_turn_of_a_second_narrows_the_bounds() -> None:
    """Thirteen requests of 2 ms, a tenth of a second apart, leave an error of 60 ms or less."""
    known = None
    for number in range(13):
        sent = number * 100_000_000
        told = bounds_of(
            date_of(1_700_000_000 * SECOND_NS + 300_000_000 + sent), sent, sent + 2_000_000
        )
        assert told is not None
        known = told if known is None else known.narrowed(told)
    assert known is not None
    assert known.error_ns <= 60_000_000


def test_a_clock_that_was_set_is_measured_anew() -> None:
    """Bounds that contradict the earlier ones replace them."""
    assert ClockBounds(0, 10).narrowed(ClockBounds(20, 30)) == ClockBounds(20, 30)


def test_a_field_that_is_no_date_says_nothing() -> None:
    """A proxy's nonsense in place of a date is no evidence."""
    assert bounds_of("yesterday", 0, 1) is None


@given(st.integers(0, 4 * 10**9))
def test_stamps_of_the_api_are_read(second: int) -> None:
    """RFC 3339, as the API writes it, with `Z`, an offset, or parts of a second."""
    moment = datetime.fromtimestamp(second, UTC).isoformat()
    assert wall_ns(moment.replace("+00:00", "Z")) == second * SECOND_NS
    assert wall_ns(moment.replace("+00:00", ".250000Z")) == second * SECOND_NS + 250_000_000
    assert wall_ns(None) is None
    assert wall_ns("soon") is None
