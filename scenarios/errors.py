"""What goes wrong for reasons outside this code, by who can mend it; each message is one line."""

import difflib
from collections.abc import Iterable


class ScenarioError(Exception):
    """A scenario file is missing or wrong. Its author can mend it."""


class UsageError(Exception):
    """A command was given something that it cannot use. Whoever typed it can mend it."""


class EvidenceError(Exception):
    """An evidence file is missing or damaged; the message names the file and the line."""


class StorageError(EvidenceError):
    """An evidence file cannot be written: the disk is full, read-only, or gone."""


class LoadError(Exception):
    """The load generator did not do its part; the message has its last words."""


class InterruptedRunError(Exception):
    """A signal ended the work, and everything that was started has ended."""


def near(name: str, known: Iterable[str]) -> str:
    """A hint at the name that was meant, or the list of the names that exist.

    Case and the kind of dash do not count. A second name is offered only if it is about as near.
    """
    known = list(known)
    typed = _plain(name)
    nearness = {
        word: difflib.SequenceMatcher(None, typed, _plain(word)).ratio()
        + (_BEGINS if typed and _plain(word).startswith(typed) else 0.0)
        for word in known
    }
    ranked = sorted(known, key=lambda word: -nearness[word])[:2]
    close = [
        word
        for word in ranked
        if nearness[word] >= _NEAR and nearness[word] >= nearness[ranked[0]] - _AS_NEAR
    ]
    if close:
        return "did you mean " + " or ".join(repr(word) for word in close) + "?"
    return f"there are: {', '.join(known)}" if known else "there are none"


_NEAR = 0.6
_AS_NEAR = 0.1
_BEGINS = 0.4


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
