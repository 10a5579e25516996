"""What type a key of a scenario has, for messages and for paths."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args, get_origin

import msgspec


def field_names(kind: object) -> list[str]:
    """The keys that a table of this type may have."""
    struct = struct_in(kind)
    return [] if struct is None else list(struct.__struct_encode_fields__)


def step_into(kind: object, key: str) -> object:
    """The type of one key of a table, or of one element of an array; None when it has none."""
    if key.isdecimal():
        return struct_in(kind) or _element_of(kind)
    struct = struct_in(kind) if not _is_mapping(kind) else None
    if struct is not None:
        for each in msgspec.structs.fields(struct):
            if each.encode_name == key:
                return each.type
        return None
    arguments = get_args(kind)
    if not _is_mapping(kind):  # a union may have a mapping in it
        arguments = next((get_args(one) for one in arguments if _is_mapping(one)), arguments)
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


def choices_in(kind: object) -> tuple[str, ...]:
    """The words that an annotation with a `Literal` allows; none if it has no such part."""
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    return tuple(word for argument in get_args(kind) for word in choices_in(argument))


def _element_of(kind: object) -> object:
    """The type of the elements in an annotation such as `tuple[X, ...] | None`."""
    if get_origin(kind) in (tuple, list, Sequence):
        return get_args(kind)[0]
    found = (_element_of(argument) for argument in get_args(kind))
    return next((one for one in found if one is not None), None)


def _is_mapping(kind: object) -> bool:
    return getattr(kind, "__origin__", None) is Mapping
