"""The ids of requests: an `X-Request-Id` has the user of a request and the step of its journey."""

import re
from typing import NamedTuple

_ID = re.compile(r"(?P<user>s\d+-(?:\d{6,}|(?P<stays>u\d{6,})))-(?P<rest>\d+(?:-\d+)?)")


class Place(NamedTuple):
    """The user and the step of a request.

    Attributes:
        user: the user, such as `s7-000123`, or `s7-u000123` for a user who stays.
        step: the number of the journey's step, or of the coroutine's request; the first is 1.
    """

    user: str
    step: int


def id_of(visit: str, step: int, repetition: int = 0) -> str:
    """The id of a request: `s7-000123-1`, and `s7-000123-2-2` for a second click.

    The id for a user who stays has the visit before the step: `s7-u000123-45-1`.

    Args:
        visit: the visit: `s7-u000123-45` for a user who stays, else `s7-000123`.
        step: the number of the journey's step; the first is 1.
        repetition: 0; more for what follows from the journey's second mail, third mail...
    """
    again = f"-{repetition + 1}" if repetition else ""
    return f"{visit}-{step}{again}"


def place_of(request_id: str) -> Place | None:
    """The user and the step of the request with this id; None for an id in any other form."""
    match = _ID.fullmatch(request_id)
    if match is None:
        return None
    first, _, second = match["rest"].partition("-")
    if match["stays"] is None:
        return Place(match["user"], int(first))
    return Place(match["user"], int(second)) if second else None


def try_user(seed: int, number: int) -> str:
    """The word of a user who only tries a journey before the run, such as `s7-try-3`."""
    return f"s{seed}-try-{number}"


def is_try(text: str) -> bool:
    """Whether a text, such as an address or a subject, holds the word of such a user."""
    return "-try-" in text and _TRY.search(text) is not None


_TRY = re.compile(r"\bs\d+-try-\d+\b")
