"""PURE: how the clock of a cluster relates to the monotonic clock of this machine."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ClockBounds:
    """What to add to nanoseconds since 1970 on the cluster's clock to get the monotonic clock here.

    Attributes:
        low_ns: at least so much.
        high_ns: at most so much.
    """

    low_ns: int
    high_ns: int

    @property
    def middle_ns(self) -> int:
        """The best guess."""
        return (self.low_ns + self.high_ns) // 2

    @property
    def error_ns(self) -> int:
        """How far the best guess may be wrong."""
        return (self.high_ns - self.low_ns + 1) // 2

    def narrowed(self, other: "ClockBounds") -> "ClockBounds":
        """What both say; where they contradict each other, the clock was set, and the other holds.

        Args:
            other: later bounds.
        """
        low, high = max(self.low_ns, other.low_ns), min(self.high_ns, other.high_ns)
        return ClockBounds(low, high) if low <= high else other


def bounds_of(date: str, sent_ns: int, received_ns: int) -> ClockBounds | None:
    """What the field `Date` of one response says of the clock of its server; None if nothing.

    The server wrote it between the request and the response, and cut it to whole seconds (RFC 9110,
    section 6.6.1). Several such bounds around the turn of a second narrow each other.

    Args:
        date: the value of the field.
        sent_ns: when the request was sent, on the monotonic clock.
        received_ns: when the head of the response was there.
    """
    try:
        whole = round(parsedate_to_datetime(date).timestamp()) * SECOND_NS
    except (TypeError, ValueError):
        return None
    return ClockBounds(sent_ns - whole - SECOND_NS, received_ns - whole)


def wall_ns(stamp: object) -> int | None:
    """A time of the API (RFC 3339) as nanoseconds since 1970; None if it is none."""
    if not isinstance(stamp, str):
        return None
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole = round(moment.replace(microsecond=0).timestamp())
    return whole * SECOND_NS + moment.microsecond * 1000
