"""What may stand in a message's head: the grammar that requests and responses share. Pure.

The grammar is RFC 9110's and 9112's, written as regular expressions over the raw bytes: what does
not match is refused. It is narrower than the RFCs where two parsers are known to read the same
bytes differently. For requests, llhttp (through httptools) has to agree as well: see
`balancer.proxy.second_parser`.

All quantifiers that could backtrack are possessive, so matching is linear in the input.
"""

import re
from collections.abc import Iterable
from typing import Final

from balancer.errors import MessageError

TCHAR: Final = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
# RFC 9112 section 5: no space before the colon, no folding, no control bytes but tab.
FIELDS: Final = rb"(?:[" + TCHAR + rb"]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+"
# What punctuation a field name may have (RFC 9110 section 5.6.2).
PUNCTUATION: Final = rb"!#$%&'*+\-.^_`|~"
# A line with a name that nobody reads in two ways: letters and digits, with single hyphens.
_LINE: Final = rb"[A-Za-z0-9]++(?:-[A-Za-z0-9]++)*+:[\t\x20-\x7e\x80-\xff]*+\r\n"
FIELD_LINE: Final = re.compile(rb"([" + TCHAR + rb"]++):[ \t]*+([\t\x20-\x7e\x80-\xff]*+)\r\n")
# What no head can contain, wherever it is cut: seen early, it need not be waited for.
HOPELESS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")


def any_of(names: Iterable[bytes]) -> bytes:
    """A pattern for these names, in any case.

    Args:
        names: patterns in small letters that each begin with a letter.
    """
    rests: dict[bytes, list[bytes]] = {}
    for name in names:
        rests.setdefault(name[:1], []).append(name[1:])
    # By their first letter, which rules all out at once for most of the fields that there are.
    return b"|".join(
        b"[%b%b](?i:%b)" % (first, first.upper(), b"|".join(rest)) for first, rest in rests.items()
    )


def plain_lines(names: Iterable[bytes]) -> bytes:
    """A pattern for the lines of all fields but these, which the proxy passes on unread."""
    return rb"(?:(?!(?:" + any_of(names) + rb"):)" + _LINE + rb")*+"


_TOKENS: Final = re.compile(rb"[ \t]*+(?:([" + TCHAR + rb"]++)[ \t]*+)?(?:,|\Z)")
DIGITS: Final = re.compile(rb"[0-9]{1,18}\Z")  # less than 2^63, whatever integers the peers use
TOKEN: Final = re.compile(rb"[" + TCHAR + rb"]++\Z")
REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._~:+/=@-]{1,128}\Z")

# RFC 9110 section 7.6.1, and fields that only ever speak to the next hop.
_HOP_BY_HOP: Final = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate",
    b"proxy-authorization", b"te", b"transfer-encoding", b"upgrade", b"http2-settings",
})  # fmt: skip
# RFC 9110 section 6.5.1: fields that frame, route, or authenticate make no sense in a trailer.
FORBIDDEN_TRAILERS: Final = _HOP_BY_HOP | frozenset({
    b"authorization", b"cache-control", b"content-encoding", b"content-length", b"content-range",
    b"content-type", b"cookie", b"expect", b"forwarded", b"host", b"max-forwards", b"pragma",
    b"proxy-status", b"range", b"set-cookie", b"trailer", b"via", b"www-authenticate",
    b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-request-id",
    b"x-served-by", b"x-real-ip",
})  # fmt: skip

# More options in one Connection field than any real one has.
_MAX_TOKENS: Final = 64

# Names that some read as another one, or that speak of the client's own whereabouts.
ODD_TRAILER: Final = re.compile(
    rb"[^a-z0-9-]|--|-\Z|\A(?:-|x-forwarded|x-original|x-rewrite|script|path|remote|request|server)"
)

NO_BODY: Final = 0
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2


# A client cannot have these taken away by naming them in Connection: they are end to end, and
# what is left without them would mean something else.
_KEPT: Final = frozenset(
    {b"host", b"close", b"keep-alive", b"x-request-id", b"idempotency-key", b"cookie"}
)


def tokens(value: bytes) -> list[bytes]:
    """Split a list of tokens (RFC 9110 section 5.6.1), lower case.

    Raises:
        MessageError: it is not such a list, or longer than any real one.
    """
    found: list[bytes] = []
    place = 0
    while place < len(value):
        match = _TOKENS.match(value, place)
        if match is None:
            raise MessageError(400, "malformed list of tokens")
        if match[1]:
            found.append(match[1].lower())
            if len(found) > _MAX_TOKENS:
                raise MessageError(400, "a list of tokens is too long")
        place = match.end()
    return found


def without(fields: bytes, named: list[bytes]) -> bytes:
    """Remove the fields that Connection names (RFC 9110 section 7.6.1)."""
    doomed = {name for name in named if name not in _KEPT}
    if not doomed:
        return fields
    lines = fields.split(b"\r\n")[:-1]
    kept = [line for line in lines if line.partition(b":")[0].lower() not in doomed]
    return b"".join(line + b"\r\n" for line in kept)
