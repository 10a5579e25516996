"""How a value in a store is written, without the value. Pure.

What is kept of a value are its format, and of JSON objects the names and types of their fields.
Names that may be data, such as ids and tokens, become `*`.

Sources: the magic numbers are those of the formats: Python, *pickletools* (`PROTO`); RFC 1952
(gzip), RFC 1950 (zlib), RFC 8878 (Zstandard); Java Object Serialization Specification, 6.4.2; PHP,
`serialize`; RFC 8259 (JSON).
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

MOST_FIELDS = 30
"""An object with more fields is a table whose names are data; its fields are not kept."""

_SEPARATORS = re.compile(r"([:/|])")
_NAME = re.compile(r"[A-Za-z][A-Za-z_.-]{0,23}|v\d{1,3}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}")
_LONG_NUMBER = re.compile(r"\d{4,}")
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_PHP = re.compile(rb"(?:a:\d+:\{|O:\d+:\"|s:\d+:\"|i:-?\d+;|b:[01];)")
_MAGIC: Mapping[bytes, str] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x78\x01": "zlib",
    b"\x78\x9c": "zlib",
    b"\x78\xda": "zlib",
    b"\xac\xed\x00\x05": "java serialization",
}
_KINDS: Mapping[type, str] = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}


def pattern_of(key: bytes) -> str:
    """What a key has in common with others of its kind: `session:9f2c` gives `session:*`."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return "*"
    parts = _SEPARATORS.split(text)
    return "".join(
        part if number % 2 or not part or _NAME.fullmatch(part) else "*"
        for number, part in enumerate(parts)
    )


def form_of(value: bytes, *, whole: bool = True) -> tuple[str, tuple[str, ...]]:
    """The format of a value, and the fields of a JSON object.

    Args:
        value: the value, or its beginning.
        whole: whether it is the whole value.
    """
    if value[:1] in (b"{", b"[", b'"') or value in (b"true", b"false", b"null"):
        return _json(value, whole=whole)
    return _format(value), ()


def fields_of(values: Iterable[tuple[bytes, bytes]]) -> tuple[str, ...]:
    """The fields of a hash, each with the format of its value."""
    return _named((name, form_of(value)[0]) for name, value in values)


def _format(value: bytes) -> str:
    """The format of a value that is no JSON."""
    if not value:
        return "empty"
    if len(value) > 1 and value[0] == 0x80 and value[1] in range(2, 8):  # noqa: PLR2004 - pickletools
        return f"pickle protocol {value[1]}"
    for magic, name in _MAGIC.items():
        if value.startswith(magic):
            return name
    if _NUMBER.fullmatch(value):
        return "number"
    return "php serialize" if _PHP.match(value) else _text(value)


def _json(value: bytes, *, whole: bool) -> tuple[str, tuple[str, ...]]:
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        if whole or value[:1] == b'"':
            return _text(value), ()
        return _opened(value), ()
    except RecursionError:  # it is nested too deeply to be read
        return _opened(value), ()
    kind = _KINDS[type(found)]
    if not isinstance(found, dict):
        return f"json {kind}", ()
    return "json object", _named((name.encode(), _KINDS[type(one)]) for name, one in found.items())


def _opened(value: bytes) -> str:
    return "json object" if value[:1] == b"{" else "json array"


def _named(fields: Iterable[tuple[bytes, str]]) -> tuple[str, ...]:
    found: set[str] = set()
    number = 0
    for name, kind in fields:
        number += 1
        text = name.decode("utf-8", "replace")
        known = _FIELD.fullmatch(text) is not None and _LONG_NUMBER.search(text) is None
        found.add(f"{text if known else '*'}: {kind}")
    return () if number > MOST_FIELDS else tuple(sorted(found))


def _text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        if error.start < len(value) - 3:  # a character that is cut off at the end is text
            return f"binary 0x{value[:1].hex()}"
        return "text"
    return "text" if text.isprintable() or "\n" in text else f"binary 0x{value[:1].hex()}"
