"""The journeys of a plan, checked and compiled: a step becomes the bytes of a request."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote_plus

import msgspec

from scenarios.traffic.errors import Location, declared_location, step_location
from scenarios.traffic.journeys.examination import Examination
from scenarios.traffic.journeys.header_checks import TOKEN
from scenarios.traffic.journeys.templates import NAMES, PLACEHOLDER, REQUEST_ID, Template
from scenarios.traffic.journeys.validation import check_events, check_numbers, check_websocket
from scenarios.traffic.settings import DEFAULT_EXPECT, Journey, Pace, Step
from scenarios.traffic.wire.frames import key_for

# RFC 9110, section 5.6.2.
# RFC 9110, section 5.5, without obs-text: what a field's value may be made of.
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")
# RFC 9110, section 8.6: a method that expects content says so also when it is empty.
WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})
# RFC 3986, appendix A: what may stand in a path and a query as it is.
_TARGET = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]+")
# RFC 9110, section 15: what can end an exchange.
_STATUSES = range(200, 600)
_SWITCHING = 101
# The generator frames its messages by itself; a field of the plan's would contradict it.
_OWN_FIELDS = frozenset(
    {"connection", "content-length", "transfer-encoding", "x-request-id", "expect", "upgrade"}
)


class CompiledStep:
    """One step of a journey, checked and ready to be made into requests."""

    __slots__ = (
        "_body",
        "_endpoint",
        "_fields",
        "_form",
        "_has_body",
        "_is_json",
        "_path",
        "_subject",
        "_value",
        "after_release",
        "connection",
        "delay_seconds",
        "examination",
        "expect",
        "is_paced",
        "lasting",
        "method",
        "names",
        "needs_link",
        "pace",
        "timeout_seconds",
        "websocket",
    )

    def __init__(
        self, step: Step, *, host: str, where: Location, known: frozenset[str] = frozenset()
    ) -> None:
        _check(step, where)
        check_numbers(step, where=where)
        self.method = step.method
        self.websocket = step.websocket
        self.lasting = step.lasting
        self.after_release = step.after == "release"
        self.expect = step.expect if step.websocket is None else (_SWITCHING,)
        self.timeout_seconds = step.timeout_seconds
        self.pace = Pace(step.upload_bytes_per_second, step.download_bytes_per_second)
        self.is_paced = self.pace != Pace()
        alone = self.is_paced or step.lasting is not None
        self.connection = "new" if alone else step.connection
        self.delay_seconds = step.delay_seconds
        self._path = Template(step.path, where=where.part("path", "path"), known=known)
        _check_target(PLACEHOLDER.sub("", step.path), where=where.part("path", "path"))
        self._subject = Template(
            step.subject or "", where=where.part("subject", "subject"), known=known
        )
        if REQUEST_ID in self._subject.names:
            raise where.part("subject", "subject").error(
                f"{{{REQUEST_ID}}} is another one in each request, so it cannot name a subject"
            )
        if step.value is not None and step.subject is None:
            raise where.error("value needs a subject, which it is the value of", "value")
        self._value = (
            None
            if step.value is None
            else Template(step.value, where=where.part("value", "value"), known=known)
        )
        fields = {"Host": host, "User-Agent": "hitless", "Accept": "*/*"}
        if step.events is not None:
            fields |= {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if step.form is not None:
            fields["Content-Type"] = "application/x-www-form-urlencoded"
        if step.json is not None:
            fields["Content-Type"] = "application/json"
        self._fields = _fields({**fields, **step.headers}, where=where, known=known)
        self._form = [
            (
                f"{quote_plus(key)}=",
                Template(value, where=where.part(f"form field {key}", "form", key), known=known),
            )
            for key, value in (step.form or {}).items()
        ]
        self._is_json = step.json is not None
        body = step.body or ("" if step.json is None else msgspec.json.encode(step.json).decode())
        self._body = Template(body, where=where.part("body", "body"), known=known)
        self.examination = Examination(
            step.expect_body,
            step.capture,
            where=where,
            known=known | step.capture.keys(),
            headers=step.expect_headers,
        )
        self._has_body = (
            step.form is not None
            or step.json is not None
            or step.body is not None
            or step.method in WITH_CONTENT
        )
        self.names = self.examination.names.union(
            *(
                template.names
                for template in (
                    self._path,
                    self._subject,
                    self._body,
                    *((self._value,) if self._value is not None else ()),
                    *(value for _, value in self._fields),
                    *(value for _, value in self._form),
                )
            )
        )
        self.needs_link = "link" in self.names
        # One user's words would make an endpoint for each user, so they stay placeholders.
        self._endpoint = f"{step.method} {step.path}"

    def endpoint_for(self, link: str | None) -> str:
        """Method and path without the query; only a mailed link is filled in."""
        return self._endpoint.replace("{link}", link or "{link}").partition("?")[0]

    def subject(self, values: Mapping[str, str]) -> str | None:
        """What the request is about, or None when the step does not say."""
        return self._subject.render(values) or None

    def value(self, values: Mapping[str, str]) -> str | None:
        """What the request sends as the value of its subject; None when the step does not say."""
        return None if self._value is None else self._value.render(values)

    def request(
        self,
        values: Mapping[str, str],
        *,
        request_id: str,
        close: bool,
        cookies: str = "",
        last_event_id: str = "",
    ) -> bytes:
        """The whole request as it goes over the wire (RFC 9112).

        Args:
            values: what fills the placeholders.
            request_id: its `X-Request-Id`.
            close: whether the connection is for this request alone.
            cookies: what its user has been given; behind the step's own, since there may be but
                one such field (RFC 6265, section 5.4).
            last_event_id: the last event that a client which reconnects to a stream has.
        """
        if REQUEST_ID in self.names:
            values = {**values, REQUEST_ID: request_id}
        lines = [f"{self.method} {self._path.render(values)} HTTP/1.1"]
        fields = [(name, value.render(values)) for name, value in self._fields]
        lines += [f"{name}: {text}" for name, text in with_cookies(fields, cookies)]
        lines.append(f"X-Request-Id: {request_id}")
        if last_event_id and self.websocket is None:
            lines.append(f"Last-Event-ID: {last_event_id}")
        if self.websocket is not None:
            lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
            lines.append(f"Sec-WebSocket-Key: {key_for(request_id)}")
        elif close:
            lines.append("Connection: close")
        body = b""
        if self._has_body:
            if self._form:
                text = "&".join(key + quote_plus(value.render(values)) for key, value in self._form)
            elif self._is_json:
                text = self._body.render(
                    {name: _in_json_text(values[name]) for name in self._body.names}
                )
            else:
                text = self._body.render(values)
            body = text.encode()
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _check(step: Step, where: Location) -> None:
    """Refuse a step that cannot be sent, or that no response could satisfy."""
    if not TOKEN.fullmatch(step.method) or step.method == "CONNECT":
        raise where.error(f"method {step.method!r} cannot be sent", "method")
    if not step.path.startswith(("/", "{link}")):
        raise where.error(f"path {step.path!r} must begin with / or be {{link}}", "path")
    if sum(body is not None for body in (step.form, step.json, step.body)) > 1:
        raise where.error("form, json and body exclude each other")
    if step.websocket is not None:
        check_websocket(step, where=where)
    if step.events is not None:
        check_events(step, where=where)
    if step.websocket is not None:
        if step.expect not in (DEFAULT_EXPECT, (_SWITCHING,)):
            raise where.error("a websocket begins with the status 101 alone", "expect")
    elif not step.expect or not all(status in _STATUSES for status in step.expect):
        raise where.error("expect must name statuses from 200 to 599", "expect")


class CompiledJourney:
    """A journey, checked: its compiled steps, those of its login first, and what they wait for."""

    __slots__ = ("login", "mail_step", "name", "needs_uuid", "python", "steps")

    def __init__(
        self, journey: Journey, *, host: str, where: Location, known: frozenset[str] = frozenset()
    ) -> None:
        if not journey.steps and journey.python is None:
            raise where.error("it has no steps")
        if journey.steps and journey.python is not None:
            raise where.error("steps and python exclude each other")
        self.name = journey.name
        self.python = journey.python
        self.login = len(journey.login)
        declared = (*journey.login, *journey.steps)
        self.steps = tuple(
            compiled_steps(declared, host=host, where=where, known=known, login=self.login)
        )
        self.needs_uuid = any("uuid" in compiled_step.names for compiled_step in self.steps)
        mail_steps = [index for index, step in enumerate(declared) if step.after == "mail"]
        if declared and declared[0].after == "release":
            raise step_location(where, 1).error(
                'after = "release" needs an earlier step, which comes before the release', "after"
            )
        if mail_steps[:1] == [0]:
            raise step_location(where, 1).error(
                'after = "mail" needs an earlier step, which leads to the mail', "after"
            )
        if len(mail_steps) > 1:
            raise step_location(where, mail_steps[1] + 1).error(
                "a journey can wait for mail only once", "after"
            )
        self.mail_step = mail_steps[0] if mail_steps else None
        for index, compiled_step in enumerate(self.steps):
            if compiled_step.needs_link and (self.mail_step is None or index < self.mail_step):
                raise step_location(where, index + 1).error(
                    '{link} is known only from the step with after = "mail" on'
                )


def compiled_steps(
    steps: Sequence[Step], *, host: str, where: Location, known: frozenset[str], login: int = 0
) -> Iterator[CompiledStep]:
    """The compiled steps, in order; each knows what the steps before it captured.

    Raises:
        PlanError: a step cannot be carried out.
    """
    captured: frozenset[str] = frozenset()
    for number, step in enumerate(steps, start=1):
        step_at = declared_location(where, number, login)
        if step.after == "mail":
            captured = frozenset()  # nothing is kept while a journey waits for its mail
        heard = step.websocket is not None and step.websocket.ids is not None
        more = captured | {"last"} if heard else captured
        yield CompiledStep(step, host=host, where=step_at, known=known | more)
        for name in step.capture:
            if name in NAMES or not PLACEHOLDER.fullmatch(f"{{{name}}}"):
                raise step_at.part(f"capture {name}", "capture", name).error(
                    "a name has only lower-case letters and underscores, and is none of "
                    + ", ".join(NAMES)
                )
        captured |= step.capture.keys()


def with_cookies(fields: Iterable[tuple[str, str]], cookies: str) -> Iterable[tuple[str, str]]:
    """The header fields with these cookies in them, behind those that are there."""
    if not cookies:
        return fields
    named = {name.lower(): (name, text) for name, text in fields}
    name, own = named.get("cookie", ("Cookie", ""))
    named["cookie"] = (name, f"{own}; {cookies}" if own else cookies)
    return named.values()


def _in_json_text(value: str) -> str:
    """The value as it stands between the quotes of a JSON text."""
    return msgspec.json.encode(value).decode()[1:-1]


def _fields(
    fields: Mapping[str, str], *, where: Location, known: frozenset[str]
) -> list[tuple[str, Template]]:
    """The header fields, each name once whatever its case; the later one wins."""
    named: dict[str, tuple[str, Template]] = {}
    for name, value in fields.items():
        if not TOKEN.fullmatch(name):
            raise where.error(f"{name!r} is not the name of a header field")
        if name.lower() in _OWN_FIELDS:
            raise where.error(f"the field {name} is the generator's own")
        if not _FIELD_VALUE.fullmatch(value):
            raise where.error(f"the value of {name} must be printable ASCII")
        template = Template(value, where=where.part(f"header {name}", "headers", name), known=known)
        named[name.lower()] = (name, template)
    return list(named.values())


def _check_target(text: str, *, where: Location) -> None:
    if text and not _TARGET.fullmatch(text):
        raise where.error(f"it contains a character that must be percent-encoded: {text!r}")
