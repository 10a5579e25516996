"""Scenario files: found, read, merged with what they extend; refused with file, line and key."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec

from scenarios.errors import ScenarioError, near
from scenarios.scenario.checks import check
from scenarios.scenario.directories import directory_of
from scenarios.scenario.key_locations import Source
from scenarios.scenario.paths import moved
from scenarios.scenario.spec import Scenario, TrafficSpec

CATALOG = Path(__file__).parent / "catalog"
"""The built-in scenarios; a file whose name begins with `_` is only there to be extended."""

_PLACE = re.compile(r" - at `\$(?P<path>.*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`")
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*)`")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A scenario with where it came from.

    Attributes:
        scenario: what it says.
        path: its file; relative paths in it start from there.
    """

    scenario: Scenario
    path: Path

    def traffic(self) -> TrafficSpec:
        """What the users do, with its files as they can be opened from anywhere."""
        said, beside = self.scenario.traffic, self.path.parent.resolve()
        journeys = tuple(
            journey
            if journey.python is None
            else msgspec.structs.replace(journey, python=str(beside / journey.python))
            for journey in said.journeys
        )
        recorded = None if said.arrivals_path is None else str(beside / said.arrivals_path)
        return msgspec.structs.replace(said, journeys=journeys, arrivals_path=recorded)

    def directory(self, reference: str) -> Path:
        """The directory that a scenario names: beside its file, or `package:folder`.

        Raises:
            ScenarioError: there is no such directory or package.
        """
        try:
            return directory_of(reference, self.path.parent)
        except ScenarioError as error:
            raise ScenarioError(f"{self.path}: {error}") from error


def builtin_names() -> list[str]:
    """The names of the built-in scenarios, in the order in which the book meets them."""
    order = (
        *("big-bang", "code-first", "with-default", "expand-contract", "code-first-gated"),
        *(
            "undo",
            "undo-refused",
            "take-back",
            "take-back-refused",
            "good",
            "unhealthy",
            "failing",
            "slower",
            "leaking",
            "deaf",
            "slow-start",
            "long-requests",
        ),
    )
    names = [path.stem for path in CATALOG.glob("*.toml") if not path.stem.startswith("_")]
    return sorted(names, key=lambda name: (order.index(name) if name in order else 99, name))


def load(reference: str, settings: Sequence[str] = ()) -> Loaded:
    """Read a scenario: a built-in one by its name, or a file by its path.

    Args:
        reference: its name or path.
        settings: what else it shall say, each as `key.of.tables=value`; a value is TOML, or text
            when it is none.

    Raises:
        ScenarioError: it is not there, or something in it is wrong.
    """
    if "/" in reference or reference.endswith(".toml"):
        path = Path(reference)
        if not path.is_file():
            raise ScenarioError(f"{reference}: there is no such scenario file")
    else:
        path = CATALOG / f"{reference}.toml"
        if reference not in builtin_names():
            raise ScenarioError(
                f"unknown scenario {reference!r}; {near(reference, builtin_names())} "
                "(a file of your own: give its path, ending in .toml)"
            )
    document, sources = _read(path, seen=())
    for setting in settings:
        document = _merged(document, _setting(setting))
        sources.insert(0, Source(Path(f"--set {setting}"), setting, flag=True))
    try:
        scenario = msgspec.convert(document, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(_explain(str(error), sources)) from error
    check(scenario, lambda keys: _at(sources, keys), path.parent)
    return Loaded(scenario, path)


def _setting(text: str) -> dict[str, object]:
    key, separator, value = text.partition("=")
    keys = key.strip().split(".")
    if not (separator and all(keys)):
        raise ScenarioError(f"--set {text}: expected KEY=VALUE, such as policy.max_surge=25%")
    try:
        parsed: object = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for name in reversed(keys):
        parsed = {name: parsed}
    return parsed  # type: ignore[return-value] # there is at least one key


def _read(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, object], list[Source]]:
    """The merged document, and its sources, the file itself first."""
    if path.resolve() in seen:
        raise ScenarioError(f"{path}: key 'extends': the files extend each other in a circle")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from error
    try:
        document: dict[str, object] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: not TOML: {error}") from error
    source = Source(path, text)
    extends = document.get("extends")
    if extends is None:
        return document, [source]
    if not isinstance(extends, str):
        raise ScenarioError(f"{path}: key 'extends': expected the name of a scenario, as text")
    base = path.parent / extends if extends.endswith(".toml") else CATALOG / f"{extends}.toml"
    if not base.is_file():
        names = [p.stem for p in CATALOG.glob("*.toml")]
        raise ScenarioError(
            f"{path}: key 'extends': there is no {extends!r}; " + near(extends, sorted(names))
        )
    below, sources = _read(base, (*seen, path.resolve()))
    if base.parent != CATALOG:  # those have no paths but inside of packages
        below = moved(below, base.parent, path.parent)
    return _merged(below, document), [source, *sources]


