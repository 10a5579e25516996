"""Reads the head of a request. Pure: bytes in, facts out.

There are two ways through a head that must agree, which a property test holds them to: here one
regular expression takes a plain request whole; `balancer.proxy.request_fields` reads all others
field by field.
"""

import re
from collections.abc import Iterable
from typing import Final

from balancer.errors import MessageError
from balancer.proxy.grammar import plain_lines
from balancer.proxy.request_fields import read_any_request
from balancer.proxy.request_grammar import HOST_PATTERN, ORIGIN, SPECIAL
from balancer.proxy.request_head import RequestHead


def _plain_head(special: Iterable[bytes]) -> re.Pattern[bytes]:
    """A pattern for a head in which only a few fields are of interest, as in most requests."""
    plain = plain_lines(special)
    return re.compile(
        rb"([A-Z]{3,7}+) (" + ORIGIN + rb") HTTP/1\.1\r\n"
        rb"(" + plain + rb"[hH]ost: ?(" + HOST_PATTERN + rb")\r\n" + plain + rb")"
        rb"(?:[cC]onnection: ?[kK]eep-[aA]live\r\n)?+(" + plain + rb")"
        rb"(?:[cC]ontent-[lL]ength: ?([0-9]{1,18}+)\r\n(" + plain + rb"))?+"
        rb"(?:([xX]-[rR]equest-[iI][dD]): ?([A-Za-z0-9._~:+/=@-]{1,128}+)\r\n("
        + plain
        + rb"))?+\r\n"
    )


_PLAIN: Final = _plain_head(SPECIAL)
_PLAIN_WITH_COOKIES: Final = _plain_head(one for one in SPECIAL if one != b"cookie")


def read_request(data: bytes, *, cookies: bool, underscores: bool = False) -> RequestHead | None:
    """Read the head that `data` begins with; None if there is none, or not all of it.

    Args:
        data: what has come so far.
        cookies: whether the Cookie field is of interest.
        underscores: whether fields with `_` in their name pass on; else they are dropped.

    Raises:
        MessageError: the head breaks a rule; the error says which and which status it earns.
    """
    match = (_PLAIN if cookies else _PLAIN_WITH_COOKIES).match(data)
    if match is None:
        return read_any_request(data, underscores=underscores)
    method, target, fields, host, further, digits, more, name, request_id, last = match.groups()
    if further:
        fields += further
    if more:
        fields += more
    if name:
        fields = b"%b%b: %b\r\n%b" % (fields, name, request_id, last)
    if method == b"CONNECT":
        raise MessageError(501, "CONNECT is not supported")
    head = RequestHead(method, target, fields, match.end(), host, request_id)
    if digits is not None:
        head.declared = True
        head.length = int(digits)
        if head.length and method == b"TRACE":
            raise MessageError(400, "TRACE has no body")
    return head
