"""PURE: which values of a request come from an earlier response, and how to take them from there.

A browser's user types some values, and the application gives the others: ids, tokens, addresses of
assets. A value that was first seen in a response is captured from there, in each visit anew.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scenarios.traffic.settings import Capture

_OPAQUE = 8  # so long a text is hardly the same by chance
_ID_NAME = re.compile(
    r"(^|[_.-]|(?<=[a-z]))(id|uuid|guid|slug|key|token|number|code)$", re.IGNORECASE
)
_VARIES = re.compile(r"(?<![A-Za-z])(?=[\w-]*\d)[0-9A-Fa-f-]{6,}|(?<=[.-])(?=\w*\d)\w{6,}|\d+")
_ENDS = "\"'<>&\\s"
_CONTEXT = 30


@dataclass(frozen=True, slots=True)
class RecordedResponse:
    """What a request of the recording was answered.

    Attributes:
        text: its body, decoded; empty if it is no text.
        document: the same, if it is JSON.
        location: the header field, or "".
    """

    text: str
    document: object = None
    location: str = ""

    @classmethod
    def of(cls, text: str, mime: str, location: str) -> "RecordedResponse":
        """From a body as it was recorded."""
        document = None
        if "json" in mime or text[:1] in {"{", "["}:
            try:
                document = json.loads(text)
            except ValueError:
                document = None
        return cls(text, document, location)


def captured(value: str, response: RecordedResponse) -> Capture | None:
    """Where a response has a value, or None if it has it nowhere, or perhaps by chance only."""
    target = re.sub(r"^[a-z]+://[^/]*", "", response.location)
    if target and _is_id(value) and value in re.split(r"[/?#=&]", target):
        before = target.split(value)[0]
        return Capture(header="Location", pattern=f"{_general(before)}([^/?#&]+)")
    if response.document is not None:
        leaves = [place for place, leaf in _leaves(response.document) if _same(leaf, value)]
        named = [place for place in leaves if _ID_NAME.search(place)]
        if named or (leaves and len(value) >= _OPAQUE):
            return Capture(json=(named or leaves)[0])
        return None
    return _in_text(value, response.text) if len(value) >= _OPAQUE and _is_id(value) else None


def captured_field(name: str, value: str, response: RecordedResponse) -> Capture | None:
    """Where a page has the value of a hidden field, by the name of the field."""
    if not value or response.document is not None:
        return None
    quoted = re.escape(name)
    for pattern in (
        rf"name=[\"']{quoted}[\"'][^>]*?\bvalue=[\"']([^\"']+)",
        rf"value=[\"']([^\"']+)[\"'][^>]*?\bname=[\"']{quoted}[\"']",
    ):
        found = re.search(pattern, response.text)
        if found is not None and found[1] == value:
            return Capture(pattern=pattern)
    return None


def captured_path(path: str, response: RecordedResponse) -> Capture | None:
    """Where a page leads to a path that has an id, or a hash, in it; the path without its `/`."""
    if response.document is not None or _VARIES.search(path) is None:
        return None
    written = next((form for form in _forms(path) if form in response.text), None)
    if written is None:
        return None
    pattern = f"[\"'=(]/({_general(written.removeprefix('/'))})(?=[\"'?#)\\s>])"
    found = re.search(pattern, response.text)
    return Capture(pattern=pattern) if found is not None else None


def without_ids(text: str) -> str:
    """A text without the parts that may be others in the next visit."""
    return _VARIES.sub(" ", text)


def placeholder(hint: str, taken: Sequence[str]) -> str:
    """A name of letters and `_` that is not taken yet."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", hint).lower()
    name = re.sub(r"[^a-z]+", "_", words).strip("_") or "value"
    while name in taken:
        name += "_next"
    return name


def _is_id(value: str) -> bool:
    """Whether nobody would type it: words of a path are no ids."""
    return any(letter.isdigit() for letter in value)


def _escaped(text: str) -> str:
    return re.escape(text).replace("\\ ", " ")


def _forms(path: str) -> Iterator[str]:
    yield path
    if "&" in path:
        yield path.replace("&", "&amp;")


def _general(text: str) -> str:
    """A pattern for a text, in which ids and hashes may be others."""
    parts: list[str] = []
    end = 0
    for found in _VARIES.finditer(text):
        parts.append(_escaped(text[end : found.start()]))
        parts.append(r"\d+" if found[0].isdecimal() else r"[\w-]+")
        end = found.end()
    return "".join(parts) + _escaped(text[end:])


def _in_text(value: str, text: str) -> Capture | None:
    at = text.find(value)
    if at < 0:
        return None
    before = text[max(0, at - _CONTEXT) : at].splitlines()
    context = before[-1] if before else ""
    pattern = _escaped(context) + f"([^{_ENDS}]+)"
    found = re.search(pattern, text)
    return Capture(pattern=pattern) if context and found and found[1] == value else None


def _leaves(document: object, place: str = "") -> Iterator[tuple[str, object]]:
    start = f"{place}." if place else ""
    match document:
        case Mapping():
            for name, each in document.items():
                if "." not in name:  # such a name cannot be said in a path
                    yield from _leaves(each, f"{start}{name}")
        case list():
            for number, each in enumerate(document):
                yield from _leaves(each, f"{start}{number}")
        case _:
            yield place, document


def _same(leaf: object, value: str) -> bool:
    if isinstance(leaf, bool) or leaf is None:
        return False
    return str(leaf) == value
