"""Why replicas did not become ready: what the server and their own logs say of their start."""

from collections.abc import Iterable, Sequence

from scenarios.evidence.event import Event
from scenarios.verdict.causes import sqlstates
from scenarios.verdict.causes.logged import sqlstate_of
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.model import Cause, CauseEvidence, CauseKind


def failed_starts(around: Surroundings, origin_ns: int) -> tuple[Cause, ...]:
    """A cause for each way in which replicas failed to start; none of them counts any request.

    Args:
        around: the journal, the server's errors and those in the replicas' logs.
        origin_ns: the instant 0.0.
    """
    groups: dict[tuple[str, str, CauseKind], list[tuple[Event, str]]] = {}
    for event in around.timeline.events:
        if event.verb in ("start", "wait_ready") and event.state == "failed":
            for replica in event.replicas:
                life = around.timeline.life_of(replica)
                if life is not None and (life.ready_ns is None or life.ready_ns > event.at_ns):
                    told = _why(around, event, replica, life.started_ns or 0)
                    if told is not None:
                        groups.setdefault(told, []).append((event, replica))
    return tuple(_cause(*told, around, found, origin_ns) for told, found in groups.items())


def _why(
    around: Surroundings, event: Event, replica: str, started_ns: int
) -> tuple[str, str, CauseKind] | None:
    """The cause's id, what was said, and its kind; None if nobody said anything."""
    line = around.first_error_of(replica, started_ns, event.at_ns)
    # The logs are read five times a second, and an error may be stamped when it is read.
    errors = around.logged.of_source(replica, started_ns)
    if line is not None:
        words = sqlstates.describe(line.sqlstate)
        said = f"SQLSTATE {line.sqlstate}: {words}: {line.message}"
        return f"sqlstate:{line.sqlstate}", said, "statement"
    if not errors:
        return None
    first = errors[0]
    sqlstate = sqlstate_of(first)
    if sqlstate is not None:
        words = sqlstates.describe(sqlstate)
        said = f"SQLSTATE {sqlstate}: {words}: {first.last_line}"
        return f"sqlstate:{sqlstate}", said, "statement"
    return "lifecycle:failed_to_start", f"its log says {first.last_line}", "lifecycle"


def _cause(  # noqa: PLR0917 - a helper of one caller
    cause: str,
    said: str,
    kind: CauseKind,
    around: Surroundings,
    found: Sequence[tuple[Event, str]],
    origin_ns: int,
) -> Cause:
    timeline = around.timeline
    times = [event.at_ns for event, _ in found]
    versions = sorted({timeline.version_of(replica) or "?" for _, replica in found})
    sets = sorted({timeline.sets[replica] for _, replica in found if replica in timeline.sets})
    whose = f"{', '.join(sets)} of " if sets else ""
    return Cause(
        cause=cause,
        title=f"{whose}version {', '.join(versions)} did not become ready: {said}",
        confidence="likely",
        kind=kind,
        count=0,
        evidence=CauseEvidence(
            requests=(),
            first=(min(times) - origin_ns) / 1e9,
            last=(max(times) - origin_ns) / 1e9,
            replicas=_once(replica for _, replica in found),
            versions=_once(versions),
            endpoints={},
            connections={},
            steps=_once(timeline.step_at(at_ns - 1) for at_ns in times),
            schemas=_once(
                schema for at_ns in times if (schema := timeline.schema_at(at_ns)) is not None
            ),
            examples=(),
        ),
    )


def _once(names: Iterable[str]) -> dict[str, int]:
    """The names, each counted with no request."""
    return dict.fromkeys(names, 0)
