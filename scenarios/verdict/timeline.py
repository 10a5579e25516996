"""The journal as a function of time: what the rollout was doing at an instant, on which schema."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from scenarios.evidence.event import Event
from scenarios.evidence.leaving import Departure

BEFORE = "before the release"
BETWEEN = "between steps"
AFTER = "after the release"
CONTAINERS = frozenset({"phase", "release", "deploy"})
"""Verbs that contain others: they say less of an instant than what runs within them."""


_SHOWN_REPLICAS = 10


class PhaseStart(NamedTuple):
    """A phase and when it began."""

    name: str
    start_ns: int


@dataclass(slots=True)
class Life:
    """One replica's life as far as the journal tells; each instant is None if it never came.

    Of a container that somebody else deploys, `compose_service` is its service in the compose file,
    and `ended` says how it ended.
    """

    version: str | None = None
    started_ns: int | None = None
    ready_ns: int | None = None
    attached_ns: int | None = None
    serving_ns: int | None = None
    drain_started_ns: int | None = None
    drained_ns: int | None = None
    cut: int = 0
    stop_started_ns: int | None = None
    stopped_ns: int | None = None
    died_ns: int | None = None
    compose_service: str | None = None
    ended: str | None = None
    departure: Departure | None = None

    @property
    def asked_ns(self) -> int | None:
        """When it got its stop signal; where only that is known, when its stop began."""
        if self.departure is not None and self.departure.stop_asked_ns is not None:
            return self.departure.stop_asked_ns
        return self.stop_started_ns

    def serves(self, at_ns: int) -> bool:
        """Whether it was to get requests at that instant: given traffic, and not yet leaving."""
        if self.serving_ns is None or at_ns < self.serving_ns:
            return False
        return all(
            left is None or at_ns < left
            for left in (self.drain_started_ns, self.stop_started_ns, self.died_ns)
        )

    def come(self, event: Event) -> None:
        """Take in how it came: started, ready, given traffic."""
        if event.verb in ("start", "wait_ready", "attach") and event.version is not None:
            self.version = event.version
        match event.verb, event.state:
            case "start", "started" | "completed" if self.started_ns is None:
                self.started_ns = event.at_ns
            case "wait_ready", "completed":
                self.ready_ns = event.at_ns
            case "attach" | "weigh" | "switch", "started" if self.attached_ns is None:
                self.attached_ns = event.at_ns
            case "attach" | "weigh" | "switch", "completed" if self.serving_ns is None:
                self.serving_ns = event.at_ns

    def go(self, event: Event) -> None:
        """Take in how it went: drained, stopped, or died by itself."""
        if (service := event.detail.get("compose_service")) is not None:
            self.compose_service = str(service)
            how = event.detail.get("how") or event.error
            self.ended = self.ended if how is None else str(how)
        match event.verb, event.state:
            case "drain", "started":
                self.drain_started_ns = event.at_ns
            case "drain", "completed" | "failed":
                self.drained_ns = event.at_ns
                # What a router leaves at the deadline is cut by the end of its replica.
                cut, left = event.detail.get("cut", 0), event.detail.get("left", 0)
                self.cut = sum(one for one in (cut, left) if isinstance(one, int))
            case "stop", "started":
                self.stop_started_ns = event.at_ns
            case "stop", "completed" | "failed":
                self.stopped_ns = event.at_ns
            case "replica", "noted":
                self.died_ns = event.at_ns


class Timeline:
    """The events of a run, in order, with the questions that a verdict asks of them.

    Attributes:
        events: in order of time.
        phases: in order of time.
        lives: by replica id.
        processes: the same of the processes beside the web, which get no requests.
        sets: the set of each of these processes.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.events = sorted(events, key=lambda event: (event.at_ns, event.number))
        self.phases = [
            PhaseStart(str(event.detail.get("name", "?")), event.at_ns)
            for event in self.events
            if event.verb == "phase" and event.state == "started"
        ]
        self._phase_starts = [phase.start_ns for phase in self.phases]
        self._event_stamps = [event.at_ns for event in self.events]
        self.lives: dict[str, Life] = {}
        self.processes: dict[str, Life] = {}
        self.sets: dict[str, str] = {}
        self._steps: list[tuple[int, str]] = [(0, BEFORE)]
        self._schemas: list[tuple[int, str | None]] = [(0, None)]
        self._release: Event | None = None
        self._read()
        self._step_starts = [at for at, _ in self._steps]
        self._schema_starts = [at for at, _ in self._schemas]

    @property
    def release_seconds(self) -> float | None:
        """How long the release took; None if its end is not in the journal."""
        return None if self._release is None else self._release.seconds

    @property
    def floor_seconds(self) -> float | None:
        """How much of that no orchestrator could have saved; None if unknown."""
        return None if self._release is None else self._release.floor_seconds

    @property
    def rollout_ns(self) -> float:
        """When the phase `rollout` began: before that nothing was deployed.

        Infinite if the journal has other phases but not that one; 0 if it has none.
        """
        missing = math.inf if self.phases else 0
        return next((start for name, start in self.phases if name == "rollout"), missing)

    def between(self, first_ns: int, last_ns: int) -> list[Event]:
        """The events of a stretch of time, both of its ends included."""
        first = bisect_left(self._event_stamps, first_ns)
        return self.events[first : bisect_right(self._event_stamps, last_ns)]

    def phase_at(self, at_ns: int) -> int:
        """The index of the phase at an instant; -1 before the first one."""
        return bisect_right(self._phase_starts, at_ns) - 1

    def step_at(self, at_ns: int) -> str:
        """What the rollout was doing: the innermost verb under way, such as `drain a-1`."""
        return self._steps[bisect_right(self._step_starts, at_ns) - 1][1]

    def schema_at(self, at_ns: int) -> str | None:
        """The last migration that had completed; None before the first one."""
        return self._schemas[bisect_right(self._schema_starts, at_ns) - 1][1]

    def version_of(self, replica: str | None) -> str | None:
        """The version of a replica: from the journal, else from its id (`bridge-4`)."""
        if replica is None:
            return None
        life = self.life_of(replica)
        if life is not None and life.version is not None:
            return life.version
        return replica.rpartition("-")[0] or None

    def life_of(self, replica: str) -> Life | None:
        """What the journal tells of a replica, or of a process beside the web."""
        return self.lives.get(replica) or self.processes.get(replica)

    def _read(self) -> None:
        running: dict[int, Event] = {}
        idle = BEFORE
        for event in self.events:
            self._read_life(event)
            if event.verb == "release" and event.state != "noted":
                ended = event.state != "started"
                self._release = event if ended else None
                idle = AFTER if ended else BETWEEN
                if not running:
                    self._steps.append((event.at_ns, idle))
            if event.verb == "migrate" and event.state == "completed":
                self._read_migration(event)
            if event.verb in CONTAINERS or event.state == "noted":
                continue
            if event.state == "started":
                running[event.number] = event
            else:
                running.pop(event.number, None)
            step = max(running.values(), key=lambda e: (e.at_ns, e.number), default=None)
            self._steps.append((event.at_ns, idle if step is None else describe(step)))

    def _read_migration(self, event: Event) -> None:
        migration = event.detail.get("migration")
        if migration is None:
            return
        undone = " rolled back" if event.detail.get("direction") == "rollback" else ""
        self._schemas.append((event.at_ns, f"{migration}{undone}"))

    def _read_life(self, event: Event) -> None:
        owner = event.detail.get("processes")
        lives = self.lives if owner is None else self.processes
        for replica in event.replicas:
            if owner is not None:
                self.sets[replica] = str(owner)
            life = lives.setdefault(replica, Life())
            life.come(event)
            life.go(event)
            life.departure = departure_of(event, replica) or life.departure


