"""PURE: the experiments as plans: what is sent, on which connection, and when the signal comes.

All times are seconds from the first stop signal; what is before it is negative. A plan says nothing
about sockets or processes: `scenarios.probe.experiments` does it, `scenarios.probe.findings` reads
it.
"""

import base64
from collections.abc import Callable, Mapping

import msgspec

HOST = "hitless-probe"
BODY = b"0123456789" * 2
SLOW_SECONDS = 5.0
LONG_SECONDS = 60.0
CHUNKS = 10
LEAST_SLOW_SECONDS = 1.0
"""A slow request must take so long, or there is no time to stop the server meanwhile."""
IN_FLIGHT_SECONDS = 2.5
"""So old is the request in flight at the signal. It has as long to go: less than any server's own
limit that is known (the shortest is three seconds), so that it does not race with that."""


class Prepare(msgspec.Struct, frozen=True):
    """Before the clock starts: open a connection, send this, and wait for the whole answer.

    Attributes:
        connection: its name.
        data: the bytes.
        released: whether a connection that the server then closes is let go of, so that it is no
            work for a server that waits for its client's end.
    """

    connection: str
    data: bytes
    released: bool = False


class Send(msgspec.Struct, frozen=True):
    """Send this on a connection, which is opened if it is not there.

    Attributes:
        at: when, in seconds from the first stop signal.
        connection: its name.
        data: the bytes.
        kept: only on a connection that is there and was not closed; else leave it.
    """

    at: float
    connection: str
    data: bytes
    kept: bool = False


class Signal(msgspec.Struct, frozen=True):
    """Send the stop signal."""

    at: float


class ExperimentPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment, on a server process of its own.

    Attributes:
        name: its name.
        title: what it finds out, for people.
        prepare: what is done before the clock starts.
        steps: what is done then, in order of time.
        watch_seconds: how long the server is watched after the first signal, or the beginning.
        counts_queue: whether the accept queue is counted at the first signal.
    """

    name: str
    title: str
    prepare: tuple[Prepare, ...] = ()
    steps: tuple[Send | Signal, ...]
    watch_seconds: float
    counts_queue: bool = False

    @property
    def begins(self) -> float:
        """When its first step is; seconds from the first signal, never positive."""
        return min(0.0, *(step.at for step in self.steps))


class Slow(msgspec.Struct, frozen=True):
    """A path that answers slowly.

    Attributes:
        template: the path; `{seconds}` in it is how long the answer shall take.
        seconds: how long it was seen to take, where it holds no `{seconds}`.
    """

    template: str
    seconds: float | None = None

    def path(self, seconds: float) -> str:
        """The path for an answer that takes so long."""
        return self.template.replace("{seconds}", f"{seconds:g}")

    def takes(self, seconds: float) -> float:
        """How long it takes when so long is asked for."""
        return seconds if self.seconds is None else self.seconds


class StreamExperiment(msgspec.Struct, frozen=True):
    """A path that answers in pieces.

    Attributes:
        template: the path; `{chunks}` in it is how many pieces, half a second apart; 0: no end.
        endless: whether it never ends, where it holds no `{chunks}`; None when it holds them.
    """

    template: str
    endless: bool | None = None

    def path(self, chunks: int) -> str:
        """The path for so many pieces; 0: no end."""
        return self.template.replace("{chunks}", str(chunks))


class ProbeRoutes(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server can be asked what.

    Attributes:
        get: a path that answers quickly.
        health: the path of its health check.
        slow: a path that answers slowly.
        upload: a path that reads a body.
        stream: a path that answers in pieces.
        websocket: a path that becomes a WebSocket.
    """

    get: str
    health: str
    slow: Slow | None = None
    upload: str | None = None
    stream: StreamExperiment | None = None
    websocket: str | None = None

    @property
    def paths(self) -> dict[str, str]:
        """The paths by what they are for."""
        paths = {
            "get": self.get,
            "health": self.health,
            "slow": self.slow.template if self.slow else None,
            "upload": self.upload,
            "stream": self.stream.template if self.stream else None,
            "websocket": self.websocket,
        }
        return {purpose: path for purpose, path in paths.items() if path is not None}


def get(path: str) -> bytes:
    """A GET."""
    return _head("GET", path)


def post(path: str, *, expect: bool = False) -> bytes:
    """The head of a POST whose body is `BODY`; with `expect` it asks whether to go on."""
    wanted = {"Expect": "100-continue"} if expect else {}
    length = {"Content-Type": "application/octet-stream", "Content-Length": str(len(BODY))}
    return _head("POST", path, {**length, **wanted})


def upgrade(path: str) -> bytes:
    """What opens a WebSocket (RFC 6455, section 4.1)."""
    return _head(
        "GET",
        path,
        {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(b"hitless probe 16").decode(),
        },
    )


