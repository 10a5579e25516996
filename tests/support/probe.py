"""Observations and profiles made by hand, in seconds."""

from collections.abc import Mapping
from typing import Any

from scenarios.probe.profile import (
    Delivery,
    Exit,
    Idle,
    KeepAlive,
    LateResponses,
    NewConnections,
    Profile,
    Queue,
    Signalled,
    Startup,
    Upload,
)
from scenarios.probe.transcript import (
    Exited,
    Family,
    Happened,
    Observation,
    Transcript,
    TranscriptMoment,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
FAMILY = Family(started="server", listening=("server",), direct=True, count=1)

Said = tuple[float, Happened | bytes]


def transcript(name: str, *said: Said) -> Transcript:
    """A connection: `(at, bytes)` is what the server said, `(at, what)` anything else."""
    moments = [
        TranscriptMoment(round(at * 1e9), Happened.HEARD, what)
        if isinstance(what, bytes)
        else TranscriptMoment(round(at * 1e9), what)
        for at, what in said
    ]
    return Transcript(name, tuple(moments))


def observed(
    connections: Mapping[str, tuple[Said, ...]],
    *,
    exited: tuple[int, float] | None = None,
    watched: float = 15.0,
    signals: tuple[float, ...] = (0.0,),
    family: Family = FAMILY,
    waiting: int | None = None,
) -> Observation:
    """An observation."""
    return Observation(
        experiment="made by hand",
        signals_ns=tuple(round(at * 1e9) for at in signals),
        transcripts={name: transcript(name, *said) for name, said in connections.items()},
        exited=None if exited is None else Exited(exited[0], round(exited[1] * 1e9)),
        watched_ns=round(watched * 1e9),
        family=family,
        waiting=waiting,
    )


GONE = Exit(0, 3.2)


def profile(**changes: Any) -> Profile:
    """A server that is as good as they come, with changes."""
    good: dict[str, Any] = {
        "command": ("server",),
        "watch_seconds": 15.0,
        "startup": Startup(listen_seconds=0.1, answer_seconds=0.2),
        "signalled": Signalled(
            fate="direct", started="server", listening=("server",), count=1, left=0
        ),
        "idle": Idle(fate="closed", seconds=0.0, exit=Exit(0, 0.1)),
        "in_flight": Delivery(
            fate="delivered", seconds=3.0, status=200, connection="close", exit=GONE
        ),
        "new_connections": NewConnections(
            tries=(
                LateResponses(at=0.5, fate="served", status=200),
                LateResponses(at=2.0, fate="served", status=200),
            ),
            health=LateResponses(at=1.0, fate="unavailable", status=503),
            idle=LateResponses(at=0.7, fate="served", status=200, connection="close"),
            idle_closed=False,
            exit=GONE,
        ),
        "upload": Upload(fate="served", seconds=1.0, status=200, exit=Exit(0, 1.2)),
        "keep_alive": KeepAlive(fate="open", seconds=15.0),
        "long_request": Delivery(fate="silent", seconds=15.0, exit=Exit(None, 15.0)),
        "queue": Queue(sent=6, waiting=0, served=6, late=0, reset=0, closed=0, silent=0, exit=GONE),
    }
    return Profile(**{**good, **changes})
