"""What JSON answers look like: each looked at only as far as that costs the generator little."""

import hashlib
import time
from collections.abc import Hashable
from typing import Final, NamedTuple

from scenarios.evidence.answer_shape import shape_of
from scenarios.traffic.journeys.examination import Answer

_PAUSE_NS: Final = 20_000_000
"""Of each step, at most one answer in so much time is looked at: 50 a second."""

_LONG_PAUSE_NS: Final = 1_000_000_000
"""Of a step whose answers are no JSON, or too large, one in so much time."""

_SHARE: Final = 10
"""After a look, nothing is looked at for so many times as long: it costs a tenth at most."""

_MOST_BYTES: Final = 64 * 1024
_MOST_SHAPES: Final = 500


class Shape(NamedTuple):
    """What an answer looks like.

    Attributes:
        name: a digest of its paths and types.
        values: its paths and types; None if they were told before.
    """

    name: str
    values: tuple[str, ...] | None


class Shapes:
    """Looks at answers of one process."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], str] = {}
        self._next_ns: dict[Hashable, int] = {}
        self._free_ns = 0

    def wanted(self, step: Hashable) -> bool:
        """Whether the next answer of a step is to be looked at; then `of` is called with it."""
        now = time.monotonic_ns()
        if now < self._free_ns or now < self._next_ns.get(step, 0):
            return False
        self._next_ns[step] = now + _PAUSE_NS
        return True

    def of(self, step: Hashable, answer: Answer | None) -> Shape | None:
        """What an answer of a step looks like; None if it is no JSON document, or too large."""
        if answer is None:
            return None
        began = time.monotonic_ns()
        is_json = answer.body.lstrip()[:1] in (b"{", b"[")
        if not is_json or len(answer.body) > _MOST_BYTES:
            self._next_ns[step] = began + _LONG_PAUSE_NS
            return None
        values = shape_of(answer.body)
        done = time.monotonic_ns()
        self._free_ns = done + _SHARE * (done - began)
        if not values:
            return None
        name = self._known.get(values)
        if name is not None:
            return Shape(name, None)
        if len(self._known) >= _MOST_SHAPES:
            return None  # its keys are data, such as ids
        name = hashlib.blake2s("\n".join(values).encode(), digest_size=5).hexdigest()
        self._known[values] = name
        return Shape(name, values)
