"""How requests are called: `X-Request-Id` says whose each one is, and which of its journey."""

import re
from typing import NamedTuple

_ID = re.compile(r"(?P<user>s\d+-(?:\d{6,}|(?P<stays>u\d{6,})))-(?P<rest>\d+(?:-\d+)?)")


class Place(NamedTuple):
    """What an id says.

    Attributes:
        user: whose request it is, such as `s7-000123`; that of one who stays: `s7-u000123`.
        step: which of the journey's steps it is, or of the coroutine's requests; the first is 1.
    """

    user: str
    step: int


def id_of(visit: str, step: int, repetition: int = 0) -> str:
    """The id of a request: `s7-000123-1`, and `s7-000123-2-2` for a second click.

    A staying user's has the visit before the step: `s7-u000123-45-1`.

    Args:
        visit: the word for one visit: of a staying user `s7-u000123-45`, else `s7-000123`.
        step: which of the journey's steps it is; the first is 1.
        repetition: 0; more for what follows from the journey's second mail, third mail...
    """
    again = f"-{repetition + 1}" if repetition else ""
    return f"{visit}-{step}{again}"


def place_of(request_id: str) -> Place | None:
    """Whose request has this id, and which of its journey; None for an id that is none of ours."""
    match = _ID.fullmatch(request_id)
    if match is None:
        return None
    first, _, second = match["rest"].partition("-")
    if match["stays"] is None:
        return Place(match["user"], int(first))
    return Place(match["user"], int(second)) if second else None
