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
    """A connection that stays open (RFC 6455).

    It fails when it breaks, when a ping is not answered within the request's timeout, and when the
    server closes it, however politely, before its time.

    Attributes:
        seconds: how long it stays; then it is closed in order.
        ping_seconds: how often it is tried.
    """

    seconds: float
    ping_seconds: float = 1.0


class BodyCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the body of an answer must be like, on top of an expected status.

    Attributes:
        contains: texts that must be in it.
        lacks: texts that must not be in it.
        json: values of a JSON document by their paths, such as `items.0.name`.
    """

    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    json: Mapping[str, str | int | float | bool] = msgspec.field(default_factory=dict)


class Capture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where in an answer a value for later steps is. An answer that lacks it is a failure.

    Attributes:
        json: a path in the JSON body, such as `item.id`.
        header: a header field.
        pattern: a regular expression, for the whole body or for what `json` or `header` found; its
            first group is the value, or all of it when it has none.
    """

    json: str | None = None
    header: str | None = None
    pattern: str | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request of a journey.

    Text values may hold `{unique}` (a word that no other user of the run has), `{user}` (the same,
    as an email address), `{uuid}` (a UUID of the user's), `{journey}`, `{seed}`,
    `{worker}` (the number of the process that sends), and whatever an earlier step or the set-up
    captured. A step that waits for mail, and those after it, know of the set-up alone.

    Attributes:
        method: the request's method.
        path: its target, path and query; `{link}` is the path and query of a mail's first link.
        headers: further fields.
        form: fields of an `application/x-www-form-urlencoded` body.
        json: the body as JSON, when there is no form.
        body: the body as it is, when there is neither.
        expect: the statuses that are a success.
        expect_body: what else makes a success.
        capture: values for later steps, by the name of their placeholder.
        connection: `new` opens a connection and closes it after; `reused` takes an idle one when
            there is one; `any` takes either, chosen by the seed, half and half.
        subject: what the request is about, so that the final state can be checked against it.
        after: what starts the step: the end of the step before (only if that succeeded), or each
            mail that reaches `{user}` (then the step waits for it, and runs once for each mail).
            A journey can wait for mail once, and not in its first step.
        delay_seconds: the mean of an exponential pause before the step, such as a reader's.
        upload_bytes_per_second: how slowly the body is sent; absent: at once.
        download_bytes_per_second: how slowly the response is read; absent: as it comes. A slow
            request has a connection of its own.
        timeout_seconds: when this request is given up; absent: the plan's.
        websocket: makes it a websocket; the status that is a success is then 101.
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
    """A user story: steps in order, or a coroutine.

    Arrivals start it, each for a user who comes once. Or, with `users` and `every_seconds`, users
    stay for the whole run: each of them begins it again and again on a schedule of its own,
    whatever became of the last time, is the same user (`{unique}`, `{user}`, `{uuid}`) in all
    visits, and keeps its cookies, and its connection for up to four seconds without use.

    Attributes:
        name: what evidence calls it.
        steps: its requests. Users who stay wait for no mail.
        python: `file.py:function`, instead of steps: a coroutine that is called with a
            `scenarios.traffic.journeys.user.User`, for what a template cannot say. The file is
            beside the scenario.
        weight: how often arrivals choose it, relative to the other journeys; absent: 1.
        users: how many users stay for it; absent: arrivals start it.
        every_seconds: how often each of them begins it; `users` and this belong together.
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
    """A point of a rate that changes.

    Attributes:
        at_seconds: when, from the start.
        rate: arrivals a second at that time.
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
