"""Why requests failed while containers of a docker compose project came and went. Pure.

Nobody knows which container a request would have reached, unless a proxy's log says so. But where a
service has no running container, no request can have reached it.
"""

from typing import NamedTuple

from scenarios.verdict.causes.failure import Failure, Finding
from scenarios.verdict.timeline import Life, Timeline

_GATEWAY = frozenset({502, 503, 504})
_STARTING_NS = 30_000_000_000
"""For so long after its start a container may not listen yet."""

_REFUSED = frozenset({"connection_refused", "destination_unavailable"})


class Missing(NamedTuple):
    """A service without a container that can serve.

    Attributes:
        service: its name.
        replica: the container that went last, or that had just been started.
        life: that container's.
        starting: whether the container had been started, and did not listen yet.
    """

    service: str
    replica: str
    life: Life
    starting: bool


def container(failure: Failure) -> Finding | None:
    """A service had no running container, or its only one had just been started."""
    if failure.life is not None or not _may_be(failure):
        return None
    missing = missing_at(failure.timeline, *failure.span)
    if missing is None:
        return None
    name, life = missing.replica, missing.life
    if missing.starting:
        if not _refused(failure):
            return None
        title = f"the container {name} had been started and did not listen yet"
        return Finding("lifecycle:not_ready", title, "likely", "lifecycle")
    how = f" ({life.ended})" if life.ended else ""
    if life.died_ns is not None:
        title = f"no container of {missing.service} was running: {name} had ended by itself{how}"
        return Finding("lifecycle:died", title, "likely", "lifecycle")
    title = f"no container of {missing.service} was running: {name} had been stopped{how}"
    return Finding("lifecycle:stopped", title, "likely", "lifecycle")


def missing_at(timeline: Timeline, start_ns: int, end_ns: int) -> Missing | None:
    """The service that had no container to serve at some instant of that time; None: each had."""
    services: dict[str, list[tuple[str, Life]]] = {}
    for replica, life in timeline.lives.items():
        if life.compose_service is not None:
            services.setdefault(life.compose_service, []).append((replica, life))
    for service, lives in sorted(services.items()):
        if all(life.ready_ns is None for _, life in lives):
            continue  # it served nobody before: a migration's container starts, and ends by itself
        begun = [one for one in lives if one[1].started_ns is not None]
        # What was running or listening all the time could have been asked.
        if any(_ran(life, start_ns, end_ns) for _, life in begun):
            continue
        gone = [one for one in begun if (left := _left(one[1])) is not None and left <= end_ns]
        if not gone:
            continue
        replica, life = max(gone, key=lambda one: (_left(one[1]) or 0, one[0]))
        new = [one for one in begun if (life.started_ns or 0) < (one[1].started_ns or 0) <= end_ns]
        if not new:
            return Missing(service, replica, life, starting=False)
        first = min(new, key=lambda one: (one[1].started_ns or 0, one[0]))
        if (first[1].started_ns or 0) > start_ns:
            return Missing(service, replica, life, starting=False)
        return Missing(service, *first, starting=True)
    return None


def _ran(life: Life, start_ns: int, end_ns: int) -> bool:
    started, left = life.started_ns or 0, _left(life)
    if left is not None and left <= end_ns:
        return False
    listens = started if life.ready_ns is None else life.ready_ns
    settled = listens if life.ready_ns is not None else started + _STARTING_NS
    return settled <= start_ns


def _left(life: Life) -> int | None:
    ends = [one for one in (life.died_ns, life.stop_started_ns) if one is not None]
    return min(ends, default=None)


def _may_be(failure: Failure) -> bool:
    """Whether the failure is one of those that a missing application leads to."""
    if failure.outcome.error in ("connect_refused", "reset", "eof"):
        return True
    return failure.cut or failure.refused or failure.outcome.status in _GATEWAY


def _refused(failure: Failure) -> bool:
    if failure.proxy is not None:
        return failure.proxy.error in _REFUSED
    return failure.outcome.error == "connect_refused" or failure.outcome.status in _GATEWAY