def _merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both_tables = isinstance(old, dict) and isinstance(value, dict)
        result[key] = _merged(old, value) if both_tables else value  # type: ignore[arg-type]
    return result


def _explain(message: str, sources: list[Source]) -> str:
    """One line with file, line and key from msgspec's message."""
    place = _PLACE.search(message)
    what = _PLACE.sub("", message)
    keys = _keys(place["path"]) if place else []
    unknown, missing = _UNKNOWN.match(what), _MISSING.match(what)
    if unknown:
        hint = near(unknown["name"], _fields(keys))
        return _at(sources, [*keys, unknown["name"]]) + f"unknown key; {hint}"
    if missing:
        return _at(sources, [*keys, missing["name"]]) + "this key is required and absent"
    # What does not go together names its first key itself.
    named = what.split(maxsplit=1)[0].rstrip(":").split(".") if what else []
    if named and named[0] in _fields(keys):
        keys = [*keys, *named]
    what = what.replace("`", "").replace("Expected", "expected").replace("Invalid", "invalid")
    return _at(sources, keys) + what


def _keys(path: str) -> list[str]:
    """`.versions[...].env` as `versions`, `*`, `env`; `steps[0]` as `steps`, `0`."""
    path = re.sub(r"\[(\d+)\]", r".\1", path).replace("[...]", ".*")
    return [part for part in path.split(".") if part]


def _at(sources: list[Source], keys: list[str]) -> str:
    """Where the keys are set: `file:line: key 'name': `."""
    for exactly in (True, False):
        for source in sources:
            # What is in an array of this file is nowhere below it.
            found = source.find(keys, exactly=exactly and not source.has_array(keys))
            if found is not None:
                line, names = found
                return f"{source.at(line)}: key {_shown(names)!r}: "
    file = next(source for source in sources if not source.flag)
    return f"{file.path}: key {_shown(keys)!r}: "


def _shown(keys: list[str]) -> str:
    """Keys as an author names them; the line tells which one of an array is meant."""
    return ".".join(key for key in keys if not key.isdecimal())


def _fields(keys: list[str]) -> list[str]:
    """The keys that the table at this place may have."""
    kind: object = Scenario
    for key in keys:
        if not key.isdecimal():
            kind = _step_into(kind, key)
    kind = _struct_in(kind)
    if kind is None:
        return []
    return list(kind.__struct_encode_fields__)


def _step_into(kind: object, key: str) -> object:
    struct = _struct_in(kind)
    if struct is not None:
        for field in msgspec.structs.fields(struct):
            if field.encode_name == key:
                return field.type
    arguments = get_args(kind)
    return arguments[-1] if arguments else None  # a mapping: what it maps to


def _struct_in(kind: object) -> type[msgspec.Struct] | None:
    """The struct in an annotation such as `X`, `X | None`, `tuple[X, ...]` or `Annotated[X, …]`."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    for argument in get_args(kind):
        found = _struct_in(argument)
        if found is not None:
            return found
    return None
