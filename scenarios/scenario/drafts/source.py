"""Which kind of file journeys are made from, and its reading."""

import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from scenarios.errors import UsageError
from scenarios.scenario.drafts import access_log, har, openapi
from scenarios.scenario.drafts.draft import Draft

_KINDS = "an OpenAPI document (JSON or YAML), a HAR recording, or an access log"
_MOST_BYTES = 512 * 1024 * 1024


def draft_from(path: Path) -> Draft:
    """Journeys from a file of another tool.

    Args:
        path: an OpenAPI 3 document, a HAR 1.2 recording, or an access log, by its content.

    Raises:
        UsageError: it cannot be read, is of no such kind, or holds nothing to send.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)  # what is no file, such as a pipe, has no size
        if len(content) > _MOST_BYTES:
            raise UsageError(f"{path}: larger than 512 MiB; cut it, or take one day of it")
    except OSError as error:
        hint = "; for an address, save what it answers to a file first" if _is_url(path) else ""
        raise UsageError(f"{path}: {error.strerror}{hint}") from error
    try:
        document = _document(content, path)
        if isinstance(document, dict):
            if "openapi" in document:
                return openapi.draft(document)
            if "swagger" in document:
                raise UsageError(
                    f"{path}: swagger {document['swagger']} is too old; convert it to OpenAPI 3"
                )
            if isinstance(document.get("log"), dict) and "entries" in document["log"]:
                return har.draft(document)
        return access_log.draft(content.decode("utf-8", "replace").splitlines())
    except RecursionError as error:
        raise UsageError(f"{path}: nested too deeply, or within itself") from error
    except ValueError as error:
        words = str(error) or f"this is not {_KINDS}"
        raise UsageError(f"{path}: {words}") from error


def _is_url(path: Path) -> bool:
    return path.parts[:1] in {("http:",), ("https:",)}


def _document(content: bytes, path: Path) -> object:
    """What a JSON or YAML document says, or None: it is none."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        lines = content.strip().splitlines()
        several = len(lines) > 1 and lines[1].startswith(b"{")
        if path.suffix in {".json", ".har"} and not several:
            raise UsageError(f"{path}: {error}") from error
    return _yaml(content, path) if path.suffix in {".yaml", ".yml"} else None


def _yaml(content: bytes, path: Path) -> object:
    try:
        yaml = import_module("yaml")
    except ImportError:
        raise UsageError(
            f"{path}: YAML needs PyYAML: pip install 'hitless[yaml]', or convert it to JSON"
        ) from None
    try:
        return _as_json(yaml.load(content, Loader=_loader(yaml)))
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from error


def _loader(yaml: ModuleType) -> Any:  # noqa: ANN401 - of a module without types
    """A loader that reads words and dates as YAML 1.2's core schema does, which OpenAPI asks for.

    In YAML 1.1, which PyYAML reads, `no` and `on` are truth values, and dates are not text.
    """
    base = yaml.SafeLoader
    kept = {
        first: [
            (tag, rule)
            for tag, rule in rules
            if tag not in {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"}
        ]
        for first, rules in base.yaml_implicit_resolvers.items()
    }
    loader: Any = type("Loader", (base,), {"yaml_implicit_resolvers": kept})
    truth = re.compile("^(?:true|True|TRUE|false|False|FALSE)$")
    loader.add_implicit_resolver("tag:yaml.org,2002:bool", truth, list("tTfF"))
    return loader


def _as_json(item: object) -> object:
    """Each name is text, as in JSON: statuses are often written as numbers."""
    match item:
        case dict():
            return {str(name): _as_json(each) for name, each in item.items()}
        case list():
            return [_as_json(each) for each in item]
    return item
