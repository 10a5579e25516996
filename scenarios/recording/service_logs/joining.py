"""PURE: which lines of a service's logs are about which requests of a run.

A line that has a request's id is about that request. A line without one is joined by method, path,
status and time, one line to one request, and the result is no more than likely. Nothing is joined
so from a log that has the ids of other requests of the run: its lines without one are other
people's.
"""

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from msgspec.structs import replace

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.service_line import CLIENT_GONE, COMPLETE, UNKNOWN, Confidence, ServiceLine

_LATE_NS = 250_000_000
"""A line without an id may have a stamp that is so far from what the client saw."""

_SECOND = 1_000_000_000
_PLACEHOLDER = re.compile(r"\{[a-z_]+\}")
_RANK: Mapping[Confidence, int] = {"certain": 0, "likely": 1, "symptom": 2}
_TIMED_OUT, _GATEWAY = 504, (502, 503)
_LATE = frozenset({"connection_timeout", "http_response_timeout", "connection_read_timeout"})
_BROKEN = frozenset({"http_response_incomplete", "connection_read_timeout"})
"""How an exchange may end after the head of its response was sent."""


@dataclass(slots=True)
class Joined:
    """The lines that are about requests.

    Attributes:
        exchanges: for each request that a line is about, what the logs say of it, in order.
        by_time: how many failed requests have a line that was joined by time.
        sources: how many requests each log has a line of.
    """

    exchanges: list[ExchangeRecord] = field(default_factory=list)
    by_time: int = 0
    sources: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def join(outcomes: Iterable[Outcome], lines: Sequence[ServiceLine]) -> Joined:
    """Join them.

    Args:
        outcomes: the requests; of those that succeeded only the lines with their ids are joined.
        lines: the lines, with their stamps on the machine's monotonic clock.
    """
    own: dict[str, list[ServiceLine]] = defaultdict(list)
    knowing = set()
    for line in lines:
        if line.request_id:
            own[line.request_id].append(line)
            knowing.add(line.source)
    # A proxy may name the request in its access log alone, so each kind of line is for itself.
    anonymous = [
        line
        for line in lines
        if not line.request_id and not (line.tells == "access" and line.source in knowing)
    ]
    access = _Anonymous(line for line in anonymous if line.tells == "access")
    errors = _Anonymous(_chains(line for line in anonymous if line.tells == "error"))
    found = Joined()
    for outcome in sorted(outcomes, key=lambda one: (one.done_ns, one.request_id)):
        about = list(own.get(outcome.request_id, ()))
        guessed: list[ServiceLine] = []
        if not outcome.ok and outcome.dispatched:
            if not any(line.tells == "access" for line in about):
                guessed += access.take(outcome)
            if not any(line.tells == "error" for line in about):
                guessed += errors.take(outcome)
        if about or guessed:
            found.exchanges.append(_record(outcome, about, guessed))
            found.by_time += bool(guessed)
            for source in {line.source for line in (*about, *guessed)}:
                found.sources[source] += 1
    return found


class _Anonymous:
    """Lines without an id, each of which is given to one request at most."""

    def __init__(self, lines: Iterable[ServiceLine]) -> None:
        self._lines = sorted(lines, key=lambda line: line.at_ns)
        self._stamps = [line.at_ns for line in self._lines]
        self._widest = max((line.resolution_ns for line in self._lines), default=0) + _LATE_NS
        self._given: set[int] = set()

    def take(self, outcome: Outcome) -> list[ServiceLine]:
        """The line that is about a failed request; less sure where most of its time are others."""
        start = bisect_left(self._stamps, (outcome.sent_ns or outcome.planned_ns) - self._widest)
        stop = bisect_right(self._stamps, outcome.done_ns + self._widest)
        fitting = [at for at in range(start, stop) if _fits(self._lines[at], outcome)]
        free = [at for at in fitting if at not in self._given]
        if not free:
            return []
        self._given.add(free[0])
        line = self._lines[free[0]]
        same = sum(self._lines[at].end == line.end for at in fitting)
        sure: Confidence = "likely" if 2 * same > len(fitting) else "symptom"
        if _RANK[sure] > _RANK[line.confidence]:
            return [replace(line, confidence=sure)]
        return [line]


