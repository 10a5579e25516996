"""What a step expects of an answer beyond its status, and what it takes from it. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scenarios.traffic.errors import Location
from scenarios.traffic.journeys.header_checks import HeaderExpectation
from scenarios.traffic.journeys.templates import Template
from scenarios.traffic.settings import BodyCheck, Capture, HeaderCheck

_SHOWN = 60


class Answer(NamedTuple):
    """The answer to one request, as far as a check may want it.

    Attributes:
        fields: its header fields in order.
        body: its body, without what goes beyond the reader's limit.
    """

    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Mismatch(Exception):  # noqa: N818 - a finding about the application, not an error of ours
    """The answer is not as it should be; the message says in what."""


class Examination:
    """The checks and captures of one step, ready to be applied.

    Args:
        check: what the body must be like.
        headers: what header fields must be like, by their names.
        capture: what is taken from the answer, by name.
        where: what messages call the step.
        known: the placeholders that the check's texts may hold.

    Raises:
        PlanError: one of them can never be carried out.
    """

    __slots__ = ("_capture", "_contains", "_headers", "_json", "_lacks", "names")

    def __init__(
        self,
        check: BodyCheck | None,
        capture: Mapping[str, Capture],
        *,
        where: Location,
        known: frozenset[str],
        headers: Mapping[str, str | HeaderCheck] | None = None,
    ) -> None:
        check = check or BodyCheck()
        self._headers = [
            HeaderExpectation(
                name,
                each,
                where=where.part(f"expect_headers {name}", "expect_headers", name),
                known=known,
            )
            for name, each in (headers or {}).items()
        ]
        where_body = where.part("expect_body", "expect_body")
        self._contains = [Template(text, where=where_body, known=known) for text in check.contains]
        self._lacks = [Template(text, where=where_body, known=known) for text in check.lacks]
        self._json = [
            (
                path,
                Template(value, where=where_body, known=known) if isinstance(value, str) else value,
            )
            for path, value in check.json.items()
        ]
        self._capture = [
            (name, each, _pattern(each, where=where.part(f"capture {name}", "capture", name)))
            for name, each in capture.items()
        ]
        self.names: frozenset[str] = frozenset().union(
            *(each.names for each in (*self._contains, *self._lacks)),
            *(value.names for _, value in self._json if isinstance(value, Template)),
            *(each.names for each in self._headers),
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to look at."""
        checks = (self._headers, self._contains, self._lacks, self._json, self._capture)
        return not any(checks)

    def apply(self, answer: Answer, values: Mapping[str, str]) -> dict[str, str]:
        """Check the answer; returns what was captured.

        Raises:
            Mismatch: a check does not hold, or there is nothing to capture.
        """
        for expectation in self._headers:
            mismatch = expectation.mismatch(answer.fields, values)
            if mismatch is not None:
                raise Mismatch(mismatch)
        text = answer.body.decode("utf-8", "replace")
        for template in self._contains:
            wanted = template.render(values)
            if wanted not in text:
                raise Mismatch(f"the body does not contain {_short(wanted)}")
        for template in self._lacks:
            unwanted = template.render(values)
            if unwanted in text:
                raise Mismatch(f"the body contains {_short(unwanted)}")
        for path, value in self._json:
            expected = value.render(values) if isinstance(value, Template) else value
            found = _in_json(text, path)
            if found != expected or isinstance(found, bool) != isinstance(expected, bool):
                raise Mismatch(f"{path} in the body is {_short(found)}, not {_short(expected)}")
        return {
            name: _take(capture, pattern, answer, text, name)
            for name, capture, pattern in self._capture
        }


def _pattern(capture: Capture, *, where: Location) -> re.Pattern[str] | None:
    if capture.header is not None and capture.json is not None:
        raise where.error("header and json exclude each other")
    if capture.pattern is None:
        if capture.header is None and capture.json is None:
            raise where.error("it needs one of json, header and pattern")
        return None
    try:
        return re.compile(capture.pattern)
    except re.error as error:
        raise where.error(f"pattern {capture.pattern!r}: {error}") from error


def _take(
    capture: Capture, pattern: re.Pattern[str] | None, answer: Answer, text: str, name: str
) -> str:
    if capture.header is not None:
        wanted = capture.header.lower()
        values = [value for field, value in answer.fields if field.lower() == wanted]
        if not values:
            raise Mismatch(f"there is no header {capture.header} to capture {name} from")
        text = "\n".join(values)
    elif capture.json is not None:
        found = _in_json(text, capture.json)
        text = found if isinstance(found, str) else json.dumps(found)
    if pattern is None:
        return text
    match = pattern.search(text)
    if match is None:
        raise Mismatch(f"nothing matches {_short(pattern.pattern)} to capture {name} from")
    return match[1] if pattern.groups else match[0]


def _in_json(text: str, path: str) -> object:
    """What is at a path such as `items.0.name`; the empty path is the whole document."""
    try:
        found: object = json.loads(text)
    except ValueError:
        raise Mismatch(f"the body is not JSON: {_short(text)}") from None
    for key in path.split(".") if path else ():
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif (
            isinstance(found, Sequence)
            and not isinstance(found, str)
            and key.isdecimal()
            and int(key) < len(found)
        ):
            found = found[int(key)]
        else:
            raise Mismatch(f"the body has no {path}")
    return found


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
