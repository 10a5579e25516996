"""How each replica ended, from the journal: PURE."""

from collections.abc import Iterable, Mapping

from scenarios.evidence.event import Event
from scenarios.evidence.leaving import Departure
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.model.replica_end import BROKEN, ReplicaEnd, WayOut
from scenarios.verdict.timeline import departure_of

ADVICE = (
    "a wrapper must pass the stop signal on: a shell script starts the server with `exec`, and in "
    "place of `npm start` the command is the server itself, such as `node server.js`"
)
CUT_SHORT = frozenset(
    {"lifecycle:undrained", "lifecycle:stopped", "lifecycle:drain_exceeded", "lifecycle:died"}
)
"""Causes of requests that broke off because their replica ended."""

_CLOSED_NS = 250_000_000
"""If a port was closed so shortly before the kill, the kill may have closed it."""


def replica_ends_of(
    around: Surroundings, cut: Mapping[str, int], origin_ns: int
) -> tuple[ReplicaEnd, ...]:
    """The way out of each replica that has ended, by time.

    Args:
        around: the journal, and what else went on.
        cut: how many requests were cut off when each replica ended.
        origin_ns: the instant 0.0.
    """
    found: dict[str, ReplicaEnd] = {}
    for event in around.timeline.events:
        if event.verb == "replica" and event.state == "noted":
            for replica in event.replicas:
                found.setdefault(replica, _died(replica, event, around, cut, origin_ns))
        elif event.verb == "stop" and event.state in ("completed", "failed"):
            for replica in event.replicas:
                departure = departure_of(event, replica)
                if departure is not None and replica not in found:
                    found[replica] = _stopped(replica, departure, around, cut, origin_ns)
    return tuple(found.values())


def _stopped(
    replica: str,
    departure: Departure,
    around: Surroundings,
    cut: Mapping[str, int],
    origin_ns: int,
) -> ReplicaEnd:
    lost = cut.get(replica, 0) or departure.cut or 0
    way = _way(departure, lost)
    asked, ended = departure.stop_asked_ns, departure.ended_ns
    excused = None
    if way in BROKEN and asked is not None:
        until = max(departure.children_ended_ns or 0, ended or 0, asked)
        excused = _excused(replica, around, asked, until)
        if excused is None and way != "left_behind":  # a starved machine does not lose a signal
            starved = around.machine.starved(asked, until)
            excused = None if starved is None else f"the machine was starved: {starved.words}"

    def at(stamp: int | None) -> float | None:
        return None if stamp is None else (stamp - origin_ns) / 1e9

    return ReplicaEnd(
        replica=replica,
        version=around.timeline.version_of(replica),
        way=way,
        stop_asked=at(asked),
        stopped_listening=at(departure.stopped_listening_ns),
        ended=at(ended),
        children_ended=at(departure.children_ended_ns),
        exit_status=departure.exit_status,
        left_behind=departure.left_behind,
        cut=lost,
        excused=excused,
    )


def _way(departure: Departure, lost: int) -> WayOut:
    asked, ended = departure.stop_asked_ns, departure.ended_ns
    closed = departure.stopped_listening_ns
    if departure.killed:
        listened = ended is not None and closed is not None and closed >= ended - _CLOSED_NS
        return "unheard" if listened and asked is not None else "killed"
    outlived = ended is not None and (closed is None or closed > ended)
    if departure.left_behind and outlived:
        return "left_behind"
    return "under_way" if lost else "stopped"


def _died(
    replica: str, event: Event, around: Surroundings, cut: Mapping[str, int], origin_ns: int
) -> ReplicaEnd:
    faults = around.faults(replica, event.at_ns, event.at_ns)
    return ReplicaEnd(
        replica=replica,
        version=around.timeline.version_of(replica),
        way="died",
        ended=(event.at_ns - origin_ns) / 1e9,
        cut=cut.get(replica, 0),
        excused=f"fault: {faults[0]}" if faults else None,
    )


def _excused(replica: str, around: Surroundings, asked_ns: int, ended_ns: int) -> str | None:
    """The fault of the run that is to blame instead of the release."""
    faults = around.faults(replica, asked_ns, ended_ns)
    return f"fault: {faults[0]}" if faults else None


def sentence(replica_ends: Iterable[ReplicaEnd], *, allowed: bool) -> str:
    """The sentence of the objective `termination`."""
    every = list(replica_ends)
    broken = [one for one in every if one.broken]
    if not broken:
        return f"no replica had to be killed ({len(every):,} ended)"
    first = broken[0]
    return (
        f"{len(broken):,} of {len(every):,} replicas did not stop when asked"
        f"{' (allowed)' if allowed else ''}; the first is {first.replica}: {first.words}; {ADVICE}"
    )
