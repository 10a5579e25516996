"""What users do, as a scenario declares it and as the load generator carries it out."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

_Positive = Annotated[float, msgspec.Meta(gt=0)]
MOST_RATE = 10_000_000.0
"""Arrivals a second that can be asked for; even simulated runs are far from it."""

MOST_SECONDS = 7 * 24 * 3600
"""A week: no phase of a run lasts longer, and no arrival comes later."""

MOST_PROCESSES = 64
"""Processes of the load generator; each can use a core of its own."""

_Rate = Annotated[float, msgspec.Meta(gt=0, le=MOST_RATE)]

PathText = Annotated[str, msgspec.Meta(extra={"path": "file"})]
"""A path that starts from the folder of the scenario file; it is absolute once that was read."""


class Pace(NamedTuple):
    """How slowly an exchange goes, in bytes a second; None is as fast as the kernel takes it.

    Attributes:
        upload: of the request's body; its head goes out at once.
        download: of the response.
    """

    upload: float | None = None
    download: float | None = None


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the traffic is encrypted.

    Attributes:
        server_name: the name that the server's certificate must have.
        ca_file: a file of certificates to trust instead of the system's.
        verify: whether the certificate is checked.
        http2: whether HTTP/2 is spoken where the server offers it.
    """

    server_name: str
    ca_file: str | None = None
    verify: bool = True
    http2: bool = False


class WebSocket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A WebSocket connection that stays open for some time (RFC 6455).

    The request fails if the connection breaks, if a ping is not answered within the request's
    timeout, or if the server closes the connection early, even with a close frame. A client that
    reconnects takes that for no failure, as browsers' libraries do.

    Attributes:
        seconds: how long the connection stays open before the client closes it.
        ping_seconds: the time between two pings.
        reconnect: whether the client opens a new connection when the server closes the old one with
            1001 (going away) or 1012 (service restart), or when it breaks off. The new connection
            stays open for the rest of the time. A client that finds nobody tries again a second
            later, and again; each try fails as a request. The verdict has the gap, and how many
            clients came back at once.
        reconnect_seconds: how long the client waits before that at most; the seed decides.
        ids: the key of a number in each message, which is a JSON object, such as `id`. The numbers
            count up by one, so the verdict can tell how many messages a client missed. The path may
            then contain `{last}`, the last number that the client has; it is empty at first.
    """

    seconds: float
    ping_seconds: float = 1.0
    reconnect: bool = False
    reconnect_seconds: float = 0.0
    ids: str | None = None


class EventStream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stream of server-sent events that stays open for some time (HTML Living Standard, 9.2).

    The request fails if the server ends the stream before its client does, unless the client
    reconnects. Ids of events that are numbers count up by one; the verdict then tells how many
    events a client missed. A client that reconnects sends the last id as `Last-Event-ID`.

    Attributes:
        seconds: how long the client listens before it closes the connection.
        reconnect: whether the client opens a new connection when the stream ends or breaks off, as
            `EventSource` does. It then listens for the rest of the time. A client that gets no
            answer tries again a second later; one that gets another status than 200 gives up.
        reconnect_seconds: how long the client waits before that at most; the seed decides.
    """

    seconds: float
    reconnect: bool = False
    reconnect_seconds: float = 0.0


class BodyCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Checks of the response body, in addition to the expected status.

    Attributes:
        contains: texts that the body must contain.
        lacks: texts that the body must not contain.
        json: the expected values in a JSON body, by their paths, such as `items.0.name`.
    """

    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    json: Mapping[str, str | int | float | bool] = msgspec.field(default_factory=dict)


class HeaderCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A check of one header field of a response. Without any of these keys, it must be there.

    If the field occurs more than once, one of its values must be as expected.

    Attributes:
        equals: the value. A text in place of this table means the same.
        contains: a text that the value must contain.
        pattern: a regular expression that must match a part of the value.
        absent: whether the response must not have this field.
    """

    equals: str | None = None
    contains: str | None = None
    pattern: str | None = None
    absent: bool = False


