"""What a plan must keep to so that it can be followed; each error is one line for its author."""

import re
from collections.abc import Sequence
from itertools import pairwise
from math import inf

from scenarios.traffic.errors import Location, PlanError, declared_location
from scenarios.traffic.plan import Plan
from scenarios.traffic.settings import EventStream, Journey, Step, WebSocket

# RFC 1035, section 2.3.1, and digits first, as RFC 1123, section 2.1, allows.
_DOMAIN = re.compile(r"(?i)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_PORTS = range(1, 65536)
# Each user who stays has cookies and a connection of its own; more are a mistake in the unit.
_USERS = range(1, 100_001)
_LEAST_SECONDS, _MOST_SECONDS = 0.001, 86_400.0


def check_plan(plan: Plan) -> None:
    """Check everything but the steps of the journeys.

    Raises:
        PlanError: the plan cannot be followed; the message names the field and what it may be.
    """
    _check_journeys(plan.journeys)
    if not all(journey.stays for journey in plan.journeys):
        _check_arrivals(plan)
    elif plan.profile or plan.arrivals == "recorded":
        raise PlanError(
            "profile and recorded arrivals need a journey that arrivals start: one without users "
            "and every_seconds",
            ("profile" if plan.profile else "arrivals",),
        )
    if not 0 < plan.timeout_seconds < inf:
        raise PlanError(
            f"timeout_seconds must be above 0, not {plan.timeout_seconds}", ("timeout_seconds",)
        )
    if not 0 < plan.tick_seconds < inf:
        raise PlanError(f"tick_seconds must be above 0, not {plan.tick_seconds}")
    if plan.max_in_flight < 1:
        raise PlanError(f"max_in_flight must be 1 or more, not {plan.max_in_flight}")
    if plan.processes < 1:
        raise PlanError(f"processes must be 1 or more, not {plan.processes}", ("processes",))
    if plan.port not in _PORTS:
        raise PlanError(f"port must be from 1 to 65535, not {plan.port}")
    if not plan.host or not plan.host.isascii():
        raise PlanError(f"host {plan.host!r} is not a host's name or address")
    if not _DOMAIN.fullmatch(plan.mail_domain):
        raise PlanError(f"mail_domain {plan.mail_domain!r} is not a domain", ("mail_domain",))


def _check_arrivals(plan: Plan) -> None:
    if plan.arrivals == "recorded":
        if plan.arrivals_path is None or plan.profile:
            raise PlanError(
                "recorded arrivals need arrivals_path, and have no profile", ("arrivals",)
            )
        return
    if not plan.profile:
        if not 0 < plan.rate < inf:
            raise PlanError(f"rate must be a number above 0, not {plan.rate}", ("rate",))
        return
    if plan.profile[0].at_seconds != 0:
        raise PlanError("profile must begin at at_seconds = 0", ("profile", "0", "at_seconds"))
    for number, (earlier, later) in enumerate(pairwise(plan.profile), start=1):
        if not earlier.at_seconds <= later.at_seconds < inf:
            raise PlanError(
                f"profile: at_seconds {later.at_seconds} is out of order",
                ("profile", str(number), "at_seconds"),
            )
    for number, point in enumerate(plan.profile):
        if not 0 <= point.rate < inf:
            raise PlanError(
                f"profile: rate must be a number of 0 or more, not {point.rate}",
                ("profile", str(number), "rate"),
            )


def _check_journeys(journeys: Sequence[Journey]) -> None:
    if not journeys:
        raise PlanError("journeys is empty: there is nothing to send", ("journeys",))
    names = [journey.name for journey in journeys]
    for index, journey in enumerate(journeys):
        where = Location(f"journey {journey.name}", ("journeys", str(index)))
        if journey.name in names[:index]:
            raise where.error("two journeys have this name", "name")
        if journey.weight is not None and not 0 <= journey.weight < inf:
            raise where.error("weight must be 0 or more", "weight")
        _check_staying(journey, where)
    arriving = [journey for journey in journeys if not journey.stays]
    if arriving and all(journey.weight == 0 for journey in arriving):
        raise PlanError("journeys: every weight is 0, so none would ever start", ("journeys",))


def _check_staying(journey: Journey, where: Location) -> None:
    users, seconds = journey.users, journey.every_seconds
    if journey.login and (users is None or journey.python is not None):
        raise where.error(
            "login is for users who stay and have steps; others log in with a step of their own",
            "login",
        )
    if users is None and seconds is None:
        return
    if users is None or seconds is None:
        given, missing = ("every_seconds", "users") if users is None else ("users", "every_seconds")
        raise where.error(f"{given} also needs {missing}", given)
    if users not in _USERS:
        raise where.error(f"users must be from 1 to {_USERS[-1]}, not {users}", "users")
    if not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        raise where.error(
            f"every_seconds must be from {_LEAST_SECONDS:g} to {_MOST_SECONDS:g}, not {seconds:g}",
            "every_seconds",
        )
    if journey.weight is not None:
        raise where.error(
            "weight is only for arrivals; a journey whose users stay has none", "weight"
        )
    for number, step in enumerate((*journey.login, *journey.steps), start=1):
        if step.after == "release":
            at = declared_location(where, number, len(journey.login))
            raise at.error("users who stay come again by themselves, also later", "after")
        if step.after == "mail":
            at = declared_location(where, number, len(journey.login))
            raise at.error("users who stay wait for no mail", "after")


def check_numbers(step: Step, *, where: Location) -> None:
    """Check the durations and rates of a step.

    Raises:
        PlanError: one is impossible; the message begins with `where`.
    """
    if not 0 <= step.delay_seconds < inf:
        raise where.error("delay_seconds must be 0 or more", "delay_seconds")
    for name in ("upload_bytes_per_second", "download_bytes_per_second", "timeout_seconds"):
        value = getattr(step, name)
        if value is not None and not 0 < value < inf:
            raise where.error(f"{name} must be above 0, not {value}", name)


def check_events(step: Step, *, where: Location) -> None:
    """Check a step that is a stream of events.

    Raises:
        PlanError: it cannot be one; the message begins with `where`.
    """
    events = step.events
    if events is None:
        return
    if step.method != "GET" or step.websocket is not None:
        raise where.error("a stream of events begins with a GET, and is no websocket", "events")
    if (step.upload_bytes_per_second, step.download_bytes_per_second) != (None, None):
        raise where.error("a stream of events has no bytes per second", "events")
    if step.expect_body is not None or step.capture:
        raise where.error("a stream of events has no body to look at", "events")
    if not 0 < events.seconds < inf:
        raise where.error(
            f"events.seconds must be above 0, not {events.seconds}", "events", "seconds"
        )
    _check_reconnect(events, where, "events")


def _check_reconnect(lasting: WebSocket | EventStream, where: Location, key: str) -> None:
    if not 0 <= lasting.reconnect_seconds < inf:
        raise where.error(f"{key}.reconnect_seconds must be 0 or more", key, "reconnect_seconds")
    if lasting.reconnect_seconds and not lasting.reconnect:
        raise where.error(
            f"{key}.reconnect_seconds also needs {key}.reconnect", key, "reconnect_seconds"
        )


def check_websocket(step: Step, *, where: Location) -> None:
    """Check a step that is a websocket.

    Raises:
        PlanError: it cannot be one; the message begins with `where`.
    """
    if step.method != "GET" or any(b is not None for b in (step.form, step.json, step.body)):
        raise where.error("a websocket begins with a GET without a body")
    if (step.upload_bytes_per_second, step.download_bytes_per_second) != (None, None):
        raise where.error("a websocket has no bytes per second")
    websocket = step.websocket
    if websocket is not None:
        _check_reconnect(websocket, where, "websocket")
        for name in ("seconds", "ping_seconds"):
            value = getattr(websocket, name)
            if not 0 < value < inf:
                raise where.error(
                    f"websocket.{name} must be above 0, not {value}", "websocket", name
                )
