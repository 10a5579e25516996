"""What goes wrong for reasons outside this code, by who can mend it; each message is one line."""

import difflib
from collections.abc import Iterable


class ScenarioError(Exception):
    """A scenario file is missing or wrong. Its author can mend it."""


class UsageError(Exception):
    """A command was given something that it cannot use. Whoever typed it can mend it."""


class EvidenceError(Exception):
    """An evidence file is missing or damaged; the message names the file and the line."""


class LoadError(Exception):
    """The load generator did not do its part; the message has its last words."""


def near(name: str, known: Iterable[str]) -> str:
    """A hint at the name that was meant, or the list of the names that exist."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(word) for word in close) + "?"
    return "there are: " + ", ".join(known)
