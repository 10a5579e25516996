"""A type of structs as JSON Schema (2020-12), with the documentation of each field."""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FIELD = re.compile(r"^(\w+): (.*)$")


def described(kind: object, title: str) -> dict[str, Any]:
    """The JSON Schema of a type of structs; their docstrings describe its fields."""
    schema = msgspec.json.schema(kind)
    named = {struct.__name__: struct for struct in structs(kind)}
    for name, definition in schema.get("$defs", {}).items():
        if name in named:
            _describe(definition, named[name])
    return {"$schema": DIALECT, "title": title, **schema}


def encode(schema: Mapping[str, object]) -> bytes:
    """A schema as it is published: indented, with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def structs(kind: object) -> Iterable[type[msgspec.Struct]]:
    """All structs that a type consists of, outer ones first."""
    found: dict[type[msgspec.Struct], None] = {}
    waiting: list[object] = [msgspec.inspect.type_info(kind)]
    while waiting:
        about = waiting.pop(0)
        if isinstance(about, msgspec.inspect.StructType):
            if about.cls in found:
                continue
            found[about.cls] = None
            waiting += [field.type for field in about.fields]
        elif isinstance(about, msgspec.inspect.Type):
            parts = (getattr(about, name, None) for name in about.__struct_fields__)
            for part in parts:
                waiting += part if isinstance(part, tuple) else [part]
    return found


def _describe(definition: dict[str, Any], struct: type[msgspec.Struct]) -> None:
    about, fields = documented(struct.__doc__ or "")
    definition["description"] = about
    names = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    for name, text in fields.items():
        key = names.get(name)
        if key in definition.get("properties", {}):
            definition["properties"][key]["description"] = text


def documented(text: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of its class, and of each of its attributes."""
    about, _, rest = inspect.cleandoc(text).partition("\nAttributes:\n")
    fields: dict[str, str] = {}
    last = ""
    for line in inspect.cleandoc(rest).splitlines():
        field = _FIELD.match(line)
        if field is not None:
            last = field[1]
            fields[last] = field[2]
        elif last and line.startswith(" "):
            fields[last] += f" {line.strip()}"
    return " ".join(about.split()), fields
