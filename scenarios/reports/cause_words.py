"""Causes in words: the same words for a cause in every view, and shorter ones for a table."""

import re

from scenarios.reports.words import clean
from scenarios.verdict.causes import sqlstates
from scenarios.verdict.model import Cause

_CODE = re.compile(r"^(?:SQLSTATE \w{5}|HTTP \d{3}): ")
_SAID_BY = re.compile(r"^(?:balancer|router|proxy): ")
"""Who says it, before what is said."""
_REST = re.compile(r"[:;] | \(\d")
"""Where a message, the symptom or the numbers begin that a title goes on with."""
_SHORT = 80


def id_words(cause: str) -> str:
    """What a cause id means, as far as the id alone tells; empty if it speaks for itself."""
    kind, _, rest = cause.partition(":")
    if kind == "sqlstate":
        return sqlstates.describe(rest)
    return {"no_backend": "no backend was available"}.get(cause, "")


def _without_code(title: str) -> str:
    return clean(_CODE.sub("", title))


def in_words(cause: Cause) -> str:
    """The title of a cause without the code that its id has, too."""
    return _without_code(cause.title)


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
    return f"{_without_code(title)}  [{clean(cause)}{sure}]"


def line_of(cause: Cause) -> str:
    """The same for a cause of the verdict."""
    return text_of(cause.title, cause.cause, cause.confidence)


def excused_text(cause: Cause) -> str:
    """How many requests of a cause do not count against the release."""
    those = "all" if cause.excused == cause.count else f"{cause.excused:,}"
    return f"{those} as in the control run"
