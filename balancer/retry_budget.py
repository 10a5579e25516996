"""How many requests may be sent twice: a share of those that arrive.

So retries cannot multiply an overload (Google, Site Reliability Engineering, chapter 21; Finagle's
RetryBudget).
"""

from collections import deque


class RetryBudget:
    """Limits the retries within a sliding window to a share of the requests in it.

    Args:
        ratio: retries allowed for each request.
        minimum: retries allowed in each window in any case.
        window: its length in seconds.
    """

    def __init__(self, *, ratio: float = 0.2, minimum: int = 3, window: float = 10.0) -> None:
        self._ratio = ratio
        self._minimum = minimum
        self._window_ns = round(window * 1e9)
        self._retries: deque[int] = deque()
        self._marks: deque[tuple[int, int]] = deque()

    def allow(self, now_ns: int, requests: int) -> bool:
        """Claim one retry.

        Args:
            now_ns: the monotonic clock.
            requests: how many requests have come since the start, a counter that only grows.
        """
        start = now_ns - self._window_ns
        while self._retries and self._retries[0] <= start:
            self._retries.popleft()
        # The newest mark at or before the window's start says how many requests came before it.
        while len(self._marks) > 1 and self._marks[1][0] <= start:
            self._marks.popleft()
        before = self._marks[0][1] if self._marks else 0
        if len(self._retries) >= max(self._minimum, self._ratio * (requests - before)):
            return False
        self._retries.append(now_ns)
        return True

    def mark(self, now_ns: int, requests: int) -> None:
        """Note the counter of requests, about once a second."""
        self._marks.append((now_ns, requests))
        start = now_ns - self._window_ns
        while len(self._marks) > 1 and self._marks[1][0] <= start:
            self._marks.popleft()
