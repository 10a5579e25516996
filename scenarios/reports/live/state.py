"""A run while it happens: what is known of it so far, apart from how that is drawn.

Time here is the evidence's own: the stamps of ticks and events, never a clock of the view.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence

import msgspec

from scenarios.evidence.event import Event
from scenarios.evidence.locks import LockWait
from scenarios.evidence.progress import ReplicaView, RunHeader
from scenarios.evidence.tick import Tick
from scenarios.verdict.measures.slo import availability_text
from scenarios.verdict.timeline import CONTAINERS, Life, describe

LAST_SECONDS = 1.0
JOURNAL = 50
_WAITS = {
    "start": "its process",
    "wait_ready": "being ready",
    "soak": "good answers",
    "drain": "its requests",
    "stop": "its end",
    "attach": "the router",
    "weigh": "the router",
    "switch": "the router",
    "preview": "the preview",
    "analyse": "its judgement",
    "pause": "the pause",
}
"""What each verb waits for on a replica, in few words."""


class Countdown(msgspec.Struct, frozen=True):
    """What the release waits for.

    Attributes:
        text: the verb, in few words.
        seconds: for how long so far.
        lasts: how long it will take, when that is known.
        at_most: after how long it is given up, when that is known.
    """

    text: str
    seconds: float
    lasts: float | None
    at_most: float | None


class ReplicaLine(msgspec.Struct, frozen=True, kw_only=True):
    """One replica, from what the router says of it and what the journal does.

    Attributes:
        id: its id.
        version: what it runs.
        state: as the router sees it; `starting` before it knows it, `died` if it did.
        ready_after: after how many seconds it was ready; absent before.
        weight: its weight; absent when the router does not know it.
        in_flight: requests that it is busy with; absent likewise.
        answered: how many it answered so far.
        age: for how many seconds it has been there.
        restarts: how many replicas ended by themselves in whose place it stands.
        waits_for: what the release waits for on it, in few words; empty if nothing.
    """

    id: str
    version: str
    state: str
    ready_after: float | None
    weight: float | None
    in_flight: int | None
    answered: int
    age: float | None
    restarts: int
    waits_for: str = ""


class Point(msgspec.Struct, frozen=True):
    """One tick, as far as it is drawn."""

    at_ns: int
    seconds: float
    ok: int
    failed: int
    p50: float | None
    p99: float | None


class LiveState:
    """Everything that a live view shows, fed piece by piece.

    Attributes:
        header: what was known before.
        points: the ticks so far.
        replicas: the last that was heard of them, in order of their numbers.
        failures: failed requests by the first sight of their cause.
        answered: answers so far, by replica.
        journal: the last events.
        phase: the current phase.
        phases: the phases so far, each with its beginning.
        stage_seconds: for how long that has been done.
        stage: what is done before there is traffic or after it; None while a phase is under way.
        migrations: those that were applied and not rolled back, in order.
        waits: the sessions that wait for a lock now.
        longest: the longest wait so far.
        ok: requests that succeeded so far.
        failed: requests that failed so far.
        undispatched: requests that could not be sent so far.
        in_flight: requests under way.
        now_ns: the latest stamp that was seen.
        began_ns: the first.
    """

    def __init__(self, header: RunHeader) -> None:
        self.header = header
        self.points: list[Point] = []
        self.replicas: tuple[ReplicaView, ...] = ()
        self.failures: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self._versions: dict[str, str] = {}
        self._served: deque[tuple[int, Mapping[str, int]]] = deque()
        self.journal: list[Event] = []
        self.phase = "starting"
        self.phases: list[tuple[str, int]] = []
        self.stage: str | None = None
        self.stage_seconds = 0.0
        self.migrations: list[str] = []
        self.waits: tuple[LockWait, ...] = ()
        self.longest: LockWait | None = None
        self._lives: dict[str, Life] = {}
        self._restarts: Counter[str] = Counter()
        self.ok = self.failed = self.undispatched = self.in_flight = 0
        self.now_ns = self.began_ns = 0
        self._running: dict[int, Event] = {}
        self._step = -1

    def tick(self, tick: Tick) -> None:
        """Take in a tick."""
        self._see(tick.at_ns)
        self.ok += tick.ok
        self.failed += tick.failed
        self.undispatched += tick.undispatched
        self.in_flight = tick.in_flight
        self.failures.update(tick.failures)
        self.answered.update(tick.served_by)
        self._served.append((tick.at_ns, tick.served_by))
        while tick.at_ns - self._served[0][0] >= LAST_SECONDS * 1e9:
            self._served.popleft()
        self.points.append(
            Point(
                tick.at_ns, tick.seconds, tick.ok, tick.failed, tick.p50_seconds, tick.p99_seconds
            )
        )

    def event(self, event: Event) -> None:
        """Take in an event."""
        self._see(event.at_ns)
        self.journal.append(event)
        del self.journal[:-JOURNAL]
        if event.verb == "phase":
            if event.state == "started":
                self.stage = None
                self.phase = str(event.detail.get("name", "?"))
                self.phases.append((self.phase, event.at_ns))
            return
        if event.version is not None:
            self._versions.update(dict.fromkeys(event.replicas, event.version))
        self._live(event)
        if event.verb == "migrate" and event.state == "completed":
            self._migrated(event)
        if event.state == "started":
            self._running[event.number] = event
            if "processes" not in event.detail:  # those are a part of the step of the web
                self._advance(event.verb)
        elif event.state != "noted":
            self._running.pop(event.number, None)
            if event.verb == "release" and event.state == "completed":
                self._step = len(self.header.steps)

    def wait(self, waits: Sequence[LockWait]) -> None:
        """Take in who waits for a lock now."""
        self.waits = tuple(waits)
        for one in waits:
            self._see(one.end_ns)
            if self.longest is None or one.seconds >= self.longest.seconds:
                self.longest = one

    @property
    def elapsed(self) -> float:
        """Seconds since the first stamp."""
        return (self.now_ns - self.began_ns) / 1e9

    @property
    def step(self) -> tuple[int, str] | None:
        """The number (from 1) and the name of the release's current step; None before the first."""
        steps = self.header.steps
        return (self._step + 1, steps[self._step].text) if 0 <= self._step < len(steps) else None

    def is_doing(self, verb: str) -> bool:
        """Whether this verb is under way."""
        return any(event.verb == verb for event in self._running.values())

    @property
    def doing(self) -> Countdown | None:
        """The innermost verb under way; None between verbs."""
        inner = [event for event in self._running.values() if event.verb not in CONTAINERS]
        if not inner:
            return None
        event = max(inner, key=lambda event: (event.at_ns, event.number))
        return Countdown(
            describe(event),
            (self.now_ns - event.at_ns) / 1e9,
            _number(event.detail.get("lasts_seconds")),
            _number(event.detail.get("at_most_seconds")),
        )

    @property
    def wanted(self) -> dict[str, float]:
        """Which version should get what share of the traffic, by the router's weights."""
        weights: dict[str, float] = {}
        for replica in self.replicas:
            if replica.state == "up":
                weights[replica.version] = weights.get(replica.version, 0.0) + replica.weight
        total = sum(weights.values())
        return {version: weights[version] / total for version in weights} if total else {}

    @property
    def lines(self) -> list[ReplicaLine]:
        """Every replica that is there, the oldest first; also those that no router knows yet."""
        known = {replica.id: replica for replica in self.replicas}
        coming = [
            name
            for name, life in self._lives.items()
            if life.started_ns is not None and life.stopped_ns is None
        ]
        names = dict.fromkeys([*known, *coming])
        return [self._line(name, known.get(name)) for name in sorted(names, key=_number_of)]

    def _line(self, name: str, replica: ReplicaView | None) -> ReplicaLine:
        life = self._lives.get(name, Life())
        state = "starting" if replica is None else replica.state
        if life.died_ns is not None and life.stop_started_ns is None:
            state = "died"
        elif replica is None and life.stop_started_ns is not None:
            state = "stopping"
        started = life.started_ns
        return ReplicaLine(
            id=name,
            version=life.version or self._versions.get(name) or name.rpartition("-")[0],
            state=state,
            ready_after=None
            if started is None or life.ready_ns is None
            else (life.ready_ns - started) / 1e9,
            weight=None if replica is None else replica.weight,
            in_flight=None if replica is None else replica.in_flight,
            answered=self.answered[name],
            age=None if started is None else (self.now_ns - started) / 1e9,
            restarts=self._restarts[name],
            waits_for=self._waits_for(name, replica),
        )

    def _waits_for(self, name: str, replica: ReplicaView | None) -> str:
        """What the innermost verb that is about this replica waits for."""
        about = [
            one
            for one in self._running.values()
            if name in one.replicas and one.verb not in CONTAINERS
        ]
        if not about:
            return ""
        event = max(about, key=lambda one: (one.at_ns, one.number))
        seconds = (self.now_ns - event.at_ns) / 1e9
        if event.verb == "drain" and replica is not None:
            number = replica.in_flight
            text = f"{number} request{'' if number == 1 else 's'}"
        else:
            text = _WAITS.get(event.verb, event.verb)
        lasts = _number(event.detail.get("lasts_seconds"))
        most = lasts if lasts is not None else _number(event.detail.get("at_most_seconds"))
        if most is None:
            return text
        left = max(most - seconds, 0.0)
        return f"{text}, {left:.1f} s" if lasts is not None else f"{text}, ≤ {left:.0f} s"

    @property
    def plan(self) -> list[tuple[str, str]]:
        """The steps of the release, each as `done`, `now` or `ahead`, and its text."""
        return [
            (
                "done" if number < self._step else "now" if number == self._step else "ahead",
                one.text,
            )
            for number, one in enumerate(self.header.steps)
        ]

    @property
    def last(self) -> Point:
        """What happened in the last second."""
        ok = failed = 0
        seconds = 0.0
        for point in reversed(self.points):
            if seconds + point.seconds > LAST_SECONDS + point.seconds / 2:
                break
            ok, failed, seconds = ok + point.ok, failed + point.failed, seconds + point.seconds
        newest = next((point for point in reversed(self.points) if point.p50 is not None), None)
        return Point(
            self.now_ns,
            seconds,
            ok,
            failed,
            newest.p50 if newest else None,
            newest.p99 if newest else None,
        )

    @property
    def shares(self) -> dict[str, float]:
        """Which version answered what share of the last second."""
        counts: Counter[str] = Counter()
        for _, served in self._served:
            for replica, number in served.items():
                counts[self._versions.get(replica) or replica.rpartition("-")[0]] += number
        total = counts.total()
        return {version: counts[version] / total for version in sorted(counts)} if total else {}

    @property
    def availability(self) -> str:
        """What is known of the availability of the whole run so far."""
        return availability_text(self.ok, self.ok + self.failed, confidence="95 %")

    def columns(self, width: int) -> list[Point]:
        """The run so far in at most `width` equal stretches of time.

        A stretch is as short as fits: a tick, or 0.5, 1, 2, 5, ... seconds.
        """
        if not self.points or width < 1:
            return []
        first = self.points[0].at_ns - int(self.points[0].seconds * 1e9)
        span = (self.points[-1].at_ns - first) / 1e9
        tick = max(point.seconds for point in self.points[-20:])
        stretch = next((s for s in _stretches() if s >= tick * 0.9 and span / s <= width), span)
        stretch_ns = int(stretch * 1e9)
        columns: dict[int, list[Point]] = {}
        for point in self.points:
            middle = point.at_ns - int(point.seconds * 5e8)
            columns.setdefault((middle - first) // stretch_ns, []).append(point)
        return [
            _together(columns.get(number, []), first + number * stretch_ns, stretch)
            for number in range(min(max(columns) + 1, width))
        ]

    def _live(self, event: Event) -> None:
        """Follow the lives of its replicas; a successor inherits the restarts of the lost one."""
        for name in event.replicas:
            life = self._lives.setdefault(name, Life())
            life.come(event)
            life.go(event)
        successor = event.detail.get("successor")
        if event.verb == "heal" and isinstance(successor, str):
            for name in event.replicas:
                self._restarts[successor] = self._restarts[name] + 1
                self._lives[name].stopped_ns = event.at_ns

    def _migrated(self, event: Event) -> None:
        migration = str(event.detail.get("migration", "?"))
        if event.detail.get("direction") != "rollback":
            self.migrations.append(migration)
        elif migration in self.migrations:
            self.migrations.remove(migration)

    def _see(self, at_ns: int) -> None:
        self.began_ns = self.began_ns or at_ns
        self.now_ns = max(self.now_ns, at_ns)

    def _advance(self, verb: str) -> None:
        """A deploy is a step of its own; migrations in a row are one step, of one directory."""
        steps = self.header.steps
        current = steps[self._step].verb if 0 <= self._step < len(steps) else None
        if verb == "deploy" or (verb == "migrate" and current != "migrate"):
            following = range(self._step + 1, len(steps))
            self._step = next((i for i in following if steps[i].verb == verb), self._step)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _number_of(name: str) -> tuple[int, str]:
    """Old replicas first: the number behind the dash counts up in a run."""
    number = name.rpartition("-")[2]
    return (int(number) if number.isdecimal() else 0, name)


def _stretches() -> Sequence[float]:
    return [0.25, *(base * 10**power for power in range(6) for base in (0.5, 1.0, 2.0))]


def _together(points: Sequence[Point], at_ns: int, stretch: float) -> Point:
    return Point(
        at_ns,
        stretch,
        sum(point.ok for point in points),
        sum(point.failed for point in points),
        max((point.p50 for point in points if point.p50 is not None), default=None),
        max((point.p99 for point in points if point.p99 is not None), default=None),
    )


def waited_for(wait: LockWait) -> str:
    """For whom and for what a session waits, in few words."""
    root = wait.root.application if wait.root is not None else ""
    about = f" on {wait.relation}" if wait.relation else ""
    return f"{root or 'a session'} ({wait.mode}{about})"
