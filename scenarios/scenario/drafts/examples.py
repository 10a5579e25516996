"""PURE: a value that fits a JSON schema, for requests of which only the schema is known.

Source: OpenAPI 3.1, section 4.8.24, and JSON Schema 2020-12.
"""

from collections.abc import Callable, Mapping
from typing import Any

Resolve = Callable[[object], Mapping[str, Any]]
"""Follows a `$ref`."""

_DEEPEST = 8
_UNIQUE = "s1-000000"  # what {unique} becomes
_FORMATS: Mapping[str, Any] = {
    "email": "{user}",
    "uuid": "{uuid}",
    "date-time": "2026-01-01T12:00:00Z",
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "password": "{unique}-Aa1",
}
# An application refuses the second user with the same one, whatever the document's example says.
_NAMES: Mapping[str, str] = {
    "email": "{user}",
    "emailaddress": "{user}",
    "username": "{unique}",
    "login": "{unique}",
    "password": "{unique}-Aa1",
}


def example(schema: object, resolve: Resolve, name: str = "", depth: int = 0) -> object:
    """A value for a schema: the example that it gives, else the smallest that it allows.

    Args:
        schema: a schema object, or True for any value.
        resolve: follows a `$ref`.
        name: the property that the value is for; emails and user names get placeholders.
        depth: how deep in the whole value it is; too deep (a schema that contains itself) is null.
    """
    known = flat(schema, resolve)
    kind = _kind(known)
    hint = _NAMES.get(name.lower().replace("_", "").replace("-", ""))
    if hint is not None and kind in {"string", None}:
        return hint
    given = _given(known)
    if given is not None or depth > _DEEPEST:
        return given
    if kind == "object":
        return _object(known, resolve, depth)
    if kind == "array":
        return [example(known.get("items", True), resolve, name, depth + 1)]
    return _scalar(kind, known)


def _given(schema: Mapping[str, Any]) -> object:
    for key in ("example", "const", "default"):
        if schema.get(key) is not None:
            return schema[key]
    for key in ("examples", "enum"):
        given = schema.get(key)
        if isinstance(given, list) and given:
            return given[0]
    return None


def _scalar(kind: str | None, schema: Mapping[str, Any]) -> object:
    match kind:
        case "integer":
            return _least(schema)
        case "number":
            return float(_least(schema))
        case "boolean":
            return True
        case "null":
            return None
    return _string(schema)


def flat(schema: object, resolve: Resolve, depth: int = 0) -> dict[str, Any]:
    """A schema with its reference followed, its parts (`allOf`) joined and one variant chosen."""
    if not isinstance(schema, Mapping):
        return {}
    here = dict(resolve(schema))
    if depth > _DEEPEST:
        return here
    for part in here.pop("allOf", None) or ():
        inner = flat(part, resolve, depth + 1)
        here["properties"] = {**inner.get("properties", {}), **here.get("properties", {})}
        here["required"] = [*inner.get("required", ()), *here.get("required", ())]
        here = {**inner, **here}
    for key in ("oneOf", "anyOf"):
        variants = [flat(each, resolve, depth + 1) for each in here.pop(key, None) or ()]
        chosen = next((each for each in variants if each.get("type") != "null"), None)
        if chosen is not None:
            here = {**chosen, **{name: each for name, each in here.items() if name != "title"}}
    return here


def _kind(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind is None and "properties" in schema:
        return "object"
    return kind if isinstance(kind, str) else None


def _object(schema: Mapping[str, Any], resolve: Resolve, depth: int) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    wanted = [name for name in properties if name in (schema.get("required") or ())]
    if not wanted and depth == 0:
        wanted = list(properties)[:1]  # an update that changes nothing may be refused
    return {name: example(properties[name], resolve, name, depth + 1) for name in wanted}


def _least(schema: Mapping[str, Any]) -> int:
    least = schema.get("minimum")
    above = schema.get("exclusiveMinimum")
    if isinstance(above, int | float) and not isinstance(above, bool):
        return int(above) + 1
    if isinstance(least, int | float):
        return int(least) + (1 if above is True or least != int(least) else 0)
    most = schema.get("maximum", 1)
    return int(min(1, most)) if isinstance(most, int | float) else 1


def _string(schema: Mapping[str, Any]) -> str:
    given = _FORMATS.get(str(schema.get("format", "")))
    if isinstance(given, str):
        return given
    most = schema.get("maxLength")
    least = int(schema.get("minLength", 0))
    if isinstance(most, int) and most < len(_UNIQUE):
        return "a" * max(1, min(most, least or most))
    return "{unique}" + "a" * max(0, least - len(_UNIQUE))
