"""The queue of simulated events beside the loop's own timers."""

from orchestrator.simulated.events import Events
from orchestrator.virtual_time import VirtualClock


def test_what_has_come_stays_so() -> None:
    """An event that is made at an instant whose arrivals have come does not take them back."""
    events = Events(VirtualClock())
    seen: list[object] = []
    assert not events.advance(10, seen)
    assert events.passed_ns == 10
    events.at(10, seen.append, "made by a task at this instant")
    assert events.advance(10, seen)
    assert (events.passed_ns, len(seen)) == (10, 1)
