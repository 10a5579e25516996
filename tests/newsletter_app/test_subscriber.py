"""What names and addresses are accepted, and how a form is read."""

import string
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from newsletter_app.errors import InvalidInputError
from newsletter_app.subscriber import (
    FORBIDDEN_IN_NAMES,
    NAME_LIMIT,
    Subscriber,
    ascii_email,
    parse_email,
    parse_form,
    parse_name,
)

# A loaded machine is slow: that says nothing about the code.
calm = settings(suppress_health_check=[HealthCheck.too_slow])

ALPHANUMERIC = string.ascii_letters + string.digits
LOCAL = st.text(alphabet=ALPHANUMERIC + ".!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=64)
LABEL = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", fullmatch=True)
EMAIL = st.builds(
    lambda local, labels: f"{local}@{'.'.join(labels)[:255].rstrip('.-')}",
    LOCAL,
    st.lists(LABEL, min_size=1, max_size=3),
)
NAME = st.text(
    alphabet=st.characters(
        codec="utf-8", exclude_characters=[*FORBIDDEN_IN_NAMES, "\0"], exclude_categories=["Cs"]
    ),
    min_size=1,
    max_size=NAME_LIMIT,
).filter(str.strip)


@calm
@given(name=NAME, email=EMAIL)
def test_a_good_form_is_read_as_it_was_written(name: str, email: str) -> None:
    """Whatever is valid comes out unchanged, and further fields are ignored."""
    form = urlencode({"name": name, "email": email, "campaign": "x"}).encode()
    assert parse_form(form) == Subscriber(name, email)


@calm
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """No body makes the reader fail in another way than by refusing it."""
    try:
        subscriber = parse_form(body)
    except InvalidInputError:
        return
    assert "@" in subscriber.email


@calm
@given(st.text())
def test_an_accepted_address_has_an_ascii_form(text: str) -> None:
    """Whatever address is accepted can be given to SMTP."""
    try:
        email = parse_email(text)
    except InvalidInputError:
        return
    assert ascii_email(email).isascii()


@pytest.mark.parametrize("character", [*sorted(FORBIDDEN_IN_NAMES), "\0"])
def test_a_forbidden_character_is_refused(character: str) -> None:
    """A name with one of the forbidden characters, or a NUL, is refused."""
    with pytest.raises(InvalidInputError):
        parse_name(f"Ursula{character}")


@pytest.mark.parametrize("name", ["", " ", "\t\n", "\u00a0\u2003"])
def test_a_blank_name_is_refused(name: str) -> None:
    """A name of nothing but white space, Unicode's included, is refused."""
    with pytest.raises(InvalidInputError):
        parse_name(name)


@pytest.mark.parametrize("cluster", ["a", "e\u0301", "\U0001f469\u200d\U0001f680"])
def test_a_names_length_is_counted_in_grapheme_clusters(cluster: str) -> None:
    """256 of what a reader takes for characters are accepted, 257 are not."""
    assert parse_name(cluster * 256)
    with pytest.raises(InvalidInputError):
        parse_name(cluster * 257)


@pytest.mark.parametrize(
    "email",
    [
        "ursula@example.com",
        "a..b@localhost",
        "o'hara+news@sub.example.co.uk",
        f"{'l' * 64}@example.com",
        f"a@{'d' * 63}.com",
        "ursula@bücher.example",
        f"a@{'.'.join(['d' * 63] * 4)}",
    ],
)
def test_an_address_by_the_rule_of_html_is_accepted(email: str) -> None:
    """What a browser's email field accepts is accepted, unchanged."""
    assert parse_email(email) == email


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ursula",
        "@example.com",
        "ursula@",
        "ur sula@example.com",
        "ürsula@example.com",
        "a@b@example.com",
        f"{'l' * 65}@example.com",
        f"a@{'d' * 64}.com",
        f"a@{'.'.join(['d' * 63] * 4)}.d",
        "a@-example.com",
        "a@example-.com",
        "a@example..com",
        "a@example.com\n",
        "a@example.com\0",
        "a@[127.0.0.1]",
        "a@exa_mple.com",
    ],
)
def test_any_other_address_is_refused(email: str) -> None:
    """What breaks the rule in its local part, its domain or a length is refused."""
    with pytest.raises(InvalidInputError):
        parse_email(email)


def test_smtp_gets_the_domain_in_punycode() -> None:
    """An internationalised domain is handed to SMTP in its ASCII form."""
    assert ascii_email("ursula@bücher.example") == "ursula@xn--bcher-kva.example"


def test_the_name_is_judged_first() -> None:
    """Where both fields are bad, the answer is about the name."""
    with pytest.raises(InvalidInputError, match="name"):
        parse_form(b"email=x")
    with pytest.raises(InvalidInputError, match="name"):
        parse_form(b"email=x&name=%20")


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"name=le%20guin",
        b"name=a&name=b&email=a%40b.c",
        b"name=%ff&email=a%40b.c",
        b"\xff",
        b"name=a%00&email=a%40b.c",
    ],
)
def test_a_broken_form_is_refused(form: bytes) -> None:
    """A missing, a repeated and an undecodable field are each refused with 400."""
    with pytest.raises(InvalidInputError) as refusal:
        parse_form(form)
    assert refusal.value.status == 400