def _chains(lines: Iterable[ServiceLine]) -> Iterator[ServiceLine]:
    """The last line of each exchange, with how many upstreams it had asked.

    A proxy asks each upstream once for a request, so a second line about the same one is of the
    next request on the same connection.
    """
    pending: dict[tuple[str, str, str, str], list[ServiceLine]] = {}
    for line in lines:
        if line.connection is None:
            yield line
            continue
        key = (line.source, line.connection, line.method, line.path)
        chain = pending.setdefault(key, [])
        asked = {one.upstream for one in chain}
        if chain and (line.upstream in asked or line.at_ns - chain[-1].at_ns > line.resolution_ns):
            yield _whole(chain)
            chain.clear()
        chain.append(line)
    yield from map(_whole, pending.values())


def _whole(chain: Sequence[ServiceLine]) -> ServiceLine:
    return replace(chain[-1], attempts=sum(one.upstream is not None for one in chain))


def _fits(line: ServiceLine, outcome: Outcome) -> bool:
    """Whether a line without an id may be about a failed request."""
    if line.method:
        method, _, path = outcome.endpoint.partition(" ")
        if line.method != method or not _pattern(path).fullmatch(line.path):
            return False
    if not _agrees(line, outcome):
        return False
    begin = outcome.sent_ns or outcome.planned_ns
    slack = line.resolution_ns + _LATE_NS
    return begin - slack <= line.at_ns <= outcome.done_ns + slack


def _agrees(line: ServiceLine, outcome: Outcome) -> bool:
    """Whether what a line says of the response can be what the client saw."""
    if outcome.status is None:
        return line.end in (CLIENT_GONE, UNKNOWN) or line.end in _BROKEN or line.failed
    if line.status:
        return line.status == outcome.status
    if line.end in _LATE:
        return outcome.status == _TIMED_OUT
    if line.end in _BROKEN or line.end == CLIENT_GONE:
        return False  # the client has a whole response
    return outcome.status in _GATEWAY


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """What a path with placeholders can be in a log."""
    literal = _PLACEHOLDER.split(path)
    return re.compile("[^?]*".join(re.escape(each) for each in literal))


def _record(
    outcome: Outcome, about: Sequence[ServiceLine], guessed: Sequence[ServiceLine]
) -> ExchangeRecord:
    """What all lines say of one request: the line that knows best why it failed comes first."""
    lines = sorted((*about, *guessed), key=lambda line: _knows(line, outcome))
    best, access = lines[0], next((one for one in lines if one.tells == "access"), None)
    whole = best.end == COMPLETE
    # A hop behind the one that answered may have said something else.
    other = whole and best.status and outcome.status and best.status != outcome.status
    upstream = next((one.upstream for one in lines if one.upstream), None)
    answered = None if other else best.upstream_status
    if access is not None and answered is None and whole and not other:
        answered = access.upstream_status
    reasons = list(
        dict.fromkeys(f"{one.source}: {one.reason}" for one in lines if one.reason is not None)
    )
    return ExchangeRecord(
        at_ns=_begin(access or best, outcome),
        request_id=outcome.request_id,
        status=best.status or outcome.status,
        backend=upstream,
        attempts=max((one.attempts or 0 for one in lines), default=0),
        end=UNKNOWN if other else best.end,
        total_ns=access.total_ns if access is not None else -1,
        reason="; ".join(reasons) or None,
        confidence=best.confidence,
        resolution_ns=max(best.resolution_ns, 1),
        upstream_status=answered,
        joined="time" if best in guessed else "id",
    )


def _knows(line: ServiceLine, outcome: Outcome) -> tuple[bool, bool, int, int]:
    """How little a line knows of why a request failed."""
    vague = line.end in (COMPLETE, UNKNOWN, CLIENT_GONE)
    if outcome.ok:
        vague = line.end != COMPLETE or line.status != outcome.status
    return vague, line.status != (outcome.status or 0), _RANK[line.confidence], -line.at_ns


def _begin(line: ServiceLine, outcome: Outcome) -> int:
    """When the exchange began, by its line; never before the client sent it."""
    began = line.at_ns
    if line.stamped == "end" and line.total_ns >= 0:
        began -= line.total_ns
    sent = outcome.planned_ns if outcome.sent_ns is None else outcome.sent_ns
    vague = line.resolution_ns >= _SECOND or (line.stamped == "end" and line.total_ns < 0)
    return sent if vague else max(began, sent)
