"""What a backend is known to do with kept connections. Pure; one record for each backend.

Two facts decide whether a connection may carry a request that must not be sent twice.

- For how long the backend keeps an idle connection open. If it closes the connection at the moment
  when the balancer sends a request on it, nobody can tell whether the request was handled.
- Whether the backend reads the body of a request that it does not use. If it does not, it takes
  the body for the next request, and its answer to that goes to whoever uses the connection next.
"""

from typing import Final

_NS: Final = 1_000_000_000
# A backend that was seen to close a connection within this time is given no such request again.
_SHORTEST_NS: Final = 20_000_000
_NEVER: Final = 1 << 62
# Up to here after an answer a connection is "just answered".
ANSWERED_NS: Final = 50_000_000
_RECHECK_NS: Final = 10 * _NS


class ReuseRecord:
    """What the balancer has learned about one backend.

    Attributes:
        proven_ns: the longest time for which a connection was seen to stay open.
        safe_ns: the longest time since the last request was *sent* on a connection after which
            the connection may carry a request that must not be sent twice; 0 means never.
        reads_bodies: whether the backend reads bodies that it does not use; None: unknown.
        lost: requests that were lost on a kept connection and not sent again.
    """

    __slots__ = (
        "_announced_ns",
        "_checking",
        "_closed_ns",
        "_next_check_ns",
        "lost",
        "proven_ns",
        "reads_bodies",
        "safe_ns",
    )

    def __init__(self) -> None:
        self.lost = 0
        self.forget()

    def forget(self) -> None:
        """Begin anew: another process may listen there now."""
        self.proven_ns = 0
        self._closed_ns = _NEVER
        self._announced_ns = _NEVER
        self._checking = False
        self._next_check_ns = 0
        self.safe_ns = 0
        self.reads_bodies: bool | None = None

    # For how long idle connections stay open

    def stayed_open(self, idle_ns: int) -> None:
        """A connection was still open after it had been idle for this long."""
        if idle_ns > self.proven_ns:
            self.proven_ns = idle_ns
            self._update()

    def closed(self, idle_ns: int) -> None:
        """The backend closed a connection, unannounced, after it had been idle for this long."""
        if idle_ns < self._closed_ns:
            self._closed_ns = idle_ns
            self._update()

    def announced(self, seconds: int) -> None:
        """The backend announced its timeout, with `Keep-Alive: timeout=seconds`."""
        if seconds * _NS < self._announced_ns:
            self._announced_ns = seconds * _NS
            self._update()

    def request_lost(self) -> None:
        """A request was lost on a kept connection, and is not sent again."""
        self.lost += 1
        self.closed(0)

    def _update(self) -> None:
        shortest = min(self._closed_ns, self._announced_ns)
        if shortest < _SHORTEST_NS:
            self.safe_ns = 0
        else:
            # Half, since the timer of the backend began somewhat before or after ours.
            self.safe_ns = min(self.proven_ns, shortest) // 2

    # Whether bodies are read

    def may_check_bodies(self, now_ns: int) -> bool:
        """Claim the check of whether bodies are read; one at a time, and not too often."""
        if self._checking or self.reads_bodies is not None or now_ns < self._next_check_ns:
            return False
        self._checking = True
        return True

    def bodies_checked(self, *, reads: bool | None, now_ns: int) -> None:
        """Note the result of that check; None if it could not be done."""
        if not self._checking:
            return  # it was of another process, that listened there before
        self._checking = False
        self._next_check_ns = now_ns + _RECHECK_NS
        if self.reads_bodies is None:
            self.reads_bodies = reads
