"""A user's cookies are those of a browser, and never more than a request can carry."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.traffic.wire.cookies import MOST_BYTES, MOST_COOKIES, MOST_IN_ALL, CookieJar

NOW = 1_800_000_000.0


def jar(*fields: str, now: float = NOW) -> CookieJar:
    made = CookieJar()
    made.take(fields, now)
    return made


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ([], ""),
        (["release=b; Path=/; HttpOnly; SameSite=Lax"], "release=b"),
        (["a=1", "b=2"], "a=1; b=2"),
        (["a=1", "b=2", "a=3"], "a=3; b=2"),
        (['  quoted = "x y"  ; Secure'], 'quoted="x y"'),
        (["base64=YQ==; Domain=else.where; Path=/only/there"], "base64=YQ=="),
        (["empty="], "empty="),
        (["no pair", "=nameless", "", ";"], ""),
        (["bell=\x07", "nul=a\x00b", "delete=\x7f"], ""),
        (["a=1; max-age=60"], "a=1"),
        (["a=1", "a=; Max-Age=0"], ""),
        (["a=1", "a=; Max-Age=-1"], ""),
        (["a=1; Max-Age=soon"], "a=1"),
        (["a=1; Max-Age=" + "9" * 5000], "a=1"),
        (["a=1", "a=2; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], ""),
        (["a=1; Expires=Fri, 31 Dec 9999 23:59:59 GMT"], "a=1"),
        (["a=1; Expires=Sunday, 06-Nov-94 08:49:37 GMT"], ""),
        (["a=1; Expires=Wed, 32 Foo 2026 00:00:00 GMT"], "a=1"),
        (["a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60"], "a=1"),
        (["a=1; Max-Age=0; Expires=Fri, 31 Dec 9999 23:59:59 GMT"], ""),
    ],
)
def test_what_is_set_is_sent(fields: list[str], sent: str) -> None:
    """Name and value come back as they are; the last one of a name counts, and what expired goes.

    `Max-Age` is stronger than `Expires`, and an attribute that makes no sense is as if it was
    absent (RFC 6265, sections 5.2 and 5.3).
    """
    assert jar(*fields).field(NOW) == sent


def test_a_cookie_lives_as_long_as_it_may() -> None:
    """After its `Max-Age` a cookie is sent no more, and others are."""
    made = jar("short=1; Max-Age=5", "session=2")
    assert made.field(NOW + 4.9) == "short=1; session=2"
    assert made.field(NOW + 5) == "session=2"


def test_the_oldest_make_room() -> None:
    """Beyond the number and the size of what is kept the oldest cookies go."""
    many = jar(*(f"c{n}=1" for n in range(MOST_COOKIES + 3))).field(NOW).split("; ")
    assert (len(many), many[0]) == (MOST_COOKIES, "c3=1")
    big = jar(*(f"{name}={'x' * (MOST_BYTES - 1)}" for name in "abc")).field(NOW)
    assert re.findall(r"([abc])=", big) == ["b", "c"]
    assert jar(f"a={'x' * MOST_BYTES}").field(NOW) == ""


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=80), max_size=80))
def test_whatever_is_set_can_be_sent(fields: list[str]) -> None:
    """No answer makes a request that breaks its framing, or that grows with the answers."""
    sent = jar(*fields, *(f"n{n}={text}" for n, text in enumerate(fields))).field(NOW)
    assert re.search(r"[\x00-\x08\x0a-\x1f\x7f]", sent) is None
    assert len(sent.encode("latin-1")) <= MOST_IN_ALL + 3 * MOST_COOKIES
