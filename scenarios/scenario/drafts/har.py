"""PURE: a journey from a recording of a browser (HAR 1.2).

One recording is one user's visit. Cookies are kept by the load generator, as by a browser. Secrets
of the recording are not written: a password becomes one that each user has for itself, and a token
that no response gave is left out.

Source: HAR 1.2 (J. Odvarko), as browsers' developer tools and Playwright write it.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from scenarios.scenario.drafts import toml
from scenarios.scenario.drafts.captures import (
    RecordedResponse,
    captured,
    captured_field,
    captured_path,
    placeholder,
    without_ids,
)
from scenarios.scenario.drafts.draft import Draft
from scenarios.traffic.journeys.templates import NAMES, PLACEHOLDER
from scenarios.traffic.settings import Capture, Journey, Step, WebSocket

_FORM = "application/x-www-form-urlencoded"
_SECRET = re.compile(r"passw|passphrase|secret|\bpin\b|otp", re.IGNORECASE)
_LOGIN = re.compile(r"log-?in|sign-?in|session|token|auth", re.IGNORECASE)
_USER_NAME = re.compile(r"^(user_?name|login|handle|nick(name)?)$", re.IGNORECASE)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_OWN_HEADERS = re.compile(r"^(x-(?!forwarded|real-ip|client-data)|hx-|csrf)", re.IGNORECASE)
_SECRET_HEADERS = re.compile(r"api-?key|token|secret|auth", re.IGNORECASE)
_PASSWORD = "{unique}-Aa1"  # noqa: S105 - of users that a run makes
_LONGEST_PAUSE = 3.0
_A_PAUSE = 0.5
_SOCKET_SECONDS = 5.0


@dataclass(slots=True)
class _Recorded:
    """One entry of the recording, and what later requests took from its response."""

    method: str
    path: str
    request: Mapping[str, Any]
    status: int
    response: RecordedResponse
    at: float | None
    capture: dict[str, Capture] = field(default_factory=dict)


def draft(document: Mapping[str, Any]) -> Draft:
    """The journey of a recording.

    Raises:
        ValueError: it is not as HAR 1.2 has it, or holds no request of a web application.
    """
    entries = document["log"]["entries"]
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise ValueError("log.entries is not a list of objects, as HAR 1.2 has it")
    try:
        return _Reader(entries).draft()
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"an entry is not as HAR 1.2 has it: {error!r}") from error


class _Reader:
    """One recording: what users typed, what responses gave, what was left out."""

    def __init__(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self._notes: list[str] = []
        self._entries = self._of_one_origin(entries)
        self._typed: set[str] = set()
        self._replaced: dict[str, str] = {}
        self._names: list[str] = list(NAMES)
        self._known: dict[str, tuple[str, _Recorded]] = {}
        self._done: list[_Recorded] = []

    def draft(self) -> Draft:
        made: list[tuple[Step, _Recorded]] = []
        earlier: float | None = None
        for entry in self._entries:
            step = self._step(entry)
            if step is None:
                continue
            if earlier is not None and entry.at is not None and entry.at - earlier > _A_PAUSE:
                pause = min(entry.at - earlier, _LONGEST_PAUSE)
                step = _with(step, delay_seconds=round(pause, 1))
            earlier = entry.at
            self._done.append(entry)
            made.append((step, entry))
        if not made:
            raise ValueError("the recording holds no request that can be sent")
        steps = tuple(
            _with(step, capture=dict(entry.capture)) if entry.capture else step
            for step, entry in made
        )
        return Draft(journeys=[Journey(name="the recorded visit", steps=steps)], notes=self._notes)

    def _of_one_origin(self, entries: Sequence[Mapping[str, Any]]) -> list[_Recorded]:
        usable = [
            each
            for each in entries
            if urlsplit(each["request"]["url"]).scheme in {"http", "https", "ws", "wss"}
            and int(each["response"]["status"]) > 0
            and not each.get("_fromCache")
        ]
        if not usable:
            raise ValueError("the recording holds no answered request")
        usable.sort(key=lambda each: str(each.get("startedDateTime", "")))
        first = next((each for each in usable if _is_content(each["response"])), usable[0])
        host = urlsplit(first["request"]["url"]).netloc
        others = sorted({urlsplit(each["request"]["url"]).netloc for each in usable} - {host})
        if others:
            self._notes.append(f"requests to other hosts are left out: {', '.join(others)}")
        return [
            _recorded(each) for each in usable if urlsplit(each["request"]["url"]).netloc == host
        ]

    def _step(self, entry: _Recorded) -> Step | None:
        name = f"{entry.method} {entry.path}"
        changed: dict[str, Any] = {}
        icon = entry.path == "/favicon.ico" and entry.status >= HTTPStatus.BAD_REQUEST
        if icon or entry.method in {"OPTIONS", "CONNECT"}:  # a browser's own questions
            return None
        body = self._body(entry)
        if body is None:
            self._notes.append(f"{name} is left out: its body is not recorded as text")
            return None
        headers = self._headers(entry)
        content = body.pop("content_type", None)
        if content:
            headers["Content-Type"] = content
        if headers:
            changed["headers"] = headers
        if entry.status == HTTPStatus.SWITCHING_PROTOCOLS:
            changed |= {
                "websocket": WebSocket(seconds=_SOCKET_SECONDS),
                "connection": "new",
                "expect": (entry.status,),
            }
        elif entry.status not in {200, 304}:  # only a browser's cache is answered 304
            changed["expect"] = (entry.status,)
        step = Step(path=self._path(entry), method=entry.method, **changed, **body)
        wrong = sorted(set(PLACEHOLDER.findall(_written(step))) - set(self._names))
        if wrong:
            self._notes.append(
                f"{name} is left out: its text {{{wrong[0]}}} would be read as a placeholder"
            )
            return None
        if entry.status >= HTTPStatus.BAD_REQUEST:
            self._notes.append(f"{name} was answered {entry.status}, and is expected to be")
        return step

    def _path(self, entry: _Recorded) -> str:
        for earlier in reversed(self._done):
            found = captured_path(entry.path, earlier.response)
            if found is not None:
                name = self._name(_last(entry.path), entry.path, found, earlier)
                return f"/{{{name}}}"
        parts = urlsplit(entry.path)
        segments = [self._fill(unquote(each), "id", is_path=True) for each in parts.path.split("/")]
        path = "/".join(segments)
        if parts.query:
            pairs = parse_qsl(parts.query, keep_blank_values=True)
            query = "&".join(
                f"{quote(name, safe='')}={self._fill(value, name, is_path=True)}"
                for name, value in pairs
            )
            path += "?" + query
        return path

    def _headers(self, entry: _Recorded) -> dict[str, str]:
        kept: dict[str, str] = {}
        for each in entry.request.get("headers") or ():
            name, value = str(each["name"]), str(each["value"])
            lower = name.lower()
            if lower == "authorization":
                scheme, _, token = value.partition(" ")
                filled = self._fill(token, "token")
                if filled == token:
                    self._notes.append(
                        f"{entry.method} {entry.path}: the header Authorization is left out, since "
                        "no response of the recording gave it"
                    )
                else:
                    kept["Authorization"] = f"{scheme} {filled}"
            elif lower == "accept" and value.startswith("application/json"):
                kept["Accept"] = value
            elif _OWN_HEADERS.match(lower):
                filled = self._fill(value, name)
                if filled == value and _SECRET_HEADERS.search(lower):
                    self._notes.append(
                        f"{entry.method} {entry.path}: the header {name} is left out, since no "
                        "response of the recording gave it"
                    )
                else:
                    kept[name] = filled
        return kept

    def _body(self, entry: _Recorded) -> dict[str, Any] | None:
        """The arguments of the step for its body, or None: it cannot be sent."""
        data = entry.request.get("postData")
        if not data:
            return {}
        mime = str(data.get("mimeType", ""))
        plain = mime.partition(";")[0].strip().lower()
        login = bool(_LOGIN.search(entry.path))
        if plain == _FORM:
            return self._form_body(data, login)
        text = data.get("text")
        if not isinstance(text, str) or data.get("encoding") or plain.startswith("multipart/"):
            return None if text or plain.startswith("multipart/") else {}
        document = _json_of(text) if "json" in plain else None
        if document is not None:
            return self._json_body(document, login)
        return {"body": text, "content_type": mime} if mime else {"body": text}

    def _form_body(self, data: Mapping[str, Any], login: bool) -> dict[str, Any]:  # noqa: FBT001 - a property of it
        given = [(str(one["name"]), str(one.get("value", ""))) for one in data.get("params") or ()]
        # Some tools write the parameters as they are sent, and some decoded; the text is sure.
        pairs = parse_qsl(str(data.get("text", "")), keep_blank_values=True) or given
        filled = [(name, self._typed_value(name, value, login)) for name, value in pairs]
        if len(dict(filled)) == len(filled):
            return {"form": dict(filled)}
        joined = "&".join(f"{quote(name, safe='')}={quote(one, safe='{}')}" for name, one in filled)
        return {"body": joined, "content_type": _FORM}

    def _json_body(self, document: object, login: bool) -> dict[str, Any]:  # noqa: FBT001 - a property of it
        numbers: list[str] = []
        filled = self._filled(document, "", login, numbers)
        if isinstance(filled, dict | list) and toml.can_say(filled) and not numbers:
            return {"json": filled}
        text = json.dumps(filled, ensure_ascii=False)
        for each in numbers:  # a captured number stays a number
            text = text.replace(f'"{each}"', each)
        return {"body": text, "content_type": "application/json"}

    def _filled(self, item: object, name: str, login: bool, numbers: list[str]) -> object:  # noqa: FBT001 - as above
        match item:
            case dict():
                return {key: self._filled(each, key, login, numbers) for key, each in item.items()}
            case list():
                return [self._filled(each, name, login, numbers) for each in item]
            case str():
                return self._typed_value(name, item, login)
            case int() if not isinstance(item, bool):
                filled = self._fill(str(item), name)
                if filled != str(item):
                    numbers.append(filled)
                    return filled
        return item

    def _typed_value(self, name: str, value: str, login: bool) -> str:  # noqa: FBT001 - as above
        """A value of a body: from a response, or as its user would type it."""
        if value in self._replaced:
            return self._replaced[value]
        for earlier in reversed(self._done):
            found = captured_field(name, value, earlier.response)
            if found is not None:
                return f"{{{self._name(name, value, found, earlier)}}}"
        filled = self._own(name, value, login)
        if filled is not None:
            self._replaced[value] = filled
            return filled
        filled = self._fill(value, name)
        if filled == value:
            self._typed.add(value)
        return filled

    def _own(self, name: str, value: str, login: bool) -> str | None:  # noqa: FBT001 - as above
        """What each user must have for itself, or None."""
        if _SECRET.search(name) and value:
            if login:
                self._notes.append(
                    f"the value of {name} is replaced by {_PASSWORD}: give a password that is valid"
                )
            return _PASSWORD
        if login:
            return None
        if _EMAIL.fullmatch(value):
            return "{user}"
        return "{unique}" if value and _USER_NAME.match(name) else None

    def _fill(self, value: str, hint: str, *, is_path: bool = False) -> str:
        """The value, or the placeholder of what gave it."""
        literal = quote(value, safe="") if is_path else value
        if value in self._replaced:
            return self._replaced[value]
        if value in self._known:
            name, _ = self._known[value]
            return f"{{{name}}}"
        if not value or value in self._typed:
            return literal
        for earlier in reversed(self._done):
            found = captured(value, earlier.response)
            if found is not None:
                place = found.json.rsplit(".", 1)[-1] if found.json else hint
                kind = hint if place in {"id", "value"} or place.isdecimal() else place
                if kind == "id":
                    kind = f"{_last(earlier.path)} id"
                return f"{{{self._name(kind, value, found, earlier)}}}"
        return literal

    def _name(self, hint: str, value: str, place: Capture, earlier: _Recorded) -> str:
        known = self._known.get(value)
        if known is not None and known[1] is earlier:
            return known[0]
        name = placeholder(hint, self._names)
        self._names.append(name)
        self._known[value] = (name, earlier)
        earlier.capture[name] = place
        return name


def _recorded(entry: Mapping[str, Any]) -> _Recorded:
    request, response = entry["request"], entry["response"]
    parts = urlsplit(request["url"])
    content = response.get("content") or {}
    headers = {
        str(each["name"]).lower(): str(each["value"]) for each in response.get("headers") or ()
    }
    location = str(response.get("redirectURL") or headers.get("location", ""))
    mime = str(content.get("mimeType", ""))
    return _Recorded(
        method=str(request["method"]).upper(),
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        request=request,
        status=int(response["status"]),
        response=RecordedResponse.of(_text(content), mime, location),
        at=_moment(entry.get("startedDateTime")),
    )


def _json_of(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _text(content: Mapping[str, Any]) -> str:
    text = str(content.get("text") or "")
    if content.get("encoding") != "base64":
        return text
    try:
        return base64.b64decode(text).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _moment(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def _is_content(response: Mapping[str, Any]) -> bool:
    mime = str((response.get("content") or {}).get("mimeType", ""))
    return "html" in mime or "json" in mime


def _last(path: str) -> str:
    """The last word of a path, for the name of what it gives."""
    words = [without_ids(each) for each in urlsplit(path).path.split("/")]
    named = [each for each in words if re.search("[A-Za-z]{2}", each)]
    return named[-1] if named else "page"


def _written(step: Step) -> str:
    return " ".join(_texts([step.path, step.headers, step.form, step.json, step.body]))


def _texts(item: object) -> Iterator[str]:
    match item:
        case str():
            yield item
        case Mapping():
            for name, each in item.items():
                yield str(name)
                yield from _texts(each)
        case list() | tuple():
            for each in item:
                yield from _texts(each)


def _with(step: Step, **changes: object) -> Step:
    return msgspec.structs.replace(step, **changes)
