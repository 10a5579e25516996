"""What a JSON answer looks like: which values it has, and of which types."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

NULL = "null"

_DATA = re.compile(r"^\d|\d{4}|[0-9a-f]{8}-[0-9a-f]{4}-|.@.|[\ud800-\udfff]")
"""A key of which this is a part is data, such as a date, an id or an address, and no name."""


def shape_of(body: bytes) -> tuple[str, ...]:
    """The values of a JSON document, each as `path type`; empty if it is not JSON.

    All elements of an array share the path with `[]` at its end. So do all values of an object
    whose keys are data, such as dates and ids: their key is `*`.
    """
    try:
        document = _decoded(body)
    except (ValueError, RecursionError):
        return ()
    return tuple(sorted({f"{path} {kind}" for path, kind in _values(document, "$")}))


def differences(before: Iterable[str], now: Iterable[str]) -> tuple[str, ...]:
    """In what answers now differ from those before, as a client would notice it.

    New values are fine: a client ignores what it does not know (RFC 9413, section 4).

    Args:
        before: the shape that clients know.
        now: the shape now.
    """
    old, new = types_of(before), types_of(now)
    found = []
    for path, kinds in sorted(old.items()):
        if path not in new:
            if could_be_there(path, new):
                found.append(f"{path} is missing")
        elif not kinds & new[path] and NULL not in kinds | new[path]:
            found.append(f"{path} is now {either(new[path])}, and was {either(kinds)}")
    return tuple(found)


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return json.loads(body)  # it also takes `NaN`, as some servers write it


def _values(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        yield path, "object"
        for key, part in value.items():
            yield from _values(part, f"{path}.{'*' if _DATA.search(key) else key}")
    elif isinstance(value, list):
        yield path, "array"
        for part in value:
            yield from _values(part, f"{path}[]")
    elif value is None:
        yield path, NULL
    elif isinstance(value, bool):
        yield path, "boolean"
    elif isinstance(value, str):
        yield path, "string"
    else:
        yield path, "number"


def types_of(shape: Iterable[str]) -> dict[str, set[str]]:
    """The types of each path of a shape."""
    found: dict[str, set[str]] = {}
    for one in shape:
        path, _, kind = one.rpartition(" ")
        found.setdefault(path, set()).add(kind)
    return found


def could_be_there(path: str, shape: Mapping[str, set[str]]) -> bool:
    """Whether a value could have been there; an empty array has no elements to miss.

    Neither has an object whose keys are data.
    """
    return not path.endswith(("[]", ".*")) and path.rpartition(".")[0] in shape


def either(kinds: Iterable[str]) -> str:
    """Types in words."""
    return " or ".join(sorted(kinds))
