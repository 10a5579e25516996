"""PURE: an OpenAPI 3 document: its operations, with references followed and parameters joined.

Source: OpenAPI 3.0 and 3.1.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from scenarios.scenario.drafts.examples import flat

METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
JSON = re.compile(r"application/(.+\+)?json", re.IGNORECASE)
_PARAMETER = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        method: in lower case.
        path: a template, such as `/items/{id}`.
        body: the operation object.
        parameters: its own and those of its path.
    """

    method: str
    path: str
    body: Mapping[str, Any]
    parameters: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.method.upper()} {self.path}"

    @property
    def needs(self) -> list[str]:
        """The parameters in its path."""
        return _PARAMETER.findall(self.path)


class Document:
    """A whole document."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content

    @property
    def base(self) -> str:
        """The path of its first server, before all other paths."""
        servers = self._content.get("servers")
        first = servers[0] if isinstance(servers, list) and servers else {}
        path = urlsplit(str(first.get("url", ""))).path
        return "" if "{" in path else path.rstrip("/")

    def operations(self) -> Iterator[Operation]:
        """All operations, in the order of the document."""
        paths = self._content.get("paths")
        for path, item in paths.items() if isinstance(paths, Mapping) else ():
            here = self.follow(item)
            for method in METHODS:
                one = here.get(method)
                if isinstance(one, Mapping):
                    given = [*(here.get("parameters") or []), *(one.get("parameters") or [])]
                    yield Operation(method, path, one, self._joined(given))

    def secures(self, operation: Operation) -> bool:
        """Whether an operation needs credentials."""
        wanted = operation.body.get("security", self._content.get("security")) or []
        return bool(wanted) and {} not in wanted

    def responses(self, operation: Operation) -> Iterator[Mapping[str, Any]]:
        """The responses of its success."""
        for status, response in (operation.body.get("responses") or {}).items():
            if str(status).startswith("2"):
                yield self.follow(response)

    def answer(self, operation: Operation) -> dict[str, Any]:
        """The schema of the JSON that it answers when it succeeds; empty if there is none."""
        for response in self.responses(operation):
            for kind, media in (response.get("content") or {}).items():
                if JSON.match(kind):
                    return self.flat((media or {}).get("schema"))
        return {}

    def property_of(self, operation: Operation, names: Sequence[str]) -> str | None:
        """The first of these names that its answer has."""
        properties = self.answer(operation).get("properties") or {}
        return next((name for name in names if name in properties), None)

    def flat(self, schema: object) -> dict[str, Any]:
        """A schema with its references followed and its parts joined."""
        return flat(schema, self.follow)

    def explicit(self, item: Mapping[str, Any]) -> object:
        """The example that a parameter, a schema or a media type gives itself, or None."""
        if item.get("example") is not None:
            return item["example"]
        given = item.get("examples")
        if isinstance(given, list) and given:
            return given[0]
        if isinstance(given, Mapping) and given:
            return self.follow(next(iter(given.values()))).get("value")
        return None

    def follow(self, item: object) -> Mapping[str, Any]:
        """An object, or the one that its `$ref` leads to.

        Raises:
            ValueError: it leads to another file, to nothing, or to itself.
        """
        seen: set[str] = set()
        while isinstance(item, Mapping) and isinstance(item.get("$ref"), str):
            reference = item["$ref"]
            if reference in seen:
                raise ValueError(f"$ref {reference} leads to itself")
            seen.add(reference)
            item = self._at(reference)
        return item if isinstance(item, Mapping) else {}

    def _at(self, reference: str) -> object:
        if not reference.startswith("#/"):
            raise ValueError(f"$ref {reference} leads to another file; bundle them into one first")
        found: object = self._content
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or key not in found:
                raise ValueError(f"$ref {reference} leads to nothing")
            found = found[key]
        return found

    def _joined(self, given: Sequence[object]) -> list[Mapping[str, Any]]:
        joined: dict[tuple[object, object], Mapping[str, Any]] = {}
        for each in given:
            parameter = self.follow(each)
            joined[parameter.get("name"), parameter.get("in")] = parameter
        return list(joined.values())
