"""PURE: journeys from an OpenAPI 3 document.

A user looks at each list and page. A user who creates something also reads, changes and removes it:
the id comes from the response that created it. Where an operation needs an id that no response
gives, it is left out by name.

Source: OpenAPI 3.0 and 3.1.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from scenarios.scenario.drafts import toml
from scenarios.scenario.drafts.draft import Draft
from scenarios.scenario.drafts.examples import example
from scenarios.scenario.drafts.openapi_document import JSON, Document, Operation
from scenarios.traffic.settings import Capture, Journey, Step

_FORM = "application/x-www-form-urlencoded"
_LOGIN = re.compile(r"(log-?in|sign-?in|token|auth(enticate)?|sessions?)/?$", re.IGNORECASE)
_SIGN_UP = re.compile(r"(register|registration|sign-?up|users?|accounts?)/?$", re.IGNORECASE)
_PASSWORD = "{unique}-Aa1"  # noqa: S105 - of users that a run makes
_TOKEN = ("access_token", "accessToken", "token", "id_token", "jwt")
_IDS = ("id", "uuid", "slug", "key", "name")
_ORDER = {"get": 0, "head": 1, "put": 2, "patch": 3, "post": 4, "delete": 5}
_LOOKS, _CHANGES = 4.0, 1.0  # weights: people read more often than they write


class _Unsendable(Exception):  # noqa: N818 - a reason, which becomes a note
    """Why an operation has no step."""


def draft(document: Mapping[str, Any]) -> Draft:
    """Journeys from a whole document.

    Raises:
        ValueError: nothing in it can be sent.
    """
    return _Reader(document).draft()


class _Reader:
    """One document, and what was left out of it."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._document = Document(content)
        self._notes: list[str] = []
        self._operations: list[Operation] = []
        for each in self._document.operations():
            if each.body.get("deprecated"):
                self._leave(each, "it is deprecated")
            else:
                self._operations.append(each)
        self._set_up: list[Step] = []
        self._token = False

    def draft(self) -> Draft:
        self._log_in()
        journeys = [*self._journeys()]
        if not journeys:
            left = f": {self._notes[0]}" if self._notes else ""
            raise ValueError(f"no operation in it can be sent{left}")
        return Draft(journeys=journeys, set_up=self._set_up, notes=self._notes)

    def _log_in(self) -> None:
        """A login before all journeys, if one operation gives a token, and a sign-up before it."""
        for operation in self._operations:
            token = self._document.property_of(operation, _TOKEN)
            if (
                operation.method != "post"
                or token is None
                or operation.needs
                or not _LOGIN.search(operation.path)
            ):
                continue
            try:
                step = self._step(operation, {})
            except _Unsendable:
                continue
            sign_up = self._sign_up()
            if sign_up is None:
                self._notes.append(
                    f"{operation.name} logs in before all journeys: give it a user that exists"
                )
            elif "{user}" in _sent(sign_up) and "{unique}" not in _sent(sign_up, "username"):
                step = _as_email(step)
            self._operations.remove(operation)
            login = _with(step, capture={"token": Capture(json=token)})
            self._set_up = [login] if sign_up is None else [sign_up, login]
            self._token = True
            return

    def _sign_up(self) -> Step | None:
        for operation in self._operations:
            if operation.method != "post" or operation.needs or self._document.secures(operation):
                continue
            if not _SIGN_UP.search(operation.path):
                continue
            try:
                step = self._step(operation, {})
            except _Unsendable:
                continue
            if _PASSWORD in _sent(step):
                return step
        return None

    def _journeys(self) -> Iterator[Journey]:
        used: set[str] = set()
        for operation in self._operations:
            if operation.needs or operation.method in {"post", "put", "patch", "delete"}:
                continue
            used.add(operation.name)
            step = self._try(operation, {})
            if step is not None:
                yield Journey(name=operation.name, weight=_LOOKS, steps=(step,))
        for operation in self._operations:
            if operation.method == "post" and not operation.needs:
                used.add(operation.name)
                steps = self._story(operation, used)
                if steps:
                    yield Journey(name=operation.name, weight=_CHANGES, steps=tuple(steps))
        for operation in self._operations:
            if operation.name not in used:
                used.add(operation.name)
                yield from self._alone(operation)

    def _story(self, creates: Operation, used: set[str]) -> list[Step]:
        """Create something; then read, change and remove it."""
        first = self._try(creates, {})
        if first is None:
            return []
        root = creates.path.rstrip("/")
        below = [
            each
            for each in self._operations
            if each.path.startswith(root + "/{") and len(each.needs) == 1 and each.name not in used
        ]
        if not below:
            return [first]
        parameter = below[0].needs[0]
        place = self._identity(creates, parameter)
        if place is None:
            return [first]
        name = _placeholder(parameter)
        steps = [_with(first, capture={name: place})]
        # Whoever removes it comes last, and what lies deeper comes before.
        below.sort(key=lambda one: (one.method == "delete", one.path, _ORDER[one.method]))
        for operation in below:
            used.add(operation.name)
            step = self._try(operation, {operation.needs[0]: f"{{{name}}}"})
            if step is not None:
                steps.append(step)
        return steps

    def _alone(self, operation: Operation) -> Iterator[Journey]:
        """An operation whose parameters have examples, or whose list names one."""
        known: dict[str, str] = {}
        steps: list[Step] = []
        for parameter in operation.needs:
            given = self._example_of(operation, parameter)
            if given is not None:
                known[parameter] = given
                continue
            source = self._list_of(operation, parameter)
            if source is None or steps:
                self._leave(operation, f"no response gives {{{parameter}}}, and it has no example")
                return
            steps.append(source)
            known[parameter] = f"{{{_placeholder(parameter)}}}"
        step = self._try(operation, known)
        if step is not None:
            weight = _LOOKS if operation.method in {"get", "head"} else _CHANGES
            yield Journey(name=operation.name, weight=weight, steps=(*steps, step))

    def _list_of(self, operation: Operation, parameter: str) -> Step | None:
        """The list whose first item has the id for a parameter."""
        root = operation.path.split("/{" + parameter)[0]
        for each in self._operations:
            if each.method != "get" or each.path.rstrip("/") != root or each.needs:
                continue
            schema = self._document.answer(each)
            where = ""
            if schema.get("type") != "array":
                lists = {
                    name: one
                    for name, part in (schema.get("properties") or {}).items()
                    if (one := self._document.flat(part)).get("type") == "array"
                }
                if not lists:
                    continue
                where, schema = next(iter(lists.items()))
                where += "."
            item = self._document.flat(schema.get("items"))
            found = _among(item.get("properties") or {}, parameter)
            step = self._try(each, {})
            if found is not None and step is not None:
                place = Capture(json=f"{where}0.{found}")
                return _with(step, capture={_placeholder(parameter): place})
        return None

    def _identity(self, creates: Operation, parameter: str) -> Capture | None:
        found = self._document.property_of(creates, (parameter, *_IDS)) or _among(
            self._document.answer(creates).get("properties") or {}, parameter
        )
        if found is not None:
            return Capture(json=found)
        for response in self._document.responses(creates):
            headers = response.get("headers") or {}
            if any(name.lower() == "location" for name in headers):
                return Capture(header="Location", pattern=r"([^/?#]+)/?(?:[?#].*)?$")
        return None

    def _try(self, operation: Operation, known: Mapping[str, str]) -> Step | None:
        try:
            return self._step(operation, known)
        except _Unsendable as reason:
            self._leave(operation, str(reason))
            return None

    def _leave(self, operation: Operation, reason: str) -> None:
        note = f"{operation.name} is left out: {reason}"
        if note not in self._notes:
            self._notes.append(note)

    def _step(self, operation: Operation, known: Mapping[str, str]) -> Step:
        path = operation.path
        for name in operation.needs:
            path = path.replace(f"{{{name}}}", known[name])
        query = urlencode(
            {
                str(each["name"]): _word(self._example(each))
                for each in operation.parameters
                if each.get("in") == "query" and each.get("required")
            },
            safe="{}",
        )
        headers = {
            str(each["name"]): _word(self._example(each))
            for each in operation.parameters
            if each.get("in") == "header" and each.get("required")
        }
        if self._document.secures(operation):
            if not self._token:
                raise _Unsendable("it needs credentials, and no operation gives a token")
            headers["Authorization"] = "Bearer {token}"
        body = self._body(operation)
        if isinstance(body.get("body"), str):
            headers["Content-Type"] = str(body.pop("type"))
        return Step(
            path=self._document.base + path + (f"?{query}" if query else ""),
            method=operation.method.upper(),
            headers=headers,
            expect=self._expected(operation),
            **body,
        )

    @staticmethod
    def _expected(operation: Operation) -> tuple[int, ...]:
        codes = [str(code) for code in operation.body.get("responses") or {}]
        good = tuple(sorted(int(code) for code in codes if code.isdecimal() and code[0] in "23"))
        return good or (200,)

    def _body(self, operation: Operation) -> dict[str, Any]:
        request = self._document.follow(operation.body.get("requestBody") or {})
        content = request.get("content") or {}
        if not content:
            return {}
        for kind, media in content.items():
            value = self._media(media or {})
            if JSON.match(kind):
                if isinstance(value, dict | list) and toml.can_say(value):
                    return {"json": value}
                return {"body": _json(value), "type": "application/json"}
            if kind.lower() == _FORM and isinstance(value, dict):
                return {"form": {name: _word(each) for name, each in value.items()}}
            if kind.lower().startswith("text/"):
                return {"body": _word(value), "type": kind}
        if not request.get("required"):
            return {}
        raise _Unsendable(f"its body is {', '.join(content)}")

    def _media(self, media: Mapping[str, Any]) -> object:
        given = self._document.explicit(media)
        return example(media.get("schema", True), self._document.follow) if given is None else given

    def _example(self, parameter: Mapping[str, Any]) -> object:
        given = self._document.explicit(parameter)
        if given is not None:
            return given
        schema = parameter.get("schema")
        return example(schema, self._document.follow, str(parameter["name"]))

    def _example_of(self, operation: Operation, name: str) -> str | None:
        """A path parameter's own example, or its first allowed value."""
        for each in operation.parameters:
            if each.get("in") == "path" and each.get("name") == name:
                schema = self._document.flat(each.get("schema"))
                given = self._document.explicit(each) or self._document.explicit(schema)
                if given is None and schema.get("enum"):
                    given = schema["enum"][0]
                return None if given is None else quote(_word(given), safe="")
        return None


