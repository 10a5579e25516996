"""Stretches of time: the database was away, a replica was down, a verb was under way."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.event import Event
from scenarios.verdict.timeline import object_of


class Absence(NamedTuple):
    """A stretch in which the database did not answer.

    Attributes:
        start_ns: when it last had answered.
        end_ns: when it answered again; None if it never did.
        reason: what whoever asked was told.
    """

    start_ns: int
    end_ns: int | None
    reason: str


class Down(NamedTuple):
    """A stretch in which the balancer held a replica for down.

    Attributes:
        replica: which.
        start_ns: when it was taken out.
        end_ns: when it came back; None if it never did.
        reason: why, for people.
        unanswered: whether its last health check got no answer in time.
        refused: whether nobody listened when it was checked last.
    """

    replica: str
    start_ns: int
    end_ns: int | None
    reason: str
    unanswered: bool = False
    refused: bool = False


class OutOfService(NamedTuple):
    """A replica that got no requests.

    Attributes:
        since_ns: since when.
        replica: which.
        why: for people.
        ordered: whether the release had told it to leave.
    """

    since_ns: int
    replica: str
    why: str
    ordered: bool


class Doing(NamedTuple):
    """A verb that was under way, such as a migration or a fault."""

    start_ns: int
    end_ns: int | None
    name: str
    replicas: tuple[str, ...]


def absences(events: Iterable[Event]) -> list[Absence]:
    """When the database did not answer, from what the lock watch noted in the journal."""
    found: list[Absence] = []
    for event in events:
        if event.verb != "database" or event.state != "noted":
            continue
        if event.error is not None:
            seen = event.detail.get("last_seen_ns")
            start = seen if isinstance(seen, int) and seen else event.at_ns
            found.append(Absence(start, None, event.error))
        elif found and found[-1].end_ns is None:
            found[-1] = found[-1]._replace(end_ns=event.at_ns)
    return found


def downs(backends: Iterable[BackendChange]) -> dict[str, list[Down]]:
    """When the router took each replica out, by replica."""
    found: dict[str, list[Down]] = {}
    for change in sorted(backends, key=lambda change: change.at_ns):
        mine = found.setdefault(change.id, [])
        if change.change in ("down", "ejected"):
            unanswered, refused = change.check == "timed_out", change.check == "refused"
            reason = change.reason or "its checks failed"
            mine.append(Down(change.id, change.at_ns, None, reason, unanswered, refused))
        elif change.change in ("up", "restored") and mine and mine[-1].end_ns is None:
            mine[-1] = mine[-1]._replace(end_ns=change.at_ns)
    return found


def reloads(changes: Iterable[BackendChange]) -> list[tuple[int, int | None]]:
    """When the router loaded a new configuration: the begin and the end of each load."""
    found: list[tuple[int, int | None]] = []
    for change in changes:
        if change.change == "reload":
            found.append((change.at_ns, None))
        elif change.change == "reloaded" and found:
            found[-1] = (found[-1][0], change.at_ns)
    return found


def doings(events: Iterable[Event], verb: str) -> list[Doing]:
    """When a verb was under way, each time."""
    found: dict[int, Doing] = {}
    for event in events:
        if event.verb != verb or event.state == "noted":
            continue
        if event.state == "started":
            name = object_of(event) or verb
            found[event.number] = Doing(event.at_ns, None, name, event.replicas)
        elif event.number in found:
            found[event.number] = found[event.number]._replace(end_ns=event.at_ns)
    return list(found.values())


def within(doings: Sequence[Doing], start_ns: int, end_ns: int) -> list[Doing]:
    """Those of which a part lies in that time."""
    return [
        one
        for one in doings
        if one.start_ns <= end_ns and (one.end_ns is None or start_ns <= one.end_ns)
    ]
