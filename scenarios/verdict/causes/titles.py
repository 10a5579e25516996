"""The titles of causes."""

import re

_CODE = re.compile(r"^(?:SQLSTATE \w{5}|HTTP \d{3}): ")


def without_code(title: str) -> str:
    """The title of a cause without the code that its id has, too."""
    return _CODE.sub("", title)
