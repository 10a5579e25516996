"""Deadlines that cost an attribute each, not a timer.

A connection's deadline moves with every request, a timer for each would be made and cancelled
thousands of times a second. Here a connection sits in one slot of a wheel, and setting its
deadline later than that slot only writes a number: when the slot comes round, a connection whose
deadline has moved is put where it now belongs (Varghese and Lauck, "Hashed and Hierarchical
Timing Wheels", 1987, scheme 6, with lazy re-insertion).

Deadlines are kept to within one tick, never early.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

_log = logging.getLogger("balancer")
TICKS_PER_SECOND: Final = 20
_TICK_SECONDS: Final = 1 / TICKS_PER_SECOND
_TICK_NS: Final = round(_TICK_SECONDS * 1e9)
_NEVER: Final = 1 << 62
# Nothing sits in a slot further ahead than this, so that what has closed is not kept for long.
_HORIZON: Final = 40


class Deadline:
    """The base class of objects that have a deadline."""

    __slots__ = ("_due", "_slot")

    def __init__(self) -> None:
        self._due = _NEVER
        self._slot = _NEVER

    def expired(self) -> None:
        """Called once when the deadline has passed."""
        raise NotImplementedError


class TimingWheel:
    """All deadlines of the data plane, driven by one timer of the event loop.

    Args:
        every_tick: further things to do at each tick; they must not raise.

    Attributes:
        now: the current tick.
    """

    def __init__(self, every_tick: Callable[[int], None] | None = None) -> None:
        self._slots: dict[int, list[Deadline]] = {}
        self.now = 0
        self._start_ns = time.monotonic_ns()
        self._every_tick = every_tick
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the timer, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_TICK_SECONDS, self._turn)

    def stop(self) -> None:
        """Stop the timer; deadlines no longer expire."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def arm(self, item: Deadline, ticks: int) -> None:
        """Let `item` expire in so many ticks, instead of at its former deadline."""
        due = self.now + ticks
        item._due = due  # noqa: SLF001 - the wheel owns these fields of its items
        if due < item._slot:  # noqa: SLF001
            self._put(item, due)

    def disarm(self, item: Deadline) -> None:
        """Remove the deadline of `item`."""
        item._due = _NEVER  # noqa: SLF001

    def advance(self) -> None:
        """Advance by one tick."""
        self.now += 1
        for item in self._slots.pop(self.now, ()):
            self._visit(item)

    @property
    def waiting(self) -> int:
        """How many entries the wheel holds."""
        return sum(map(len, self._slots.values()))

    def _turn(self) -> None:
        if self._timer is None or self._loop is None:
            return
        # First of all, so that no error below can end all deadlines.
        self._timer = self._loop.call_later(_TICK_SECONDS, self._turn)
        now_ns = time.monotonic_ns()
        target = (now_ns - self._start_ns) // _TICK_NS
        while self.now < target:
            self.advance()
        if self._every_tick is not None:
            self._every_tick(now_ns)

    def _visit(self, item: Deadline) -> None:
        if item._slot != self.now:  # noqa: SLF001 - it was put into an earlier slot meanwhile
            return
        item._slot = _NEVER  # noqa: SLF001
        due = item._due  # noqa: SLF001
        if due <= self.now:
            item._due = _NEVER  # noqa: SLF001
            try:
                item.expired()
            except Exception:  # noqa: BLE001 - logged; it must not end the rest
                # The others of this slot must not lose their deadlines with it.
                _log.exception("a deadline failed unexpectedly")
        elif due < _NEVER:
            self._put(item, due)

    def _put(self, item: Deadline, due: int) -> None:
        place = min(due, self.now + _HORIZON)
        if place >= item._slot:  # noqa: SLF001
            return
        item._slot = place  # noqa: SLF001
        slot = self._slots.get(place)
        if slot is None:
            self._slots[place] = [item]
        else:
            slot.append(item)


def ticks(seconds: float) -> int:
    """A duration in ticks, rounded up, plus one since the current tick has begun."""
    return int(-(-seconds // _TICK_SECONDS)) + 1