def _among(properties: Mapping[str, Any], parameter: str) -> str | None:
    """The property that a parameter means: `itemId` and `item_id` may be `id` of an item."""
    plain = parameter.lower().replace("_", "").replace("-", "")
    for name in properties:
        if name.lower().replace("_", "").replace("-", "") == plain:
            return name
    for end in _IDS:
        if plain.endswith(end) and end in properties:
            return end
    return next((name for name in _IDS if name in properties), None)


def _placeholder(parameter: str) -> str:
    """Its name among placeholders, which have letters and `_` only."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", parameter).lower()
    name = re.sub(r"[^a-z]+", "_", words).strip("_") or "value"
    taken = {"unique", "user", "uuid", "journey", "seed", "worker", "link", "token"}
    return f"{name}_id" if name in taken else name


def _word(value: object) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:

    return msgspec.json.encode(value).decode()


def _with(step: Step, **changes: object) -> Step:

    return msgspec.structs.replace(step, **changes)


def _sent(step: Step, name: str | None = None) -> str:
    """The text of a step's body, or of one field of it."""
    body = step.form if step.form is not None else step.json
    if name is not None:
        return str(body.get(name, "")) if isinstance(body, Mapping) else ""
    return _json(body) if body is not None else step.body or ""


def _as_email(step: Step) -> Step:
    """A login by the email address: the sign-up asks for no other name."""
    if step.form is not None and step.form.get("username") == "{unique}":
        return _with(step, form={**step.form, "username": "{user}"})
    if isinstance(step.json, dict) and step.json.get("username") == "{unique}":
        return _with(step, json={**step.json, "username": "{user}"})
    return step
