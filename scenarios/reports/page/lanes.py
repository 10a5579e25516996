"""What the timeline of a report shows: rows of bars and columns of traffic, in seconds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from scenarios.evidence.event import Event
from scenarios.evidence.locks import LockWait
from scenarios.evidence.tick import Tick
from scenarios.verdict.model import Verdict
from scenarios.verdict.timeline import CONTAINERS, Life, Timeline, describe

MOST_REPLICAS = 60
MOST_ROOTS = 5
MOST_WAITS = 400
MOST_POINTS = 800
LEAD_SECONDS = 5.0
COLOURS = 4
"""How many versions have a colour of their own."""


class Span(NamedTuple):
    """Something that lasted, in seconds of the run."""

    start: float
    end: float
    name: str
    style: str


class Lane(NamedTuple):
    """A row of the timeline."""

    name: str
    spans: tuple[Span, ...]


class TrafficColumn(NamedTuple):
    """Ticks that are drawn as one."""

    start: float
    seconds: float
    ok: int
    failed: int
    p50: float | None
    p99: float | None


def merge(ticks: Sequence[Tick], origin_ns: int) -> list[TrafficColumn]:
    """The ticks in at most `MOST_POINTS` columns, so that a report of hours stays small."""
    size = math.ceil(len(ticks) / MOST_POINTS) or 1
    columns = []
    for first in range(0, len(ticks), size):
        part = ticks[first : first + size]
        begin = part[0].at_ns - int(part[0].seconds * 1e9)
        columns.append(
            TrafficColumn(
                (begin - origin_ns) / 1e9,
                max((part[-1].at_ns - begin) / 1e9, 1e-9),
                sum(tick.ok for tick in part),
                sum(tick.failed for tick in part),
                max(
                    (tick.p50_seconds for tick in part if tick.p50_seconds is not None),
                    default=None,
                ),
                max(
                    (tick.p99_seconds for tick in part if tick.p99_seconds is not None),
                    default=None,
                ),
            )
        )
    return columns


def bounds(
    verdict: Verdict, timeline: Timeline, columns: list[TrafficColumn]
) -> tuple[float, float]:
    """From just before the first request to the last thing that is known."""
    at = [(event.at_ns - verdict.origin_ns) / 1e9 for event in timeline.events]
    at += [column.start for column in columns[:1]]
    at += [column.start + column.seconds for column in columns[-1:]]
    start = max(min([*at, 0.0]), -LEAD_SECONDS)
    return start, max([*at, verdict.seconds, start + 1e-3])


def versions_of(verdict: Verdict, timeline: Timeline) -> list[str]:
    """The versions of the run, in the order of their colours."""
    everybody = (*timeline.lives, *timeline.processes)
    seen = sorted({timeline.version_of(replica) or "?" for replica in everybody})
    return list(dict.fromkeys([*(share.version for share in verdict.versions), *seen]))


def verb_lanes(verdict: Verdict, timeline: Timeline, end: float) -> list[Lane]:
    """Phases; releases, deployments and migrations; and the verbs within them."""
    phases = tuple(
        Span(phase.start, phase.end, phase.name, "phase odd" if odd % 2 else "phase")
        for odd, phase in enumerate(verdict.phases)
    )
    steps: list[Span] = []
    verbs: list[Span] = []
    for first, last in _pairs(timeline.events):
        if first.verb in ("phase", "release"):
            continue
        began = (first.at_ns - verdict.origin_ns) / 1e9
        ended = end if last is None else (last.at_ns - verdict.origin_ns) / 1e9
        failed = last is not None and last.state == "failed"
        name = describe(first) + (" (failed)" if failed else "")
        style = f"verb{' migrate' if first.verb == 'migrate' else ''}{' failed' if failed else ''}"
        outer = first.verb in CONTAINERS or first.verb in ("migrate", "rollback")
        (steps if outer else verbs).append(Span(began, ended, name, style))
    lanes = [Lane("phase", phases), Lane("step", tuple(steps)), Lane("verb", tuple(verbs))]
    return [lane for lane in lanes if lane.spans]


def _pairs(events: Sequence[Event]) -> Iterable[tuple[Event, Event | None]]:
    """Each started verb with its end; None if that is not in the journal."""
    ends = {e.number: e for e in events if e.state in ("completed", "failed")}
    for event in events:
        if event.state == "started":
            yield event, ends.get(event.number)


def lock_lanes(waits: Iterable[LockWait], origin_ns: int) -> list[Lane]:
    """For whom sessions waited: a lane for each root, its waits joined where they overlap."""
    by_root: dict[str, list[LockWait]] = {}
    for wait in sorted(waits, key=lambda wait: wait.at_ns):
        root = wait.root.application if wait.root is not None else ""
        by_root.setdefault(root or "a session", []).append(wait)
    ranked = sorted(by_root.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        Lane(f"for {root}", tuple(_joined(root, some, origin_ns))[:MOST_WAITS])
        for root, some in ranked[:MOST_ROOTS]
    ]


def _joined(root: str, waits: Sequence[LockWait], origin_ns: int) -> Iterable[Span]:
    group: list[LockWait] = []
    for wait in (*waits, None):
        ends = max((one.end_ns for one in group), default=0)
        if group and (wait is None or wait.at_ns > ends):
            about = f" on {group[0].relation}" if group[0].relation else ""
            yield Span(
                (group[0].at_ns - origin_ns) / 1e9,
                (ends - origin_ns) / 1e9,
                f"{len({one.waiter.pid for one in group})} waited for {root}: "
                f"{group[0].mode}{about}",
                "lock",
            )
            group = []
        if wait is not None:
            group.append(wait)


def replica_lanes(
    verdict: Verdict, timeline: Timeline, versions: list[str], end: float
) -> list[Lane]:
    """The life of each replica, and then of each process beside the web, by their starts."""
    lanes = []
    for replica, life in (*_first(timeline.lives), *_first(timeline.processes)):
        version = timeline.version_of(replica) or "?"
        colour = f"life v{versions.index(version) % COLOURS}"
        spans = tuple(
            Span(begin, until, f"{replica} {state}", f"{colour} {state}")
            for state, begin, until in _states(life, verdict.origin_ns, end)
        )
        if life.died_ns is not None:
            at = (life.died_ns - verdict.origin_ns) / 1e9
            spans = (*spans, Span(at, at, f"{replica} died", "died"))
        lanes.append(Lane(replica, spans))
    return lanes


def _first(lives: Mapping[str, Life]) -> list[tuple[str, Life]]:
    """The lives that began first, in that order."""
    return sorted(lives.items(), key=lambda item: (item[1].started_ns or 0, item[0]))[
        :MOST_REPLICAS
    ]


def _states(life: Life, origin_ns: int, end: float) -> Iterable[tuple[str, float, float]]:
    """What a replica was, from when to when: starting, ready, serving, draining, stopping."""
    turns = [
        ("starting", life.started_ns),
        ("ready", life.ready_ns),
        ("serving", life.attached_ns),
        ("draining", life.drain_started_ns),
        ("stopping", life.stop_started_ns),
        ("gone", life.stopped_ns if life.died_ns is None else life.died_ns),
    ]
    known = sorted(
        ((state, (at - origin_ns) / 1e9) for state, at in turns if at is not None),
        key=lambda turn: turn[1],
    )
    for index, (state, begin) in enumerate(known):
        if state == "gone":
            return
        yield state, begin, known[index + 1][1] if index + 1 < len(known) else end
