"""What a release did to clients that stay connected and reconnect."""

import msgspec


class Streams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Connections that servers ended, and their clients, which came back.

    Attributes:
        closed: how many connections servers ended while their clients wanted to stay.
        codes: the same by close code; 1006 are those that broke off.
        reopened: how many clients were connected again.
        gone: how many tried, and were not connected again while they wanted to be.
        longest_gap: the longest time in which a client was not connected, in seconds.
        median_gap: the median of these times.
        peak: the most clients that reconnected within one second.
        peak_at: when that second began, in seconds since `origin_ns`.
        missed: how many messages clients missed, by the numbers of the messages.
    """

    closed: int = 0
    codes: dict[str, int] = {}
    reopened: int = 0
    gone: int = 0
    longest_gap: float | None = None
    median_gap: float | None = None
    peak: int = 0
    peak_at: float | None = None
    missed: int = 0

    @property
    def words(self) -> str:
        """All of it in one sentence; empty if no server ended a connection."""
        if not self.closed:
            return ""
        codes = ", ".join(f"{code}: {count:,}" for code, count in self.codes.items())
        said = f"{self.closed:,} ended by servers ({codes}) · {self.reopened:,} connected again"
        if self.gone:
            said += f" · {self.gone:,} never"
        if self.longest_gap is not None and self.median_gap is not None:
            said += f" · gap up to {self.longest_gap:.2f} s (median {self.median_gap:.2f} s)"
        said += f" · at most {self.peak:,} came back within a second"
        return said + (f" · {self.missed:,} messages missed" if self.missed else "")
