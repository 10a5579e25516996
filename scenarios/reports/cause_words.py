"""Causes in words: the same words for a cause in every view, and shorter ones for a table."""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus

from scenarios.reports.words import clean
from scenarios.verdict.causes import sqlstates
from scenarios.verdict.causes.exchange_rules import BALANCER, TRANSPORT
from scenarios.verdict.causes.titles import without_code
from scenarios.verdict.model import Cause

_SAID_BY = re.compile(r"^(?:balancer|router|proxy): ")
"""Who says it, before what is said."""
_REST = re.compile(r"[:;] | \(\d")
"""Where a message, the symptom or the numbers begin that a title goes on with."""
_SHORT = 80


_ALONE = {
    "no_backend": "no backend was available",
    "unexpected_answer": "the answer was not the expected one",
    "transport:undispatched": "the load generator could not send the request",
}
_OF_KIND: Mapping[str, Callable[[str], str | None]] = {
    "sqlstate": sqlstates.describe,
    "status": lambda code: f"HTTP {code} {_phrase(code)}".strip(),
    "transport": TRANSPORT.get,
    "balancer": BALANCER.get,
}


def id_text(cause: str) -> str:
    """A cause of which only the id is known yet: what it means, and the id in brackets."""
    kind, _, rest = cause.partition(":")
    known = _OF_KIND.get(kind)
    meaning = _ALONE.get(cause) or (known(rest) if known and rest else None)
    return f"{clean(meaning or rest or kind).replace('_', ' ')}  [{clean(cause)}]"


def _phrase(code: str) -> str:
    """What a status is called (RFC 9110, section 15)."""
    try:
        return HTTPStatus(int(code)).phrase
    except ValueError:
        return ""


def in_words(cause: Cause) -> str:
    """The title of a cause without the code that its id has, too."""
    return clean(without_code(cause.title))


def short(cause: Cause) -> str:
    """The same where there is little room: without messages, symptoms and numbers.

    Such as `not-null violation (version a)`. A refused statement keeps its versions, because they
    stand behind the message. What is still too long is cut at a word.
    """
    title = in_words(cause)
    said_by = _SAID_BY.match(title)
    start = said_by.end() if said_by else 0
    rest = _REST.search(title, start)
    text = title[: rest.start()] if rest else title
    if len(text) > _SHORT:
        text = text[:_SHORT].rpartition(" ")[0] or text[:_SHORT]
        text += " …"
    versions = sorted(map(clean, cause.evidence.versions))
    if cause.kind == "statement" and versions and not text.startswith("version"):
        noun = "version" if len(versions) == 1 else "versions"
        text += f" ({noun} {', '.join(versions)})"
    return text


def text_of(title: str, cause: str, confidence: str = "certain") -> str:
    """A cause as every view tells it: its words first, its id behind them.

    Args:
        title: the cause in words.
        cause: its id.
        confidence: how sure that is; `certain` is not said.
    """
    sure = "" if confidence == "certain" else f", {confidence}"
    return f"{clean(without_code(title))}  [{clean(cause)}{sure}]"


def line_of(cause: Cause) -> str:
    """The same for a cause of the verdict."""
    return text_of(cause.title, cause.cause, cause.confidence)


def excused_text(cause: Cause) -> str:
    """How many requests of a cause do not count against the release."""
    those = "all" if cause.excused == cause.count else f"{cause.excused:,}"
    return f"{those} as in the control run"
