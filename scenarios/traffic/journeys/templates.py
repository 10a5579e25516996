"""Text with placeholders, such as `/items/{id}`."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

from scenarios.traffic.errors import Location

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
REQUEST_ID = "request_id"
NAMES = ("unique", "user", "uuid", "journey", "seed", "worker", "link", REQUEST_ID)
"""What is known in every step; `link` only once a mail has come."""


class Template:
    """Text with placeholders, parsed once.

    Args:
        text: the text, such as `user={user}`.
        where: what messages call it, such as `journey subscribe, step 1, path`.
        known: further placeholders, such as what earlier steps captured.

    Raises:
        PlanError: a placeholder that nobody fills.
    """

    __slots__ = ("_parts", "names", "text")

    def __init__(self, text: str, *, where: Location, known: frozenset[str] = frozenset()) -> None:
        self.text = text
        self._parts = PLACEHOLDER.split(text)  # literal, name, literal, name, ..., literal
        self.names = frozenset(self._parts[1::2])
        filled = (*NAMES, *sorted(known))
        for name in sorted(self.names - set(filled)):
            near = get_close_matches(name, filled, n=1)
            there = ", ".join(f"{{{each}}}" for each in filled)
            hint = f"did you mean {{{near[0]}}}?" if near else f"there are {there}"
            raise where.error(f"nothing fills {{{name}}}; {hint}")

    def render(self, values: Mapping[str, str]) -> str:
        """The text with every placeholder filled from `values`."""
        if not self.names:
            return self.text
        parts = self._parts.copy()
        for index in range(1, len(parts), 2):
            parts[index] = values[parts[index]]
        return "".join(parts)
