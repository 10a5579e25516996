"""What the pooler between the application and Postgres complained of."""

import msgspec


class PoolerComplaint(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the pooler.

    Attributes:
        text: the message.
        count: how often it was logged.
        first: when it was logged first, in seconds since `origin_ns`.
        last: when it was logged last, likewise.
    """

    text: str
    count: int
    first: float
    last: float

    @property
    def sentence(self) -> str:
        """All of that in words."""
        times = "once" if self.count == 1 else f"{self.count:,} times"
        return f"the pooler logged {times}, from +{self.first:.2f} s on: {self.text}"
