"""The findings in words: a short phrase each, the same on the screen and in every table."""

from collections.abc import Callable, Mapping
from typing import Any

from scenarios.probe.profile import (
    Delivery,
    Exit,
    Idle,
    KeepAlive,
    LateResponses,
    NewConnections,
    Queue,
    SecondSignal,
    Signalled,
    Startup,
    StreamOutcome,
    Upload,
    Websocket,
)

TITLES: Mapping[str, str] = {
    "startup": "Start",
    "signalled": "Stop signal",
    "in_flight": "GET in flight",
    "connection": "Late answer says",
    "upload": "Half-sent upload",
    "stream": "Stream",
    "endless_stream": "Endless stream",
    "websocket": "WebSocket",
    "idle": "Idle connection",
    "new_connections": "New connection",
    "late_request": "Late request",
    "health": "Health check",
    "queue": "Accept queue",
    "second_signal": "Second signal",
    "long_request": "Own limit",
    "keep_alive": "Keep-alive",
    "continues": "100-continue",
}
"""What each finding is called, in the order in which findings are shown."""


def exit_text(end: Exit) -> str:
    """`exit 0 @3.1s`, or that it was still alive."""
    if end.status is None:
        return f"alive > {end.seconds:.0f}s"
    return f"exit {end.status} @{end.seconds:.1f}s"


def startup(found: Startup) -> str:
    """How it starts."""
    text = f"listens after {found.listen_seconds:.1f} s, answers after {found.answer_seconds:.1f} s"
    if found.errors:
        text += f"; {len(found.errors)} errors in between ({found.errors[-1]})"
    return text


def signalled(found: Signalled) -> str:
    """Which process the signal reaches."""
    server = " and ".join(found.listening) or "nobody"
    match found.fate:
        case "direct":
            return f"reaches {found.started}, which listens"
        case "forwarded":
            return f"{found.started} passes it on to {server}"
        case "orphaned":
            return f"{found.started} dies of it and leaves {server} behind, which still serves"
        case _:
            return f"{found.started} keeps it from {server}: neither stops"


def delivery(found: Delivery) -> str:
    """A request in flight."""
    what = {
        "delivered": f"delivered @{found.seconds:.1f}s",
        "error": f"{found.status} @{found.seconds:.1f}s",
        "cut": f"cut ({found.ending} @{found.seconds:.1f}s)",
        "silent": f"no answer in {found.seconds:.0f}s",
    }[found.fate]
    return f"{what}; {exit_text(found.exit)}"


def long_request(found: Delivery) -> str:
    """Its own limit."""
    what = {
        "delivered": f"completed @{found.seconds:.1f}s",
        "error": f"{found.status} @{found.seconds:.1f}s",
        "cut": f"cut ({found.ending} @{found.seconds:.1f}s)",
        "silent": f"none within {found.seconds:.0f}s: it waits",
    }[found.fate]
    return f"{what}; {exit_text(found.exit)}"


def connection(found: Delivery) -> str:
    """What the late answer says about its connection."""
    if found.fate not in ("delivered", "error"):
        return "no answer"
    return found.connection or "no header"


def idle(found: Idle) -> str:
    """An idle connection at the stop."""
    what = {
        "closed": f"closed (FIN @{found.seconds or 0:.1f}s)",
        "open": "not closed",
        "none": "none: closes each",
    }[found.fate]
    return f"{what}; {exit_text(found.exit)}"


def late(found: LateResponses) -> str:
    """Somebody who came after the signal."""
    match found.fate:
        case "refused":
            return "refused"
        case "served":
            return f"served {found.status}, {found.connection or 'kept'}"
        case "unavailable" | "error":
            return f"answered {found.status}"
        case "reset":
            return f"accepted, RST @{found.seconds or 0:.1f}s"
        case "closed":
            return f"accepted, FIN @{found.seconds or 0:.1f}s"
        case _:
            return "accepted, silent"


def new_connections(found: NewConnections) -> str:
    """New connections after the signal."""
    return " / ".join(dict.fromkeys(late(one) for one in found.tries))


