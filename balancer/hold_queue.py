"""Requests that wait for a backend: in order, and within a time, a number and a size."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HoldPolicy:
    """When a request may wait while no backend is routable.

    Attributes:
        seconds: the longest that it waits; 0 means never.
        count: how many may wait at once.
        size: how many bytes of requests may wait at once, heads and buffered bodies.
    """

    seconds: float = 0.0
    count: int = 1000
    size: int = 16 * 1024 * 1024


class HoldQueue(Generic[T]):
    """First in, first out. An item can leave early, at the same cost."""

    def __init__(self, policy: HoldPolicy) -> None:
        self.policy = policy
        self.size = 0
        self._waiting: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, item: T, size: int) -> bool:
        """Join the queue; False when the policy has no room for it."""
        policy = self.policy
        if policy.seconds <= 0 or len(self._waiting) >= policy.count:
            return False
        if self.size + size > policy.size:
            return False
        self._waiting[item] = size
        self.size += size
        return True

    def leave(self, item: T) -> None:
        """Leave the queue; nothing happens if `item` is not in it."""
        self.size -= self._waiting.pop(item, 0)

    def drain(self) -> Iterator[T]:
        """Take items out in the order in which they came, until the caller stops."""
        order = deque(self._waiting)
        while order:
            item = order.popleft()
            if item in self._waiting:
                self.leave(item)
                yield item
