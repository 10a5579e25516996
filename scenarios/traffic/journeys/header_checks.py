"""What a step expects of the header fields of a response. Pure."""

import re
from collections.abc import Mapping, Sequence

from scenarios.traffic.errors import Location
from scenarios.traffic.journeys.templates import Template
from scenarios.traffic.settings import HeaderCheck

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_SHOWN = 60


class HeaderExpectation:
    """The check of one header field.

    A field may occur on several lines. A check of its value holds if it holds for one of them.

    Args:
        name: the name of the field, in any case.
        check: what it must be like; a text: it must be equal to that.
        where: what messages call the step.
        known: the placeholders that the check's texts may contain.

    Raises:
        PlanError: it can never be carried out.
    """

    __slots__ = ("_absent", "_contains", "_equals", "_name", "_pattern", "names")

    def __init__(
        self, name: str, check: HeaderCheck | str, *, where: Location, known: frozenset[str]
    ) -> None:
        if not TOKEN.fullmatch(name):
            raise where.error(f"{name!r} is not the name of a header field")
        check = HeaderCheck(equals=check) if isinstance(check, str) else check
        if check.absent and any((check.equals, check.contains, check.pattern)):
            raise where.error("absent excludes equals, contains and pattern", "absent")
        self._name, self._absent = name, check.absent
        self._equals = _template(check.equals, where.part("equals", "equals"), known)
        self._contains = _template(check.contains, where.part("contains", "contains"), known)
        try:
            self._pattern = None if check.pattern is None else re.compile(check.pattern)
        except re.error as error:
            raise where.error(f"pattern {check.pattern!r}: {error}", "pattern") from error
        given = (one for one in (self._equals, self._contains) if one is not None)
        self.names: frozenset[str] = frozenset().union(*(one.names for one in given))

    def mismatch(self, fields: Sequence[tuple[str, str]], values: Mapping[str, str]) -> str | None:
        """In what the fields of a response are not as expected; None if they are.

        Args:
            fields: all header fields of the response.
            values: the values of the placeholders.
        """
        found = [text for name, text in fields if name.lower() == self._name.lower()]
        if self._absent:
            return f"there is a header {self._name}: {_short(found[0])}" if found else None
        if not found:
            return f"there is no header {self._name}"
        shown = f"header {self._name} is {_short(', '.join(found))}"
        if self._equals is not None:
            wanted = self._equals.render(values)
            if wanted not in found:
                return f"{shown}, not {_short(wanted)}"
        if self._contains is not None:
            wanted = self._contains.render(values)
            if not any(wanted in text for text in found):
                return f"{shown} and does not contain {_short(wanted)}"
        if self._pattern is not None and not any(map(self._pattern.search, found)):
            return f"{shown} and does not match {_short(self._pattern.pattern)}"
        return None


def _template(text: str | None, where: Location, known: frozenset[str]) -> Template | None:
    return None if text is None else Template(text, where=where, known=known)


def _short(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
