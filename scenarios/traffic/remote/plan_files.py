"""PURE: the files that a plan names, which must be where the generator is."""

import hashlib
from collections.abc import Callable
from pathlib import PurePath
from typing import TypeVar

import msgspec

from scenarios.traffic.plan import Plan
from scenarios.traffic.settings import TlsSettings

P = TypeVar("P", bound=Plan)


def named_files(plan: Plan) -> tuple[str, ...]:
    """The paths of all files that the plan names, each once: coroutines, arrivals, certificates."""
    found: dict[str, None] = {}

    def note(path: str) -> str:
        found[path] = None
        return path

    with_files(plan, note)
    return tuple(found)


def with_files(plan: P, place: Callable[[str], str]) -> P:
    """The plan with other paths.

    Args:
        plan: the plan.
        place: where the file with a path is now.
    """
    journeys = tuple(
        journey
        if journey.python is None
        else msgspec.structs.replace(journey, python=_moved(journey.python, place))
        for journey in plan.journeys
    )
    return msgspec.structs.replace(
        plan,
        journeys=journeys,
        arrivals_path=None if plan.arrivals_path is None else place(plan.arrivals_path),
        tls=tls_with_files(plan.tls, place),
    )


def tls_with_files(tls: TlsSettings | None, place: Callable[[str], str]) -> TlsSettings | None:
    """The same for how the traffic is encrypted."""
    if tls is None or tls.ca_file is None:
        return tls
    return msgspec.structs.replace(tls, ca_file=place(tls.ca_file))


def place_of(path: str) -> str:
    """Where a file is put below the generator's folder: it keeps its name."""
    folder = hashlib.sha256(path.encode()).hexdigest()[:16]
    return f"{folder}/{PurePath(path).name}"


def _moved(reference: str, place: Callable[[str], str]) -> str:
    file, _, function = reference.rpartition(":")
    return f"{place(file)}:{function}"
