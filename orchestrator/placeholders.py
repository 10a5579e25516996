"""Placeholders in commands and environments, such as `{port}`."""

from collections.abc import Mapping
from string import Formatter

from orchestrator.errors import OrchestratorError


class PlaceholderError(OrchestratorError):
    """An unknown placeholder; the message names it and the known ones."""


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders by their values; `{{` and `}}` stand for one brace each.

    Raises:
        PlaceholderError: the text has an unknown placeholder, or its braces do not match.
    """
    parts = []
    try:
        for literal, name, spec, conversion in Formatter().parse(text):
            parts.append(literal)
            if name is None:
                continue
            if name not in values or spec or conversion:
                raise PlaceholderError(
                    f"no placeholder {{{name}}} in {text!r}; "
                    f"there are {', '.join(f'{{{known}}}' for known in sorted(values))} "
                    "(two braces stand for one)"
                )
            parts.append(values[name])
    except ValueError as error:
        raise PlaceholderError(f"{text!r}: {error} (two braces stand for one)") from error
    return "".join(parts)