def departure_of(event: Event, replica: str) -> Departure | None:
    """How a replica left, from the end of the verb `stop`; None for any other event."""
    departures = event.detail.get("departures")
    if event.verb != "stop" or not isinstance(departures, Mapping):
        return None
    known = departures.get(replica)
    return None if known is None else msgspec.convert(known, Departure)


def describe(event: Event) -> str:
    """A verb in few words: `migrate 0003.backfill`, `drain a-1 a-2`, `deploy b`."""
    if event.verb == "step":
        return f"steps done: {event.detail.get('done', '?')}"
    return f"{event.verb} {object_of(event)}".rstrip()


def _deployed(event: Event) -> str:
    """What a deployment deploys: a version of the web, services, or a set of processes."""
    owner = event.detail.get("processes")
    if owner is not None:
        return f"{owner} {event.version}"
    services = event.detail.get("services")
    named = [f"{one} {to}" for one, to in services.items()] if isinstance(services, Mapping) else []
    return " and ".join([event.version, *named] if event.version else named)


def object_of(event: Event) -> str:
    """What a verb is done to, such as the migration, the replicas, or the version; may be empty."""
    migration = event.detail.get("migration")
    if migration is not None:
        back = " back" if event.detail.get("direction") == "rollback" else ""
        return f"{migration}{back}"
    if event.verb in ("phase", "release"):
        return str(event.detail.get("name", ""))
    if event.verb == "fault":
        return " ".join((str(event.detail.get("name", "")), *event.replicas)).strip()
    if event.verb == "deploy":
        return _deployed(event)
    shown = " ".join(event.replicas[:_SHOWN_REPLICAS])
    more = len(event.replicas) - _SHOWN_REPLICAS
    return (f"{shown} and {more} more" if more > 0 else shown) or event.version or ""
