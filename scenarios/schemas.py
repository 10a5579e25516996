"""Published formats as JSON Schema (2020-12), with the documentation of each field."""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from scenarios.spec import IntegritySpec, ReleaseSpec, Scenario, TrafficSpec
from scenarios.verdict.model import Verdict

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FIELD = re.compile(r"^(\w+): (.*)$")


def verdict_schema() -> bytes:
    """The JSON Schema of `verdict.json`, as published in `docs/verdict.schema.json`."""
    return encode(described(Verdict, "verdict.json of hitless, schema version 1"))


def scenario_schema() -> bytes:
    """The JSON Schema of a scenario file.

    A file that extends another one need not say again what that one says, so nothing in its tables
    is required; where there is no `extends`, it is.
    """
    schema = described(Scenario, "A scenario file of hitless")
    definitions = schema["$defs"]
    required = {
        key: definitions[name].pop("required")
        for key, name in (
            ("release", ReleaseSpec.__name__),
            ("traffic", TrafficSpec.__name__),
            ("integrity", IntegritySpec.__name__),
        )
    }
    scenario = definitions[Scenario.__name__]
    scenario["if"] = {"not": {"required": ["extends"]}}
    scenario["then"] = {
        "required": scenario.pop("required"),
        "properties": {key: {"required": keys} for key, keys in required.items()},
    }
    return encode(schema)


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
