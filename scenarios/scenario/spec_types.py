"""What type a key of a scenario has, for messages and for paths."""

from collections.abc import Mapping
from typing import get_args

import msgspec


def field_names(kind: object) -> list[str]:
    """The keys that a table of this type may have."""
    struct = struct_in(kind)
    return [] if struct is None else list(struct.__struct_encode_fields__)


def step_into(kind: object, key: str) -> object:
    """The type of one key of a table, or of one element of an array; None when it has none."""
    if key.isdecimal() and struct_in(kind) is not None:
        return struct_in(kind)
    struct = struct_in(kind) if not _is_mapping(kind) else None
    if struct is not None:
        for each in msgspec.structs.fields(struct):
            if each.encode_name == key:
                return each.type
        return None
    arguments = get_args(kind)
    return arguments[-1] if arguments else None  # a mapping: what it maps to


def struct_in(kind: object) -> type[msgspec.Struct] | None:
    """The struct in an annotation such as `X`, `X | None`, `tuple[X, ...]` or `Annotated[X, …]`."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    for argument in get_args(kind):
        found = struct_in(argument)
        if found is not None:
            return found
    return None


def _is_mapping(kind: object) -> bool:
    return getattr(kind, "__origin__", None) is Mapping
