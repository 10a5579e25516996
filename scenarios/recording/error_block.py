"""One error as it stands in a log, whatever its format."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from scenarios.evidence.logged_error import Language

LONGEST = 500
"""So many characters of a message are kept."""

_REQUEST_ID = re.compile(r"(?<![\w-])s\d+-(?:\d{6,}|u\d{6,})-\d+(?:-\d+)?(?![\w-])")
_SQLSTATE = re.compile(r"(?i)\bsqlstate[ :=\[(\"']*(?P<code>[0-9A-Z]{5})\b")
_CLASSES = frozenset(
    re.split(
        " ",
        "00 01 02 03 08 09 0A 0B 0F 0L 0P 0Z 10 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D "
        "3F 40 42 44 53 54 55 57 58 72 F0 HV P0 XX",
    )
)
"""The classes of SQLSTATE (PostgreSQL documentation, appendix A)."""


@dataclass(slots=True)
class ErrorBlock:
    """An error as it stood in a log, without its time.

    Attributes:
        language: whose format it has.
        type: the class of the exception; empty if unknown.
        message: what it says, in one line.
        root: the exception that it was raised from, as `type: message`.
        sqlstate: the SQLSTATE that it carries.
        request_id: the request that its lines name.
        place: where it was raised.
        context: the last line before it, which may have a time.
    """

    language: Language
    type: str = ""
    message: str = ""
    root: str | None = None
    sqlstate: str | None = None
    request_id: str | None = None
    place: str | None = None
    context: str = ""

    @property
    def last_line(self) -> str:
        """The exception as its language prints it."""
        return ": ".join(part for part in (self.type, self.message) if part)


def is_sqlstate(code: object) -> bool:
    """Whether a code can be an SQLSTATE: others have five characters as well, such as `EPIPE`."""
    return (
        isinstance(code, str)
        and len(code) == 5  # noqa: PLR2004 - the standard
        and code[:2] in _CLASSES
        and code.isalnum()
        and code == code.upper()
    )


def request_id_in(text: str) -> str:
    """The id that hitless gave a request, if a line has one; else an empty text."""
    found = _REQUEST_ID.search(text)
    return "" if found is None else found[0]


def completed(block: ErrorBlock, lines: Iterable[str]) -> ErrorBlock:
    """The block with the request and the SQLSTATE that its lines name."""
    text = "\n".join([block.context, *lines])
    request = _REQUEST_ID.search(text)
    if block.request_id is None and request is not None:
        block.request_id = request[0]
    if block.sqlstate is None:
        state = _SQLSTATE.search(text)
        block.sqlstate = state["code"].upper() if state is not None else None
    block.message = short(block.message)
    return block


def short(text: str) -> str:
    """A text in one line, cut where it is too long."""
    return " ".join(text.split())[:LONGEST]