def late_request(found: NewConnections) -> str:
    """A request on an idle connection after the signal."""
    if found.idle is None:
        return "none: closes each"
    return "connection closed before" if found.idle_closed else late(found.idle)


def health(found: NewConnections) -> str:
    """The health check after the signal."""
    return late(found.health)


def upload(found: Upload) -> str:
    """A half-sent upload."""
    what = {
        "served": f"served {found.status} @{found.seconds:.1f}s",
        "early": f"answered {found.status} before its end",
        "cut": f"cut @{found.seconds:.1f}s",
        "silent": f"no answer in {found.seconds:.0f}s",
    }[found.fate]
    return f"{what}; {exit_text(found.exit)}"


def second_signal(found: SecondSignal) -> str:
    """A second signal."""
    what = {
        "ignored": "changes nothing",
        "cut": f"cut (@{found.seconds or 0:.1f}s)",
        "gone": "nobody there any more",
    }[found.effect]
    return f"{what}; {exit_text(found.exit)}"


def keep_alive(found: KeepAlive) -> str:
    """How long an idle connection is kept."""
    if found.fate == "none":
        return "none: closes each connection after its answer"
    said = "" if found.announced is None else f" (says timeout={found.announced:.0f})"
    if found.fate == "open":
        return f"still open after {found.seconds:.0f}s{said}"
    return f"{found.ending} after {found.seconds:.1f}s{said}"


def continues(found: str) -> str:
    """`Expect: 100-continue`."""
    return {
        "continue": "says 100 Continue",
        "final": "answers at once, without 100 Continue",
        "silent": "says nothing until the body comes",
    }[found]


def websocket(found: Websocket) -> str:
    """A WebSocket."""
    what = "not closed" if found.fate == "open" else f"closed with {found.code}"
    return f"{what}; {exit_text(found.exit)}"


def stream(found: StreamOutcome) -> str:
    """A streamed answer."""
    what = {
        "complete": "complete",
        "cut": f"cut after {found.chunks} pieces ({found.ending} @{found.seconds:.1f}s)",
        "running": f"runs on > {found.seconds:.0f}s",
    }[found.fate]
    return f"{what}; {exit_text(found.exit)}"


def queue(found: Queue) -> str:
    """Connections that wait."""
    waiting = "" if found.waiting is None else f", {found.waiting} of them in the queue"
    parts = [
        f"{count} {what}"
        for count, what in (
            (found.served, "served"),
            (found.reset, "reset"),
            (found.closed, "closed unanswered"),
            (found.silent, "silent"),
        )
        if count
    ]
    return f"{found.sent} came before{waiting}: {', '.join(parts)}; {exit_text(found.exit)}"


_WORDS: Mapping[str, Callable[[Any], str]] = {
    "startup": startup,
    "signalled": signalled,
    "in_flight": delivery,
    "connection": connection,
    "upload": upload,
    "stream": stream,
    "endless_stream": stream,
    "websocket": websocket,
    "idle": idle,
    "new_connections": new_connections,
    "late_request": late_request,
    "health": health,
    "queue": queue,
    "second_signal": second_signal,
    "long_request": long_request,
    "keep_alive": keep_alive,
    "continues": continues,
}
PART_OF = {
    "connection": "in_flight",
    "late_request": "new_connections",
    "health": "new_connections",
}
"""Findings that are told apart from the whole that they belong to."""


def progress_line(name: str, finding: object) -> str:
    """One finding, as soon as it is there."""
    return f"{TITLES[name]}: {_WORDS[name](finding)}"


def finding_of(profile: object, name: str) -> object:
    """The finding of a profile that a name of `TITLES` is about; None: there is none."""
    return getattr(profile, PART_OF.get(name, name))


def text_of(name: str, finding: object) -> str:
    """A finding in words."""
    return _WORDS[name](finding)


def rows(profile: object) -> list[tuple[str, str, str]]:
    """All findings of a profile: name, title and text of each, in the order of `TITLES`."""
    found = []
    for name, title in TITLES.items():
        finding = finding_of(profile, name)
        if finding is not None:
            found.append((name, title, text_of(name, finding)))
    return found
