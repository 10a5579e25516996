"""Manifests: read from files, filled in, and limited to one namespace. PURE but for the files."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import OrchestratorError

Json = dict[str, Any]

_ENDS = (".yaml", ".yml", ".json")
_KUSTOMIZATION = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_MISSPELT = 0.85
_PLACEHOLDER = re.compile(r"(?<![${])\{([a-z][a-z0-9_]*)\}")


class ManifestError(OrchestratorError):
    """A manifest cannot be used; the message says which, and why."""


def read_manifests(path: Path) -> list[Json]:
    """The objects of a file, or of the files of a folder in the order of their names.

    As with `kubectl apply -f`, folders inside of it are not looked at.

    Raises:
        ManifestError: there is none, or one cannot be read.
    """
    if path.is_dir():
        for name in _KUSTOMIZATION:
            if (path / name).exists():
                raise ManifestError(
                    f"{path} is a kustomization; write the command that prints its manifests: "
                    f'["kubectl", "kustomize", "{path.name}"]'
                )
        files = sorted(one for one in path.iterdir() if one.suffix in _ENDS)
    else:
        files = [path]
    found = [one for file in files for one in objects_in(_text(file), str(file))]
    if not found:
        raise ManifestError(f"{path} has no manifest (.yaml, .yml or .json)")
    return found


def objects_in(text: str, source: str) -> list[Json]:
    """The objects of a text with YAML documents; those of a List are taken out of it.

    Args:
        text: the text.
        source: where it comes from, for messages.

    Raises:
        ManifestError: it is no YAML, or a document is no object of Kubernetes.
    """
    import yaml  # noqa: PLC0415 - a part of the extra

    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise ManifestError(f"{source} is no YAML: {' '.join(str(error).split())}") from error
    found: list[Json] = []
    for number, document in enumerate(documents, start=1):
        where = source if len(documents) == 1 else f"{source}, document {number}"
        found += _objects(document, where)
    return found


def _objects(document: object, where: str) -> Iterator[Json]:
    if document is None:
        return
    if not isinstance(document, dict) or not all(
        isinstance(document.get(key), str) for key in ("apiVersion", "kind")
    ):
        raise ManifestError(f"{where}: expected an object with 'apiVersion' and 'kind'")
    if document["kind"] == "List":
        for one in document.get("items") or ():
            yield from _objects(one, where)
        return
    meta = document.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str):
        raise ManifestError(f"{where}: the {document['kind']} has no metadata.name")
    yield document


def name_of(found: Json) -> str:
    """What an object is called in messages, such as `deployment/web`."""
    return f"{found['kind'].lower()}/{found['metadata']['name']}"


def filled(found: Json, values: Mapping[str, str], known: Iterable[str]) -> Json:
    """The object with its placeholders filled in, in all strings; keys stay as they are.

    Braces around a word that is no placeholder stay as they are, and so does `${word}`.

    Args:
        found: the object.
        values: the values, by placeholder.
        known: all placeholders, also those that have no value here.

    Raises:
        ManifestError: a placeholder has no value here, it is misspelt, or it stands in YAML without
            quotes.
    """
    filling = _Filling(name_of(found), values, frozenset(known))
    return {key: filling.walk(one) for key, one in found.items()}


class _Filling:
    """Fills the strings of one object in."""

    def __init__(self, name: str, values: Mapping[str, str], known: frozenset[str]) -> None:
        self._name = name
        self._values = values
        self._known = known

    def walk(self, value: object) -> object:
        """A part of the object, with the strings in it filled in."""
        if isinstance(value, str):
            return _PLACEHOLDER.sub(self._value, value)
        if isinstance(value, list):
            return [self.walk(one) for one in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and self._known.intersection(value) and None in value.values():
            raise ManifestError(
                f"{self._name}: write quotes around {{{next(iter(value))}}}: without them, braces "
                "are a mapping in YAML"
            )
        return {key: self.walk(one) for key, one in value.items()}

    def _value(self, match: re.Match[str]) -> str:
        name = match[1]
        if name in self._values:
            return self._values[name]
        if name in self._known:
            raise ManifestError(f"{self._name}: {{{name}}} has no value here")
        if meant := difflib.get_close_matches(name, self._known, 1, _MISSPELT):
            raise ManifestError(f"{self._name}: {{{name}}}: did you mean {{{meant[0]}}}?")
        return match[0]


def uses(objects: Iterable[Json], name: str) -> bool:
    """Whether a string of the objects has this placeholder."""

    def has(value: object) -> bool:
        if isinstance(value, str):
            return any(match[1] == name for match in _PLACEHOLDER.finditer(value))
        if isinstance(value, list):
            return any(map(has, value))
        return isinstance(value, dict) and any(map(has, value.values()))

    return any(map(has, objects))


def owned(found: Json, namespace: str, labels: Mapping[str, str]) -> Json:
    """The object in a namespace, with labels in addition to its own.

    Args:
        found: the object.
        namespace: the namespace.
        labels: the labels; a label that the object has itself stays.

    Raises:
        ManifestError: it says that it belongs to another namespace.
    """
    meta = found["metadata"]
    other = meta.get("namespace")
    if other not in (None, namespace):
        raise ManifestError(
            f"{name_of(found)} belongs to the namespace {other!r}; leave metadata.namespace out, "
            'or write "{namespace}"'
        )
    own = meta.get("labels") or {}
    changed = {**meta, "namespace": namespace, "labels": {**labels, **own}}
    return {**found, "metadata": changed}


def with_protocols(found: Json) -> Json:
    """The object with the protocol of each port, which is TCP where none is named.

    Server-side apply of Kubernetes 1.20 does not know this default, but it tells ports by their
    number and its protocol: https://github.com/kubernetes-sigs/structured-merge-diff/issues/130
    """

    def walk(value: object, key: str) -> object:
        if isinstance(value, list):
            return [walk(one, key) for one in value]
        if not isinstance(value, dict):
            return value
        inner = {name: walk(one, name) for name, one in value.items()}
        is_port = "containerPort" in value or (found["kind"] == "Service" and key == "ports")
        return {"protocol": "TCP", **inner} if is_port else inner

    return {name: walk(one, name) for name, one in found.items()}


def chosen_service(services: Iterable[Json], name: str | None) -> Json:
    """The Service that users request.

    Args:
        services: the Services.
        name: its name; None: the only one.

    Raises:
        ManifestError: there is none, or there are several.
    """
    every = {str(one["metadata"]["name"]): one for one in services}
    if name is not None:
        if name not in every:
            raise ManifestError(f"there is no service/{name}; there are: {_list(every)}")
        return every[name]
    if len(every) != 1:
        raise ManifestError(
            f"users request one Service, and there are: {_list(every)}; name it in platform.service"
        )
    return next(iter(every.values()))


def served(
    services: Iterable[Json], deployments: Iterable[Json], name: str | None
) -> tuple[Json, Json]:
    """The Service that users request, and the Deployment that it leads to.

    Args:
        services: the Services.
        deployments: the Deployments.
        name: the name of the Service; None: the only one.

    Raises:
        ManifestError: there is none, there are several, or its selector fits no Deployment.
    """
    service = chosen_service(services, name)
    selector = (service.get("spec") or {}).get("selector") or {}
    others = []
    for one in deployments:
        labels = template_labels(one)
        if selector and all(labels.get(key) == value for key, value in selector.items()):
            return service, one
        has = _pairs(labels) or "no labels"
        others.append(f"those of deployment/{one['metadata']['name']} have {has}")
    raise ManifestError(
        f"service/{service['metadata']['name']} selects pods with "
        f"{_pairs(selector) or 'no label at all'}, and "
        f"{'; '.join(others) or 'there is no Deployment'}"
    )


def template_labels(deployment: Json) -> Mapping[str, str]:
    """The labels of a Deployment's pods."""
    template = (deployment.get("spec") or {}).get("template") or {}
    labels: Mapping[str, str] = (template.get("metadata") or {}).get("labels") or {}
    return labels


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ManifestError(f"{file}: {why}") from error
