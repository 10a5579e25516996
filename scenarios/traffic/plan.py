"""What the load generator is asked to do: a Plan, and the journeys that a scenario declares."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec


class TrafficError(Exception):
    """The traffic cannot go on; the message says what, where, and what would be right."""


class PlanError(TrafficError):
    """What is asked for cannot be done, in the plan or by a command; the message names it."""


class Pace(NamedTuple):
    """How slowly an exchange goes, in bytes a second; None is as fast as the kernel takes it.

    Attributes:
        upload: of the request's body; its head goes out at once.
        download: of the response.
    """

    upload: float | None = None
    download: float | None = None


class WebSocket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A WebSocket connection that stays open for some time (RFC 6455).

    The request fails if the connection breaks, if a ping is not answered within the request's
    timeout, or if the server closes the connection early, even with a close frame.

    Attributes:
        seconds: how long the connection stays open before the client closes it.
        ping_seconds: the time between two pings.
    """

    seconds: float
    ping_seconds: float = 1.0


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


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request of a journey.

    Text values may contain placeholders: `{unique}` (a word that no other user of the run has),
    `{user}` (the same word as an email address), `{uuid}` (a UUID of the user), `{journey}`,
    `{seed}`, `{worker}` (the number of the load-generator process), and every value that an earlier
    step or the set-up captured. A step that waits for mail, and the steps after it, can use only
    the values of the set-up.

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
        capture: values for later steps, by the names of their placeholders.
        connection: `new` opens a connection and closes it after the request. `reused` takes an idle
            connection if there is one. `any` chooses one of the two at random, half and half.
        subject: the subject of the request, whose state in the database is checked after the run.
        after: what starts the step. `step`: the end of the previous step, if it succeeded. `mail`:
            each mail to `{user}`; the step runs once for each mail. A journey can wait for mail
            only once, and not in its first step.
        delay_seconds: the mean of an exponentially distributed pause before the step, such as the
            time to read.
        upload_bytes_per_second: the speed at which the body is sent. Default: no limit.
        download_bytes_per_second: the speed at which the response is read. Default: no limit. A
            request with a limited speed has a connection of its own.
        timeout_seconds: after how long the user gives up on this request. Default:
            `traffic.timeout_seconds`.
        websocket: opens a WebSocket. Then the status 101 counts as success.
    """

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    form: Mapping[str, str] | None = None
    json: dict[str, Any] | list[Any] | None = None
    body: str | None = None
    expect: tuple[int, ...] = (200,)
    expect_body: BodyCheck | None = None
    capture: Mapping[str, Capture] = msgspec.field(default_factory=dict)
    connection: Literal["new", "reused", "any"] = "reused"
    subject: str | None = None
    after: Literal["step", "mail"] = "step"
    delay_seconds: float = 0.0
    upload_bytes_per_second: float | None = None
    download_bytes_per_second: float | None = None
    timeout_seconds: float | None = None
    websocket: WebSocket | None = None


class Journey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user does: a sequence of steps, or a coroutine.

    Normally, each arrival starts a journey for a user who comes once. With `users` and
    `every_seconds`, users stay for the whole run instead. Each of them repeats the journey on its
    own schedule, even if the last visit failed. It is the same user (`{unique}`, `{user}`,
    `{uuid}`) in all visits. It keeps its cookies, and it keeps an idle connection for up to four
    seconds.

    Attributes:
        name: the name of the journey in the evidence.
        steps: the requests, in order. Users who stay cannot wait for mail.
        python: `file.py:function`, instead of steps. It is a coroutine that is called with a
            `scenarios.traffic.journeys.user.User`, for journeys that templates cannot express. The
            path is relative to the scenario file.
        weight: how often arrivals choose this journey, relative to the other journeys. Default: 1.
        users: the number of users who stay. Default: none; arrivals start the journey.
        every_seconds: the time between two visits of a user who stays. It requires `users`.
    """

    name: str
    steps: tuple[Step, ...] = ()
    python: str | None = None
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
    rate: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The first line on the generator's standard input.

    Attributes:
        host: where the requests go.
        port: the same.
        rate: arrivals (journeys that start) a second. Where all users stay, nobody arrives.
        arrivals: `poisson` (exponential gaps), `constant` gaps, or `recorded`: those of
            `arrivals_path`, once.
        profile: how the rate changes: linear between the points, and after the last one as there.
            Two points of one time are a jump; a rate of 0 at the end ends the arrivals. With a
            profile, `rate` has no meaning.
        arrivals_path: a file of recorded arrivals: one number a line, in seconds from the start,
            in ascending order.
        seed: of all randomness.
        journeys: what the users do.
        requests_path: where outcomes are written.
        mails_path: where mails are written.
        timeout_seconds: when a request is given up.
        max_in_flight: above this an arrival is recorded as undispatched.
        tick_seconds: how often a tick is printed.
        mail_domain: the domain of the users' addresses.
        known: placeholders that are filled when the arrivals start: what the set-up captures.
        shards: how many processes send; together they send what one would.
        shard: which of them this one is; set by the generator itself.
    """

    host: str
    port: int
    rate: float
    journeys: tuple[Journey, ...]
    requests_path: str
    mails_path: str
    arrivals: Literal["poisson", "constant", "recorded"] = "poisson"
    profile: tuple[RatePoint, ...] = ()
    arrivals_path: str | None = None
    seed: int = 0
    timeout_seconds: float = 10.0
    max_in_flight: int = 4000
    tick_seconds: float = 0.25
    mail_domain: str = "example.com"
    known: tuple[str, ...] = ()
    shards: int = 1
    shard: int | None = None
