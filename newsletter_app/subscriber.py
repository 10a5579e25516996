"""What a subscriber is: a name and an address that this newsletter accepts.

Pure functions from the bytes of a form to a `Subscriber`, or to the reason why there is none.
"""

import re
from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qsl

import idna
import regex  # type: ignore[import-untyped]

from newsletter_app.errors import InvalidInputError

NAME_LIMIT = 256
"""The most extended grapheme clusters (UAX #29) of a name: what a reader counts as characters."""

FORBIDDEN_IN_NAMES = frozenset('/()"<>\\{}')

# WHATWG HTML, "valid email address"; the lengths are those of RFC 5321, 4.5.3.1 and RFC 1035.
_LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_DOMAIN = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_DOMAIN_LIMIT = 255
_FIELD_LIMIT = 16_384
"""No form that fits the body's limit can have more fields than bytes."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Someone who asks for the newsletter.

    Attributes:
        name: as it was sent.
        email: as it was sent; its letters' case is kept, and addresses differ by it.
    """

    name: str
    email: str


def parse_form(body: bytes) -> Subscriber:
    """Read an `application/x-www-form-urlencoded` body with the fields `name` and `email`.

    Further fields are ignored. The name is judged before the address.

    Raises:
        InvalidInputError: the body is no such form, or a field is missing, repeated or refused.
    """
    try:
        fields = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_FIELD_LIMIT,
        )
    except ValueError:  # UnicodeDecodeError is one
        raise InvalidInputError("The form is not UTF-8.") from None
    return Subscriber(
        name=parse_name(_only(fields, "name")), email=parse_email(_only(fields, "email"))
    )


def parse_name(text: str) -> str:
    """Accept a name, unchanged.

    Raises:
        InvalidInputError: it is blank, longer than `NAME_LIMIT`, or holds a character of
            `FORBIDDEN_IN_NAMES` or NUL, which Postgres cannot store.
    """
    if not text.strip():
        raise InvalidInputError("The name is blank.")
    if not FORBIDDEN_IN_NAMES.isdisjoint(text):
        raise InvalidInputError('The name holds one of / ( ) " < > \\ { }.')
    if "\0" in text:
        raise InvalidInputError("The name holds a NUL character.")
    if len(text) > NAME_LIMIT and _is_longer_than_the_limit(text):
        raise InvalidInputError(f"The name is longer than {NAME_LIMIT} characters.")
    return text


def parse_email(text: str) -> str:
    """Accept an email address, unchanged.

    The rule is that of HTML's `<input type=email>`, for the domain in its ASCII form (IDNA), with
    at most 64 characters before the @ and 255 after it.

    Raises:
        InvalidInputError: the address breaks the rule.
    """
    local, at, domain = text.rpartition("@")
    if at and _LOCAL_PART.fullmatch(local) and _ascii_domain(domain):
        return text
    raise InvalidInputError("The email address is not valid.")


def ascii_email(email: str) -> str:
    """The same address with its domain in ASCII, as SMTP wants it.

    Raises:
        InvalidInputError: the address is not one that `parse_email` accepts.
    """
    local, _, domain = parse_email(email).rpartition("@")
    return f"{local}@{_ascii_domain(domain)}"


def _only(fields: list[tuple[str, str]], name: str) -> str:
    values = [value for key, value in fields if key == name]
    if not values:
        raise InvalidInputError(f"The field {name} is missing.")
    if len(values) > 1:
        raise InvalidInputError(f"The field {name} is there more than once.")
    return values[0]


def _ascii_domain(domain: str) -> str | None:
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            return None
    if len(domain) > _DOMAIN_LIMIT or not _DOMAIN.fullmatch(domain):
        return None
    return domain


def _is_longer_than_the_limit(text: str) -> bool:
    return sum(1 for _ in _clusters().finditer(text)) > NAME_LIMIT


@cache
def _clusters() -> regex.Pattern[str]:
    # Compiled at its first use: few names are that long, and a replica starts quicker.
    return regex.compile(r"\X")
