"""PURE: what Docker's engine tells of containers, as events of a run's journal.

Sources: the Docker Engine API, `GET /events` and `GET /containers/json`; the labels by which docker
compose finds its own containers.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

PROJECT: Final = "com.docker.compose.project"
_ONE_OFF: Final = "com.docker.compose.oneoff"
"""`True` for a container of `docker compose run`, such as a migration; it serves nobody."""

_SERVICE: Final = "com.docker.compose.service"
_NUMBER: Final = "com.docker.compose.container-number"

_ID_LENGTH = 6
_NO_STOP = frozenset({"1", "10", "12", "28"})
"""SIGHUP, SIGUSR1, SIGUSR2 and SIGWINCH, by which servers are told other things than to stop.

Some servers stop at one of them: Docker's images of Apache name SIGWINCH as their stop signal.
"""

_NAMES = {
    "1": "SIGHUP",
    "2": "SIGINT",
    "3": "SIGQUIT",
    "9": "SIGKILL",
    "10": "SIGUSR1",
    "12": "SIGUSR2",
    "15": "SIGTERM",
    "28": "SIGWINCH",
}
_KILLED = "9"

Change = Literal["start", "kill", "oom", "die", "healthy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEvent:
    """One event of the engine about one container.

    Attributes:
        at_ns: when, in nanoseconds since 1970.
        change: what happened.
        container: its id.
        service: the service of the compose file; outside of compose, the container's name.
        number: which of the service's containers it is.
        image: its image.
        signal: the number of the signal that it was sent.
        exit_code: with which it ended.
    """

    at_ns: int
    change: Change
    container: str
    service: str
    number: str = "1"
    image: str = ""
    signal: str = ""
    exit_code: int | None = None

    @property
    def replica(self) -> str:
        """What the evidence calls the container, such as `web-1.0865bf`."""
        return f"{self.service}-{self.number}.{self.container[:_ID_LENGTH]}"


def event_of(line: str | bytes) -> ContainerEvent | None:
    """An event as the engine writes it; None if it is about no container, or changes nothing."""
    try:
        said = json.loads(line)
        attributes = said["Actor"]["Attributes"]
        action, at_ns, container = said["Action"], said["timeNano"], said["Actor"]["ID"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    change = _change(action)
    if said.get("Type") != "container" or change is None or not isinstance(at_ns, int):
        return None
    if not isinstance(attributes, Mapping) or attributes.get(_ONE_OFF) == "True":
        return None
    return _of(at_ns, change, str(container), attributes)


def running_of(listed: Mapping[str, object], at_ns: int) -> ContainerEvent | None:
    """The start of a container that runs already, from the list of containers; None: it does not.

    Args:
        listed: one item of the list.
        at_ns: when the list was made, in nanoseconds since 1970.
    """
    labels = listed.get("Labels")
    if listed.get("State") != "running" or not isinstance(labels, Mapping):
        return None
    if labels.get(_ONE_OFF) == "True":
        return None
    attributes = {**labels, "image": listed.get("Image", "")}
    return _of(at_ns, "start", str(listed.get("Id", "")), attributes)


def addresses_of(listed: Mapping[str, object]) -> Iterator[str]:
    """The addresses of a container in its networks, from the list of containers."""
    settings = listed.get("NetworkSettings")
    networks = settings.get("Networks") if isinstance(settings, Mapping) else None
    for network in (networks or {}).values() if isinstance(networks, Mapping) else ():
        for key in ("IPAddress", "GlobalIPv6Address"):
            if isinstance(network, Mapping) and network.get(key):
                yield str(network[key])


def _change(action: object) -> Change | None:
    match action:
        case "start" | "kill" | "oom" | "die":
            return action
        case "health_status: healthy":
            return "healthy"
    return None


def _of(
    at_ns: int, change: Change, container: str, attributes: Mapping[str, object]
) -> ContainerEvent:
    code = str(attributes.get("exitCode", ""))
    return ContainerEvent(
        at_ns=at_ns,
        change=change,
        container=container,
        service=str(attributes.get(_SERVICE) or attributes.get("name") or container[:_ID_LENGTH]),
        number=str(attributes.get(_NUMBER) or "1"),
        image=str(attributes.get("image") or ""),
        signal=str(attributes.get("signal") or ""),
        exit_code=int(code) if code.isascii() and code.isdigit() else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedChange:
    """What the journal is told of a container.

    Attributes:
        at_ns: when, in nanoseconds since 1970.
        verb: a verb of the journal: `start`, `wait_ready`, `stop` or `replica`.
        state: `started`, `completed` or `noted`.
        event: what it follows from.
        error: how a container ended that nobody had stopped.
        detail: further facts.
    """

    at_ns: int
    verb: Literal["start", "wait_ready", "stop", "replica"]
    state: Literal["started", "completed", "noted"]
    event: ContainerEvent
    error: str | None = None
    detail: Mapping[str, object] = field(default_factory=dict)


class ContainerLives:
    """Follows the containers of a project through the engine's events, in order."""

    def __init__(self) -> None:
        self._running: set[str] = set()
        self._stopping: dict[str, list[str]] = {}
        self._signalled: dict[str, ContainerEvent] = {}
        self._out_of_memory: set[str] = set()

    def found(self, event: ContainerEvent) -> Iterator[ObservedChange]:
        """What the journal is told of a container that runs already when somebody begins to look.

        It has served for a while, so it is ready, as far as anybody can tell.
        """
        if event.container not in self._running:
            self._running.add(event.container)
            yield self._told(event, "start", "completed")
            yield self._told(event, "wait_ready", "completed")

    def take(self, event: ContainerEvent) -> Iterator[ObservedChange]:
        """What the journal is told of an event; nothing if it tells nothing new."""
        container = event.container
        match event.change:
            case "start" if container not in self._running:
                self._running.add(container)
                yield self._told(event, "start", "completed")
            case "healthy" if container in self._running:
                yield self._told(event, "wait_ready", "completed")
            case "oom":
                self._out_of_memory.add(container)
            case "kill" if container in self._running and event.signal in _NO_STOP:
                self._signalled[container] = event
            case "kill" if container in self._running:
                signals = self._stopping.setdefault(container, [])
                signals.append(event.signal)
                if len(signals) == 1:
                    yield self._told(event, "stop", "started")
            case "die" if container in self._running:
                yield from self._ended(event)

    def _ended(self, event: ContainerEvent) -> Iterator[ObservedChange]:
        self._running.discard(event.container)
        signals = self._stopping.pop(event.container, None)
        signalled = self._signalled.pop(event.container, None)
        if signals is None and signalled is not None and event.exit_code == 0:
            # Nothing went wrong, so this signal asked for the end.
            yield self._told(signalled, "stop", "started")
            signals = [signalled.signal]
        memory = event.container in self._out_of_memory
        self._out_of_memory.discard(event.container)
        code = "an unknown status" if event.exit_code is None else f"status {event.exit_code}"
        how = f"ended with {code}{', out of memory' if memory else ''}"
        if signals is None:
            yield self._told(event, "replica", "noted", error=how)
            return
        told = ", then ".join(_NAMES.get(one, f"signal {one}") for one in dict.fromkeys(signals))
        killed = _KILLED in signals[1:]
        yield self._told(event, "stop", "completed", how=f"{how} after {told}", killed=killed)

    def _told(
        self,
        event: ContainerEvent,
        verb: Literal["start", "wait_ready", "stop", "replica"],
        state: Literal["started", "completed", "noted"],
        *,
        error: str | None = None,
        **detail: object,
    ) -> ObservedChange:
        return ObservedChange(
            at_ns=event.at_ns,
            verb=verb,
            state=state,
            event=event,
            error=error,
            detail={"compose_service": event.service, **detail},
        )
