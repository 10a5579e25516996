"""Text becomes HTML only by being escaped."""

import html

from hypothesis import given
from hypothesis import strategies as st

from scenarios.reports import words
from scenarios.reports.page.markup import Html


@given(st.text())
def test_text_has_no_effect(text: str) -> None:
    """By whichever way text goes in, nothing but that text can be read from the page."""
    for shown in (Html("{}").format(text), Html().join([text]), Html() + text, Html.escape(text)):
        assert isinstance(shown, Html)
        assert not set("<>\"'") & set(shown)
        assert html.unescape(shown) == words.clean(text)


def test_html_stays_html() -> None:
    """What is HTML goes into HTML as it is, and only once."""
    inner = Html("<b>{}</b>").format("<")
    assert Html("<p>{}</p>").format(inner) == "<p><b>&lt;</b></p>"
    assert Html(", ").join([inner, "&"]) == "<b>&lt;</b>, &amp;"
