"""The events of the balancer, in order, for readers that follow them."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator

_KEPT = 10_000


class EventLog:
    """Numbered events, of which the last ten thousand are kept.

    A reader asks for what came after a number, so a slow one holds nothing up: what it missed
    beyond the kept ones is told to it as an event `lost`.
    """

    def __init__(self, sequence: int = 0) -> None:
        self.sequence = sequence
        self._kept: deque[dict[str, object]] = deque(maxlen=_KEPT)
        self._news = asyncio.Event()
        self._closed = False

    def publish(self, event: str, **facts: object) -> None:
        """Add an event; facts that are None are left out."""
        self.sequence += 1
        self._kept.append(
            {
                "sequence": self.sequence,
                "at_ns": time.monotonic_ns(),
                "event": event,
                **{name: fact for name, fact in facts.items() if fact is not None},
            }
        )
        self._news.set()
        self._news = asyncio.Event()

    def close(self) -> None:
        """Let every reader come to its end."""
        self._closed = True
        self._news.set()

    async def follow(self, after: int) -> AsyncIterator[dict[str, object]]:
        """Yield the events after a sequence number, and then each new one, until `close`."""
        while True:
            news = self._news
            missing = self.sequence - after
            kept = list(self._kept)[-missing:] if missing > 0 else []
            if len(kept) < missing:
                yield {"sequence": after, "event": "lost", "count": missing - len(kept)}
            for event in kept:
                yield event
            after += max(0, missing)
            if self.sequence > after:
                continue
            if self._closed:
                return
            await news.wait()
