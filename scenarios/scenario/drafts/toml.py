"""PURE: journeys as the text of a scenario file (TOML 1.0)."""

import json
import math
import re
from collections.abc import Mapping, Sequence

import msgspec

from scenarios.traffic.settings import Journey, Step

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def text(value: str) -> str:
    """A basic string. All escapes of JSON are valid in TOML, except those of surrogates.

    TOML also wants DEL to be escaped.
    """
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def value(item: object) -> str:
    """A value on one line.

    Raises:
        TypeError: it has a value that TOML has no word for, such as null.
    """
    match item:
        case str():
            return text(item)
        case bool():
            return "true" if item else "false"
        case int():
            return str(item)
        case float() if math.isfinite(item):
            return repr(item)
        case Mapping():
            inside = ", ".join(f"{_key(name)} = {value(each)}" for name, each in item.items())
            return f"{{ {inside} }}" if inside else "{}"
        case list() | tuple():
            return "[" + ", ".join(value(each) for each in item) + "]"
    raise TypeError(f"TOML has no {type(item).__name__}")


def can_say(item: object) -> bool:
    """Whether TOML can express a JSON value: it has no null."""
    match item:
        case Mapping():
            return all(can_say(each) for each in item.values())
        case list() | tuple():
            return all(can_say(each) for each in item)
    return item is not None


def set_up(steps: Sequence[Step]) -> str:
    """The tables of the set-up."""
    return "\n".join(_table("[[traffic.set_up]]", step) for step in steps)


def journey(one: Journey) -> str:
    """The tables of one journey. What has its default value is left out."""
    head = [
        "[[traffic.journeys]]",
        f"name = {text(one.name)}",
        f"weight = {value(one.weight if one.weight is not None else 1)}",
    ]
    steps = "\n".join(_table("[[traffic.journeys.steps]]", step) for step in one.steps)
    return "\n".join(head) + "\n\n" + steps


def _table(title: str, step: Step) -> str:
    fields = msgspec.structs.fields(Step)
    lines = [title]
    if step.method != "GET":
        lines.append(f"method = {text(step.method)}")
    lines.append(f"path = {text(step.path)}")
    for each in fields:
        given = getattr(step, each.name)
        if each.name in {"method", "path"} or given == _default(each):
            continue
        lines.append(f"{each.name} = {value(_plain(given))}")
    return "\n".join(lines) + "\n"


def _default(one: msgspec.structs.FieldInfo) -> object:
    factory = one.default_factory
    return one.default if factory is msgspec.NODEFAULT else factory()


def _plain(given: object) -> object:
    match given:
        case msgspec.Struct():
            pairs = msgspec.structs.asdict(given).items()
            return {name: _plain(each) for name, each in pairs if each not in (None, (), {})}
        case Mapping():
            return {name: _plain(each) for name, each in given.items()}
    return given


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else text(name)