def _head(method: str, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", f"User-Agent: {HOST}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _before(seconds: float, slow: Slow) -> float:
    """How long before the signal a slow request is sent: half of what it takes at most."""
    return -min(seconds, slow.takes(SLOW_SECONDS) / 2)


def idle(routes: ProbeRoutes, watch: float) -> ExperimentPlan:
    """A connection that waits for its next request, and a signal."""
    return ExperimentPlan(
        name="idle",
        title="an idle connection at the stop",
        prepare=(Prepare("idle", get(routes.get)),),
        steps=(Signal(0.0),),
        watch_seconds=watch,
    )


def in_flight(routes: ProbeRoutes, watch: float) -> ExperimentPlan | None:
    """A request whose answer is being made, and a signal."""
    if routes.slow is None:
        return None
    return ExperimentPlan(
        name="in_flight",
        title="a request in flight at the stop",
        steps=(
            Send(
                _before(IN_FLIGHT_SECONDS, routes.slow), "slow", get(routes.slow.path(SLOW_SECONDS))
            ),
            Signal(0.0),
        ),
        watch_seconds=watch,
    )


NEW_CONNECTIONS_AT = (0.5, 2.0)
HEALTH_AT = 1.0
IDLE_AT = 0.3


def new_connections(routes: ProbeRoutes, watch: float) -> ExperimentPlan:
    """Who comes after the signal, on new connections and on an idle one, while one is served."""
    slow: tuple[Send, ...] = ()
    if routes.slow is not None:
        path = routes.slow.path(SLOW_SECONDS)
        # Soon after the idle connection's answer, so that its keep-alive time is not over.
        slow = (Send(_before(0.5, routes.slow), "slow", get(path)),)
    return ExperimentPlan(
        name="new_connections",
        title="new connections and requests after the stop signal",
        prepare=(Prepare("idle", get(routes.get), released=True),),
        steps=(
            *slow,
            Signal(0.0),
            Send(IDLE_AT, "idle", get(routes.get), kept=True),
            Send(NEW_CONNECTIONS_AT[0], "new 0.5", get(routes.get)),
            Send(HEALTH_AT, "health", get(routes.health)),
            Send(NEW_CONNECTIONS_AT[1], "new 2", get(routes.get)),
        ),
        watch_seconds=watch,
    )


def upload(routes: ProbeRoutes, watch: float) -> ExperimentPlan | None:
    """A request of which half the body has come at the signal, and the rest comes after it."""
    if routes.upload is None:
        return None
    half = len(BODY) // 2
    return ExperimentPlan(
        name="upload",
        title="a half-sent upload at the stop",
        steps=(
            Send(-0.7, "upload", post(routes.upload) + BODY[:half]),
            Signal(0.0),
            Send(1.0, "upload", BODY[half:], kept=True),
        ),
        watch_seconds=watch,
    )


SECOND_SIGNAL_AT = 1.5


def second_signal(routes: ProbeRoutes, watch: float) -> ExperimentPlan | None:
    """A supervisor that loses patience: the signal again while a request is in flight."""
    if routes.slow is None:
        return None
    path = routes.slow.path(SLOW_SECONDS)
    second = min(SECOND_SIGNAL_AT, 0.3 * routes.slow.takes(SLOW_SECONDS))
    return ExperimentPlan(
        name="second_signal",
        title="a second stop signal",
        steps=(
            Send(_before(1.0, routes.slow), "slow", get(path)),
            Signal(0.0),
            Signal(second),
        ),
        watch_seconds=watch,
    )


def long_request(routes: ProbeRoutes, watch: float) -> ExperimentPlan | None:
    """A request that takes longer than any patience: the server's own grace limit."""
    if routes.slow is None or routes.slow.takes(LONG_SECONDS) < LONG_SECONDS:
        return None
    return ExperimentPlan(
        name="long_request",
        title="its own limit: a request of a minute at the stop",
        steps=(Send(-0.5, "slow", get(routes.slow.path(LONG_SECONDS))), Signal(0.0)),
        watch_seconds=watch,
    )


def websocket(routes: ProbeRoutes, watch: float) -> ExperimentPlan | None:
    """A WebSocket that is open at the signal."""
    if routes.websocket is None:
        return None
    return ExperimentPlan(
        name="websocket",
        title="a WebSocket at the stop",
        prepare=(Prepare("websocket", upgrade(routes.websocket)),),
        steps=(Signal(0.0),),
        watch_seconds=watch,
    )


def stream(routes: ProbeRoutes, watch: float) -> ExperimentPlan | None:
    """An answer that comes in ten pieces over five seconds, and a signal after the third."""
    if routes.stream is None or routes.stream.endless:
        return None
    return ExperimentPlan(
        name="stream",
        title="a streamed answer at the stop",
        steps=(Send(-1.25, "stream", get(routes.stream.path(CHUNKS))), Signal(0.0)),
        watch_seconds=watch,
    )


def endless_stream(routes: ProbeRoutes, watch: float) -> ExperimentPlan | None:
    """An answer that has no end, such as server-sent events, and a signal."""
    if routes.stream is None or routes.stream.endless is False:
        return None
    return ExperimentPlan(
        name="endless_stream",
        title="a stream without an end at the stop",
        steps=(Send(-1.0, "stream", get(routes.stream.path(0))), Signal(0.0)),
        watch_seconds=watch,
    )


QUEUED = 6


def queue(routes: ProbeRoutes, watch: float) -> ExperimentPlan | None:
    """Six more requests, each on a connection of its own, that came while one is served."""
    if routes.slow is None:
        return None
    path = routes.slow.path(SLOW_SECONDS)
    return ExperimentPlan(
        name="queue",
        title="connections that wait to be accepted at the stop",
        steps=(
            Send(_before(1.0, routes.slow), "slow", get(path)),
            *(
                Send(_before(1.0, routes.slow) / 2, f"queued {number}", get(routes.get))
                for number in range(1, QUEUED + 1)
            ),
            Signal(0.0),
        ),
        watch_seconds=watch,
        counts_queue=True,
    )


EXPERIMENTS: Mapping[str, Callable[[ProbeRoutes, float], ExperimentPlan | None]] = {
    # Those that take longest begin first.
    "endless_stream": endless_stream,
    "long_request": long_request,
    "websocket": websocket,
    "in_flight": in_flight,
    "upload": upload,
    "new_connections": new_connections,
    "stream": stream,
    "second_signal": second_signal,
    "queue": queue,
    "idle": idle,
}
"""Each makes the plan for a server's routes and the seconds to watch; None: a route is missing."""
