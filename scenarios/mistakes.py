"""What an author of scenarios is told about a mistake."""

import difflib
from collections.abc import Iterable


class ScenarioError(Exception):
    """A scenario is not there or not right; the message is one line for its author."""


def near(name: str, known: Iterable[str]) -> str:
    """A hint at the name that was meant, or the list of those that there are."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(word) for word in close) + "?"
    return "there are: " + ", ".join(known)
