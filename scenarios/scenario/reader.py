"""Find a scenario file, read it, and merge it with the file that it extends.

An error names the file, the line and the key.
"""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec

from orchestrator.personas import PERSONAS
from orchestrator.policy import PATH_PATTERN, PolicyError
from scenarios.errors import ScenarioError, near
from scenarios.scenario.checks import OWN_ROUTER, check, check_balancer_keys, router_kind
from scenarios.scenario.key_locations import (
    KeyLocation,
    KeyLocations,
    file_locations,
    flag_locations,
)
from scenarios.scenario.paths import with_absolute_paths, with_working_directory
from scenarios.scenario.simulation_checks import PlatformName
from scenarios.scenario.spec import Scenario
from scenarios.scenario.spec_types import choices_in, field_names, step_into

CATALOG = Path(__file__).parent / "catalog"
"""The built-in scenarios. A file whose name begins with `_` only serves others as a base."""

_LARGE_FLEET = 100
_PACE = frozenset({"max_surge", "max_unavailable"})

# msgspec tells the place and the kind of a mistake only in its messages.
_PATH = re.compile(r" - at `\$(?P<path>.*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`")
_NO_CHOICE = re.compile(r"Invalid enum value '(?P<value>.*)'")
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*)`")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A scenario and its file.

    Attributes:
        scenario: the scenario as data; its paths are absolute.
        path: the file; hooks run in its folder.
        locations: where its keys are set.
    """

    scenario: Scenario
    path: Path
    locations: KeyLocations = field(default_factory=lambda: KeyLocations("the scenario"))

    def at(self, *keys: str) -> str:
        """How a message about a key begins: `file:line: key 'name': `."""
        return self.locations.at(list(keys))

    def sets(self, *keys: str) -> bool:
        """Whether the file, one that it extends, or a flag sets a key."""
        return keys in self.locations.found


def builtin_names() -> list[str]:
    """The names of the built-in scenarios; the book's release plans come first, in its order."""
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


def load(
    reference: str,
    settings: Sequence[str] = (),
    platform: PlatformName = "local",
    replicas: int | None = None,
) -> Loaded:
    """Read a scenario: a built-in one by its name, or a file by its path.

    Args:
        reference: its name or path.
        settings: settings that replace those of the file, each as `key.of.tables=value`. A value is
            TOML; a value that is no TOML is text.
        platform: where the scenario is to run.
        replicas: how many replicas a flag asks for, if one does.

    Raises:
        ScenarioError: the scenario does not exist, or something in it is wrong.
    """
    if "/" in reference or reference.endswith(".toml"):
        path = Path(reference)
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "no regular file"
            raise ScenarioError(f"{reference}: this is {what}; expected a scenario file")
        if not path.is_file():
            others = sorted(one.name for one in path.parent.glob("*.toml"))
            hint = f"; {near(path.name, others)}" if others else ""
            raise ScenarioError(f"{reference}: this scenario file does not exist{hint}")
    else:
        path = CATALOG / f"{reference}.toml"
        if reference not in builtin_names() and Path(reference).exists():
            what = "a folder" if Path(reference).is_dir() else "no scenario file"
            raise ScenarioError(
                f"{reference!r} is {what}; the name of a scenario file ends in .toml"
            )
        if reference not in builtin_names():
            raise ScenarioError(
                f"unknown scenario {reference!r}; {near(reference, builtin_names())} "
                "(for a file of your own, give its path, which ends in .toml)"
            )
    document, locations = _read(path, seen=())
    for setting in settings:
        given, where = _setting(setting)
        document = _merged(document, with_absolute_paths(given, path.parent))
        locations = where.over(locations)
    document = with_working_directory(document, path.parent)
    check_balancer_keys(document, replace(locations, source=str(path)).at)
    document = _with_persona(document)
    document = _with_replica_models(document)
    if platform == "simulated":
        document = _of_fleet(document, replicas)
    try:
        scenario = msgspec.convert(document, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(
            _explain(error, document, replace(locations, source=str(path)))
        ) from error
    locations = replace(locations, source=str(path))
    _check_finite(document, locations)
    check(scenario, locations.at, platform)
    return Loaded(scenario, path, locations)


def _check_finite(value: object, locations: KeyLocations, keys: Sequence[str] = ()) -> None:
    """Refuse the numbers `inf` and `nan` of TOML: no run lasts for ever.

    Raises:
        ScenarioError: a value is one of them.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ScenarioError(f"{locations.at(list(keys))}expected a finite number, got {value}")
    if isinstance(value, Mapping):
        for key, part in value.items():
            _check_finite(part, locations, (*keys, str(key)))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            _check_finite(part, locations, (*keys, str(number)))


def _with_persona(document: dict[str, Any]) -> dict[str, Any]:
    """Fill in the defaults of `policy.persona`; the document's own values take precedence.

    These are defaults of `policy.termination`. With our own balancer they are also defaults of
    `[balancer]`; other routers have their own behaviour.
    """
    policy = document.get("policy")
    if not isinstance(policy, dict):
        return document
    name, own = policy.get("persona"), policy.get("termination", {})
    if not (isinstance(name, str) and name in PERSONAS and isinstance(own, dict)):
        return document  # the conversion below reports what is wrong with it
    persona = PERSONAS[name]
    values: dict[str, Any] = {"policy": {"termination": msgspec.to_builtins(persona.termination)}}
    if router_kind(document) == OWN_ROUTER:
        values["balancer"] = msgspec.to_builtins(persona.handling)
    return _merged(values, document)


def _with_replica_models(document: dict[str, Any]) -> dict[str, Any]:
    """Fill in `simulation.replica` where a version of `simulation.versions` says nothing else."""
    simulation = document.get("simulation")
    if not isinstance(simulation, dict):
        return document
    base, versions = simulation.get("replica"), simulation.get("versions")
    if not (isinstance(base, dict) and isinstance(versions, dict)):
        return document
    merged = {
        name: {**base, **model} if isinstance(model, dict) else model
        for name, model in versions.items()
    }
    return {**document, "simulation": {**simulation, "versions": merged}}


def _of_fleet(document: dict[str, Any], replicas: int | None) -> dict[str, Any]:
    """Replace a share of a large fleet at a time, as Kubernetes does, unless the policy says more.

    The default of `policy.max_surge` is one replica, which would take hours with thousands.
    """
    policy = document.get("policy", {})
    if not isinstance(policy, dict):
        return document
    size = replicas if replicas is not None else policy.get("replicas")
    if not isinstance(size, int) or size <= _LARGE_FLEET or _PACE & policy.keys():
        return document
    return {**document, "policy": {**policy, "max_surge": "25%"}}


def _setting(text: str) -> tuple[dict[str, Any], KeyLocations]:
    """The value of one `--set` as a document, and the locations of its keys."""
    key, separator, value = text.partition("=")
    keys = tuple(part.strip() for part in key.split("."))
    if not (separator and all(keys)):
        raise ScenarioError(f"--set {text}: expected KEY=VALUE, such as policy.max_surge=25%")
    flag = f"--set {text}"
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        parsed: object = value.strip()
        for name in reversed(keys):
            parsed = {name: parsed}
        here = KeyLocations(flag, {keys: KeyLocation(flag, None)}, frozenset({keys}))
        return cast("dict[str, Any]", parsed), here
    return document, flag_locations(flag, text)


def _read(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], KeyLocations]:
    """The document, merged over the file that it extends, and the locations of its keys."""
    if path.resolve() in seen:
        raise ScenarioError(f"{path}: key 'extends': these files extend each other in a circle")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from error
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: not TOML: {error}") from error
    except RecursionError as error:
        raise ScenarioError(f"{path}: nested too deeply") from error
    locations = file_locations(str(path), text)
    document = with_absolute_paths(document, path.parent)
    extends = document.get("extends")
    if extends is None:
        return document, locations
    if not isinstance(extends, str):
        raise ScenarioError(f"{path}: key 'extends': expected the name of a scenario, as text")
    base = path.parent / extends if extends.endswith(".toml") else CATALOG / f"{extends}.toml"
    if not base.is_file():
        names = [p.stem for p in CATALOG.glob("*.toml")]
        raise ScenarioError(
            f"{path}: key 'extends': scenario {extends!r} does not exist; "
            + near(extends, sorted(names))
        )
    below, below_locations = _read(base, (*seen, path.resolve()))
    if base.parent != CATALOG:  # a built-in base runs in the folder of the file that extends it
        below = with_working_directory(below, base.parent)
    return _merged(below, document), locations.over(below_locations)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = _merged(old, value)
        else:
            result[key] = value
    return result


def _explain(error: msgspec.ValidationError, document: object, locations: KeyLocations) -> str:
    """One line with the file, the line and the key of the value that msgspec refuses."""
    message = str(error)
    path = _PATH.search(message)
    what = _PATH.sub("", message)
    keys, kind = _resolve(_keys(path["path"]) if path else [], document)
    unknown, missing = _UNKNOWN.match(what), _MISSING.match(what)
    if unknown:
        hint = near(unknown["name"], field_names(kind))
        return locations.at([*keys, unknown["name"]]) + f"unknown key; {hint}"
    if missing:
        return locations.at([*keys, missing["name"]]) + "this key is required, but absent"
    if isinstance(error.__cause__, PolicyError):
        keys = [*keys, *error.__cause__.keys]
    if what.endswith(f"matching regex {PATH_PATTERN!r}"):
        what = "expected a path, which begins with / and has no spaces"
    chosen, choices = _NO_CHOICE.fullmatch(what), choices_in(kind)
    if chosen and choices:
        what = f"unknown value {chosen['value']!r}; {near(chosen['value'], choices)}"
    what = what.replace("`", "").replace("Expected", "expected").replace("Invalid", "invalid")
    return locations.at(keys) + what


def _keys(path: str) -> list[str]:
    """The keys of a path: `.versions[...].env` gives `versions`, `*`, `env`."""
    path = re.sub(r"\[(\d+)\]", r".\1", path).replace("[...]", ".*")
    return [part for part in path.split(".") if part]


def _resolve(keys: list[str], document: object) -> tuple[list[str], object]:
    """Find the names of tables that msgspec writes as `*`, and the type at the end of the path.

    Of several tables with the same type, the first one that cannot be converted is the wrong one.
    """
    kind: object = Scenario
    found: list[str] = []
    for key in keys:
        name = key
        if key == "*" and isinstance(document, Mapping):
            inner = step_into(kind, key)
            wrong = (name for name, value in document.items() if not _converts(value, inner))
            name = next(wrong, key)
        kind = step_into(kind, name)
        if isinstance(document, Mapping):
            document = document.get(name)
        elif isinstance(document, list) and name.isdecimal():
            document = document[int(name)]
        found.append(name)
    return found, kind


def _converts(value: object, kind: object) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
