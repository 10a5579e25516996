"""What is known of a server: the findings, as frozen data that JSON can hold.

Durations are seconds. Where a fate came after the stop signal, its `seconds` count from there.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

Ending = Literal["FIN", "RST"]
"""How a connection ended: in order, or reset."""


class Exit(msgspec.Struct, frozen=True):
    """How the process that was started ended.

    Attributes:
        status: its exit status, negative when a signal ended it; None when it still ran when the
            watching ended.
        seconds: when it ended, or for how long it was watched.
    """

    status: int | None
    seconds: float


class Startup(msgspec.Struct, frozen=True, kw_only=True):
    """How the server starts, alone on the machine's cores.

    Attributes:
        listen_seconds: from its start until the port accepted connections.
        answer_seconds: from its start until the first good answer.
        errors: what it answered in between, in order; empty when the first answer was good.
    """

    listen_seconds: float
    answer_seconds: float
    errors: tuple[str, ...] = ()


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request that was in flight at the stop.

    Attributes:
        fate: `delivered`: the whole answer came; `error`: a 5xx came; `cut`: the connection ended
            first; `silent`: neither within the time that was watched.
        seconds: when.
        status: the status of the answer.
        ending: how the connection ended, when it was cut.
        connection: the answer's `Connection` header, in lower case.
        exit: how the process ended.
    """

    fate: Literal["delivered", "error", "cut", "silent"]
    seconds: float
    status: int | None = None
    ending: Ending | None = None
    connection: str | None = None
    exit: Exit


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an idle connection at the stop.

    Attributes:
        fate: `closed`; `open`: it was still open at the end; `none`: the server closes each
            connection after its answer.
        seconds: when it was closed.
        exit: how the process ended.
    """

    fate: Literal["closed", "open", "none"]
    seconds: float | None = None
    exit: Exit


class LateResponses(msgspec.Struct, frozen=True, kw_only=True):
    """What became of somebody who came after the stop signal.

    Attributes:
        at: when.
        fate: `refused`; `served`; `unavailable`: a 503; `error`: another 5xx; `closed` and `reset`:
            accepted, then ended without an answer; `silent`: accepted, and nothing within the time
            that was watched.
        status: the status of the answer.
        connection: the answer's `Connection` header, in lower case.
        seconds: when that was decided.
    """

    at: float
    fate: Literal["refused", "served", "unavailable", "error", "closed", "reset", "silent"]
    status: int | None = None
    connection: str | None = None
    seconds: float | None = None


class NewConnections(msgspec.Struct, frozen=True, kw_only=True):
    """What became of those who came after the stop signal.

    Attributes:
        tries: new connections with one GET each.
        health: a new connection that asks for the health check.
        idle: a request on a connection that was idle; None: the server closes each.
        idle_closed: whether that connection was closed before the request could be sent.
        exit: how the process ended.
    """

    tries: tuple[LateResponses, ...]
    health: LateResponses
    idle: LateResponses | None
    idle_closed: bool
    exit: Exit


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request whose body was half there.

    Attributes:
        fate: `served`; `cut`; `silent`: no answer within the time that was watched; `early`: it was
            answered before the rest of the body was sent.
        seconds: when.
        status: the status of the answer.
        exit: how the process ended.
    """

    fate: Literal["served", "cut", "silent", "early"]
    seconds: float
    status: int | None = None
    exit: Exit


class SecondSignal(msgspec.Struct, frozen=True, kw_only=True):
    """What a second stop signal did.

    Attributes:
        effect: `ignored`: the request in flight was not cut; `cut`; `gone`: the process had ended
            before.
        seconds: when the connection ended, if it was cut; before the second signal, the first one
            had done that.
        exit: how the process ended.
    """

    effect: Literal["ignored", "cut", "gone"]
    seconds: float | None = None
    exit: Exit


class KeepAlive(msgspec.Struct, frozen=True, kw_only=True):
    """How long an idle connection is kept while the server runs.

    Attributes:
        fate: `closed`; `open`: it was still open at the end; `none`: the server closes each
            connection after its answer.
        seconds: when it was closed, or for how long it was watched; from the answer.
        announced: what `Keep-Alive: timeout=` of the answer says.
        ending: how it was closed.
    """

    fate: Literal["closed", "open", "none"]
    seconds: float
    announced: float | None = None
    ending: Ending | None = None


