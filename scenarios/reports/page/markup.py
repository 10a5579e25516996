"""HTML into which text goes only escaped."""

from typing import Any

from markupsafe import Markup

from scenarios.reports import words


class Html(Markup):
    """HTML of our own; `format`, `join` and `+` clean and escape what they put into it.

    What is HTML itself goes in as it is. Text from outside therefore has no effect on a page, in
    content and in quoted attributes.
    """

    @classmethod
    def escape(cls, s: Any, /) -> "Html":  # noqa: ANN401 - as in markupsafe
        """The value as HTML: itself if it is some, else its text without control characters."""
        if hasattr(s, "__html__"):
            return cls(s)
        return cls(Markup.escape(words.clean(s)))