class Capture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a response contains a value for later steps. A response without it is a failure.

    Attributes:
        json: a path in the JSON body, such as `item.id`.
        header: the name of a header field.
        pattern: a regular expression. It is applied to the value of `json` or `header`, or to the
            whole body. The captured value is its first group, or the whole match if it has none.
    """

    json: str | None = None
    header: str | None = None
    pattern: str | None = None


DEFAULT_EXPECT = (200,)


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request of a journey.

    Text values may contain placeholders: `{unique}` (a word that no other user of the run has),
    `{user}` (the same word as an email address), `{uuid}` (a UUID of the user), `{journey}`,
    `{seed}`, `{worker}` (the number of the load-generator process), `{request_id}` (the id of the
    request, except in `subject`), and every value that an earlier step or the set-up captured. A
    step that waits for mail, and the steps after it, can use only the values of the set-up.

    Attributes:
        method: the HTTP method.
        path: the path and query of the request. `{link}` is the path and query of the first link in
            a mail.
        headers: additional header fields.
        form: the fields of an `application/x-www-form-urlencoded` body.
        json: a JSON body, if there is no `form`.
        body: a text body, if there is neither `form` nor `json`.
        expect: the statuses that count as success.
        expect_body: further checks of the response.
        expect_headers: checks of header fields of the response, by their names in any case, such as
            `{ Cache-Control = { contains = "immutable" }, X-Debug = { absent = true } }`. A text is
            the expected value.
        capture: values for later steps, by the names of their placeholders.
        connection: `new` opens a connection and closes it after the request. `reused` takes an idle
            connection if there is one. `any` chooses one of the two at random, half and half.
        subject: the subject of the request, whose state in the database is checked after the run.
        value: what the request sends as the value of its subject, such as `"5000000000"`. If it is
            acknowledged, the same value must be stored: see `integrity.subjects`. Numbers are
            compared as numbers.
        after: what starts the step. `step`: the end of the previous step, if it succeeded. `mail`:
            each mail to `{user}`; the step runs once for each mail. A journey can wait for mail
            only once, and not in its first step. `release`: the end of the release, as in a
            browser's tab that was opened before it; who comes later does not wait.
        delay_seconds: the mean of an exponentially distributed pause before the step, such as the
            time to read.
        upload_bytes_per_second: the speed at which the body is sent. Default: no limit.
        download_bytes_per_second: the speed at which the response is read. Default: no limit. A
            request with a limited speed has a connection of its own.
        timeout_seconds: after how long the user gives up on this request. Default:
            `traffic.timeout_seconds`.
        events: listens to a stream of server-sent events. Then the status 200 counts as success.
        websocket: opens a WebSocket. Then the status 101 counts as success, and nothing else.
    """

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    form: Mapping[str, str] | None = None
    json: dict[str, Any] | list[Any] | None = None
    body: str | None = None
    expect: tuple[int, ...] = DEFAULT_EXPECT
    expect_body: BodyCheck | None = None
    expect_headers: Mapping[str, str | HeaderCheck] = msgspec.field(default_factory=dict)
    capture: Mapping[str, Capture] = msgspec.field(default_factory=dict)
    connection: Literal["new", "reused", "any"] = "reused"
    subject: str | None = None
    value: str | None = None
    after: Literal["step", "mail", "release"] = "step"
    delay_seconds: float = 0.0
    upload_bytes_per_second: float | None = None
    download_bytes_per_second: float | None = None
    timeout_seconds: float | None = None
    websocket: WebSocket | None = None
    events: EventStream | None = None

    @property
    def lasting(self) -> WebSocket | EventStream | None:
        """What stays open for some time, if the step is such a connection."""
        return self.websocket or self.events


class Journey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user does: a sequence of steps, or a coroutine.

    Normally, each arrival starts a journey for a user who comes once. With `users` and
    `every_seconds`, users stay for the whole run instead. Each of them repeats the journey on its
    own schedule, even if the last visit failed. It is the same user (`{unique}`, `{user}`,
    `{uuid}`) in all visits. It keeps its cookies, and it keeps an idle connection for up to four
    seconds. A user who comes once keeps its cookies from step to step; a step that waits for mail
    begins without them, as on another device.

    Attributes:
        name: the name of the journey in the evidence.
        steps: the requests, in order. Users who stay cannot wait for mail.
        login: requests that a user who stays makes once, before its first visit. What they capture
            and the cookies that they set hold for all of its visits. If one of them fails, the user
            begins again with its next visit.
        python: `file.py:function`, instead of steps. It is a coroutine that is called with a
            `scenarios.traffic.journeys.user.User`, for journeys that templates cannot express. The
            path is relative to the scenario file.
        weight: how often arrivals choose this journey, relative to the other journeys. Default: 1.
        users: the number of users who stay. Default: none; arrivals start the journey.
        every_seconds: the time between two visits of a user who stays. It requires `users`.
    """

    name: str
    steps: tuple[Step, ...] = ()
    login: tuple[Step, ...] = ()
    python: PathText | None = None
    weight: float | None = None
    users: int | None = None
    every_seconds: float | None = None

    @property
    def stays(self) -> bool:
        """Whether its users stay for the whole run, so that no arrival starts it."""
        return self.users is not None


class RatePoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A point of a rate that changes over time.

    Attributes:
        at_seconds: the time since the start.
        rate: the number of arrivals per second at that time.
    """

    at_seconds: float
    rate: Annotated[float, msgspec.Meta(le=MOST_RATE)]


class TrafficSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The traffic: how many users there are, and what they do.

    Attributes:
        rate: the number of user arrivals per second. Each arrival starts one journey. If all
            journeys have `users` who stay, nobody arrives.
        arrivals: the gaps between arrivals: `poisson`, `constant`, or `recorded` (from
            `arrivals_path`, played once).
        profile: points of a rate that changes over time. The rate is linear between two points and
            constant after the last one. Two points with the same time are a jump. A profile
            replaces `rate`.
        arrivals_path: a file of recorded arrivals, with one number per line: seconds from the
            start, in ascending order.
        processes: the number of load-generator processes.
        timeout_seconds: after how long a user gives up on a request.
        mail_domain: the domain of the users' email addresses.
        set_up: requests that are sent once, in order, before the first arrival. All journeys can
            use what they capture.
        journeys: what users do: users who arrive once, and users who stay.
    """

    rate: _Rate = 100.0
    arrivals: Literal["poisson", "constant", "recorded"] = "poisson"
    profile: tuple[RatePoint, ...] = ()
    arrivals_path: PathText | None = None
    processes: Annotated[int, msgspec.Meta(ge=1, le=MOST_PROCESSES)] = 1
    timeout_seconds: _Positive = 10.0
    mail_domain: str = "example.com"
    set_up: tuple[Step, ...] = ()
    journeys: Annotated[tuple[Journey, ...], msgspec.Meta(min_length=1)]

    @property
    def asked_rate(self) -> float:
        """Arrivals a second; 0 where all users stay."""
        return 0.0 if all(journey.stays for journey in self.journeys) else self.rate

    @property
    def users(self) -> int:
        """How many users stay for the whole run."""
        return sum(journey.users or 0 for journey in self.journeys)

    @property
    def known(self) -> tuple[str, ...]:
        """The placeholders that are filled when the arrivals start: what the set-up captures."""
        return tuple(name for step in self.set_up for name in step.capture)