class Websocket(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a WebSocket.

    Attributes:
        fate: `closed`; `open`: it was still open at the end.
        code: its close code; 1006 when it ended without a close frame (RFC 6455, section 7.4.1).
        seconds: when.
        exit: how the process ended.
    """

    fate: Literal["closed", "open"]
    code: int | None = None
    seconds: float | None = None
    exit: Exit


class StreamOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a streamed answer.

    Attributes:
        fate: `complete`; `cut`; `running`: it had neither ended nor been cut when the watching
            ended.
        chunks: how many pieces came whole.
        seconds: when.
        ending: how the connection ended, when it was cut.
        exit: how the process ended.
    """

    fate: Literal["complete", "cut", "running"]
    chunks: int
    seconds: float
    ending: Ending | None = None
    exit: Exit


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """What became of requests that came before the stop while the server was busy with another.

    Attributes:
        sent: how many there were.
        waiting: how many connections the kernel still held in the accept queue at the signal.
        served: how many were answered, before the signal or after it.
        late: how many of these after it.
        reset: how many were reset.
        closed: how many were closed without an answer.
        silent: how many got nothing within the time that was watched.
        exit: how the process ended.
    """

    sent: int
    waiting: int | None
    served: int
    late: int
    reset: int
    closed: int
    silent: int
    exit: Exit


class Signalled(msgspec.Struct, frozen=True, kw_only=True):
    """Which process the stop signal reaches.

    Attributes:
        fate: `direct`: the process that was started is the server; `forwarded`: another one is, and
            it stopped as well; `orphaned`: the one that was started died and left the server
            behind; `swallowed`: neither stopped within the time that was watched.
        started: the name of the process that was started.
        listening: the names of the processes that hold the listening socket.
        count: how many processes there were at the signal.
        left: how many were left a while after the one that was started had ended.
        still_serves: whether the port still accepted connections then.
    """

    fate: Literal["direct", "forwarded", "orphaned", "swallowed"]
    started: str
    listening: tuple[str, ...]
    count: int
    left: int | None = None
    still_serves: bool | None = None

    @property
    def reaches_server(self) -> bool:
        """Whether the server hears of the stop."""
        return self.fate in ("direct", "forwarded")


class LeftOut(msgspec.Struct, frozen=True):
    """An experiment that was not made.

    Attributes:
        experiment: its name.
        reason: why, and what would have to be said for it.
    """

    experiment: str
    reason: str


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one server.

    Attributes:
        schema: the version of this format.
        command: what was started.
        stop_signal: what asked it to stop.
        paths: what was asked, by what for.
        server: the server's name, such as `uvicorn 0.54.0`, where it is known.
        watch_seconds: how long each experiment was watched at most.
        seconds: how long all of it took.
        starts: how many times the command was started.
        startup: how it starts.
        signalled: which process the signal reaches.
        idle: an idle connection at the stop.
        in_flight: a request in flight at the stop.
        new_connections: who comes after the stop signal.
        upload: a half-sent upload.
        second_signal: a second stop signal.
        keep_alive: the idle timeout of connections while it runs.
        continues: what it answers to `Expect: 100-continue`: `continue`: a 100; `final`: the final
            answer at once; `silent`: nothing until the body comes.
        long_request: its own limit.
        websocket: a WebSocket at the stop.
        stream: a streamed answer at the stop.
        endless_stream: a stream without an end at the stop.
        queue: connections that wait at the stop.
        left_out: the experiments that were not made.
        core_wait: by experiment, how many seconds the server waited for a core in it, and the probe
            was late: so much later than on an idle machine may its moments be.
    """

    schema: int = 1
    command: tuple[str, ...]
    stop_signal: str = "SIGTERM"
    paths: Mapping[str, str] = msgspec.field(default_factory=dict)
    server: str | None = None
    watch_seconds: float
    seconds: float = 0.0
    starts: int = 0
    startup: Startup
    signalled: Signalled | None = None
    idle: Idle | None = None
    in_flight: Delivery | None = None
    new_connections: NewConnections | None = None
    upload: Upload | None = None
    second_signal: SecondSignal | None = None
    keep_alive: KeepAlive | None = None
    continues: Literal["continue", "final", "silent"] | None = None
    long_request: Delivery | None = None
    websocket: Websocket | None = None
    stream: StreamOutcome | None = None
    endless_stream: StreamOutcome | None = None
    queue: Queue | None = None
    left_out: tuple[LeftOut, ...] = ()
    core_wait: Mapping[str, float] = msgspec.field(default_factory=dict)

    @property
    def completes_in_flight(self) -> bool:
        """Whether a request in flight at the stop is answered whole.

        Raises:
            ValueError: that experiment was left out; the message says why.
        """
        if self.in_flight is None:
            raise ValueError(f"not known: {self.why_left_out('in_flight')}")
        return self.in_flight.fate == "delivered"

    @property
    def signal_reaches_server(self) -> bool:
        """Whether the process that listens hears of the stop."""
        return self.signalled is not None and self.signalled.reaches_server

    @property
    def exits(self) -> dict[str, Exit]:
        """How the process ended in each experiment, by its name."""
        found = {name: getattr(self, name) for name in STOPS}
        return {name: finding.exit for name, finding in found.items() if finding is not None}

    @property
    def cuts(self) -> tuple[str, ...]:
        """The experiments in which it cut something that it had begun to serve."""
        found = {name: getattr(self, name) for name in STOPS}
        return tuple(
            name
            for name, finding in found.items()
            if finding is not None
            and name != "second_signal"
            and getattr(finding, "fate", None) in ("cut", "error", "silent")
        )

    @property
    def exit_is_honest(self) -> bool | None:
        """Whether the exit status tells a stop that cut something; None: it never cut anything."""
        if not self.cuts:
            return None
        return all(self.exits[name].status != 0 for name in self.cuts)

    def why_left_out(self, experiment: str) -> str:
        """Why an experiment was not made."""
        for left in self.left_out:
            if left.experiment == experiment:
                return left.reason
        return f"{experiment} was not asked for"


STOPS = (
    "idle",
    "in_flight",
    "new_connections",
    "upload",
    "second_signal",
    "long_request",
    "websocket",
    "stream",
    "endless_stream",
    "queue",
)
"""The experiments that stop a server, by the names of their fields in a profile."""
