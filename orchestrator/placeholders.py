"""Placeholders in commands and environments: `{port}` is what it stands for."""

from collections.abc import Mapping
from string import Formatter

from orchestrator.errors import OrchestratorError


class PlaceholderError(OrchestratorError):
    """A placeholder that nobody can fill; the message names it and those that there are."""


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put the values in; `{{` and `}}` stand for one brace each.

    Raises:
        PlaceholderError: the text names a value that is not there, or its braces do not match.
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
