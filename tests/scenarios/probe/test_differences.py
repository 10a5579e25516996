"""Two profiles of one server are compared cell by cell."""

import msgspec
import pytest

from scenarios.probe.differences import differences, shortened
from scenarios.probe.profile import Delivery, Exit, KeepAlive, Startup, StreamOutcome, Websocket
from tests.support.probe import profile


def test_a_profile_is_the_same_as_itself() -> None:
    """Nothing differs from itself, watched as long or more briefly."""
    assert differences(profile(), profile()) == []
    brief = msgspec.structs.replace(profile(), watch_seconds=10.0)
    assert differences(profile(), brief) == []


@pytest.mark.parametrize(("seconds", "same"), [(3.9, True), (4.1, False)])
def test_times_may_differ_by_a_second(*, seconds: float, same: bool) -> None:
    """A second more or less is the machine's; more is the server's."""
    later = Delivery(
        fate="delivered", seconds=seconds, status=200, connection="close", exit=Exit(0, 3.2)
    )
    assert (differences(profile(), profile(in_flight=later)) == []) is same


@pytest.mark.parametrize(("chunks", "same"), [(3, True), (5, True), (6, False)])
def test_pieces_before_a_cut_are_a_time(*, chunks: int, same: bool) -> None:
    """Pieces come each half second, so two more or less are a second."""
    ends = {"fate": "cut", "seconds": 0.1, "ending": "FIN", "exit": Exit(-15, 0.1)}
    before, after = StreamOutcome(chunks=3, **ends), StreamOutcome(chunks=chunks, **ends)
    assert (differences(profile(stream=before), profile(stream=after)) == []) is same


def test_how_fast_it_starts_is_not_compared() -> None:
    """Another machine starts it faster."""
    fast = profile(startup=Startup(listen_seconds=9.0, answer_seconds=9.5))
    assert differences(profile(), fast) == []


def test_a_fate_that_changed_is_named() -> None:
    """A cell that says something else is told with both of its texts."""
    cut = Delivery(fate="cut", seconds=0.0, ending="FIN", exit=Exit(-15, 0.0))
    found = differences(profile(), profile(in_flight=cut))
    assert [one.cell for one in found] == ["in_flight", "connection"]
    assert str(found[0]) == (
        "GET in flight: delivered @3.0s; exit 0 @3.2s -> cut (FIN @0.0s); exit -15 @0.0s"
    )


def test_a_difference_that_the_short_text_hides_is_told_in_full() -> None:
    """A line never says that a text became the same text."""
    late = profile().new_connections
    assert late is not None
    (one,) = differences(
        profile(), profile(new_connections=msgspec.structs.replace(late, exit=Exit(0, 9.0)))
    )
    assert (one.before, one.after) == ("exit seconds 3.2", "exit seconds 9.0")


def test_a_server_that_waited_for_a_core_may_be_later() -> None:
    """What the machine withheld from either is not the server's; a fate is, all the same."""
    first = profile().in_flight
    assert first is not None
    late = msgspec.structs.replace(first, seconds=4.5, exit=Exit(0, 4.7))
    waited = {"in_flight": 0.6}
    assert differences(profile(), profile(in_flight=late)) != []
    assert differences(profile(), profile(in_flight=late, core_wait=waited)) == []
    assert differences(profile(core_wait=waited), profile(in_flight=late)) == []
    other = msgspec.structs.replace(late, exit=Exit(1, 4.7))
    assert differences(profile(), profile(in_flight=other, core_wait=waited)) != []


def test_an_exit_status_that_changed_is_named() -> None:
    """A status is compared exactly."""
    other = msgspec.structs.replace(profile().in_flight, exit=Exit(1, 3.2))
    assert len(differences(profile(), profile(in_flight=other))) == 1


@pytest.mark.parametrize(
    ("name", "long", "brief"),
    [
        (
            "keep_alive",
            KeepAlive(fate="closed", seconds=75.0, announced=75.0, ending="FIN"),
            KeepAlive(fate="open", seconds=15.0, announced=75.0),
        ),
        (
            "long_request",
            Delivery(fate="delivered", seconds=59.0, status=200, exit=Exit(0, 59.1)),
            Delivery(fate="silent", seconds=15.0, exit=Exit(None, 15.1)),
        ),
        (
            "endless_stream",
            StreamOutcome(fate="cut", chunks=60, seconds=30.0, ending="FIN", exit=Exit(0, 31.0)),
            StreamOutcome(fate="running", chunks=32, seconds=15.0, exit=Exit(None, 15.0)),
        ),
        (
            "websocket",
            Websocket(fate="closed", code=1006, seconds=30.0, exit=Exit(0, 30.0)),
            Websocket(fate="open", exit=Exit(None, 15.0)),
        ),
    ],
)
def test_who_was_watched_longer_is_read_as_if_not(
    name: str, long: msgspec.Struct, brief: msgspec.Struct
) -> None:
    """What came after the shorter watch counts as not seen, and all before it counts."""
    before = msgspec.structs.replace(profile(**{name: long}), watch_seconds=65.0)
    after = profile(**{name: brief})
    assert differences(before, after) == []
    assert shortened(name, long, 65.0 * 2) == long


@pytest.mark.parametrize(("status", "same"), [(-15, True), (0, False)])
def test_how_a_killed_process_leaves_its_connections_is_chance(status: int, *, same: bool) -> None:
    """The kernel resets a connection of which the process had not read everything."""
    before, after = (
        profile(long_request=Delivery(fate="cut", seconds=0.1, ending=how, exit=Exit(status, 0.2)))
        for how in ("FIN", "RST")
    )
    assert (differences(before, after) == []) is same
