"""What others said about the failures of one cause: the server, the replicas' logs, the checks."""

from collections import Counter
from collections.abc import Iterable, Sequence

from scenarios.verdict.causes.failure import Failure, Finding
from scenarios.verdict.causes.logged import LoggedErrors, kind_of, quoted, without_values

MOST_QUOTED = 2
_MOST_ASKED = 500
"""So many failures of a cause are asked for the server's words."""

MOST_OUT = 4
MOST_BACKGROUND = 5
MIGRATOR = "migrator"
"""The source of the migrations' errors."""
_SECOND = 1_000_000_000
_MANY = 10
"""From so many failures on, a health check that saw none of them is worth a word."""


def headline(finding: Finding, failures: Sequence[Failure]) -> str:
    """The title of a cause; that of a refused statement with the server's words and the version.

    Such as `SQLSTATE 42P01: undefined table: relation "records" does not exist (version b)`.
    """
    if finding.kind != "statement" or not finding.cause.startswith("sqlstate:"):
        return finding.title
    sqlstate = finding.cause.removeprefix("sqlstate:")
    said: Counter[str] = Counter()
    for failure in failures[:_MOST_ASKED]:
        line = failure.around.server_error(failure.replica, *failure.span)
        logged = failure.logged
        if line is not None and line.sqlstate == sqlstate:
            said[line.message] += 1
        elif logged is not None and logged.message:
            said[logged.message] += 1
    versions = sorted({failure.version for failure in failures if failure.version})
    words = f": {min(said, key=lambda one: (-said[one], one))}" if said else ""
    noun = "version" if len(versions) == 1 else "versions"
    return finding.title + words + (f" ({noun} {', '.join(versions)})" if said and versions else "")


def quotation(failures: Sequence[Failure]) -> str | None:
    """What the replicas' logs say of the failures, counted; None if they say nothing.

    Where several errors may be about one request, only a kind counts that may be about most of
    the failures.
    """
    around = failures[0].around
    if not around.logged.all:
        return None
    kinds: Counter[str] = Counter()
    for failure in failures:
        near = around.logged.near(failure.outcome.request_id, failure.replica, *failure.span)
        kinds.update({kind_of(one) for one in near})
    certain = {kind_of(one) for failure in failures if (one := failure.logged) is not None}
    common = {kind for kind, number in kinds.items() if 2 * number > len(failures)}
    wanted = certain | common
    if not wanted:
        return None
    start_ns = min(failure.span[0] for failure in failures) - _SECOND
    end_ns = max(failure.span[1] for failure in failures) + _SECOND
    replicas = {failure.replica for failure in failures}
    errors = {
        id(one): one
        for replica in sorted(replicas, key=str)
        for one in around.logged.of_source(replica, start_ns, end_ns)
        if kind_of(one) in wanted
    }.values()
    found = quoted(errors)
    more = f" and {len(found) - MOST_QUOTED:,} more kinds" if len(found) > MOST_QUOTED else ""
    return "; ".join(map(str, found[:MOST_QUOTED])) + more if found else None


def proxies(failures: Sequence[Failure]) -> str | None:
    """What the logs of a watched service's proxies say of the failures, counted."""
    said: dict[str, list[str]] = {}
    for failure in failures:
        exchange = failure.exchange
        if exchange is not None and exchange.joined is not None and exchange.reason is not None:
            said.setdefault(without_values(exchange.reason), []).append(exchange.reason)
    ranked = sorted(said.values(), key=lambda one: (-len(one), one[0]))
    told = [f"{len(one):,} times: {one[0]}" for one in ranked[:MOST_QUOTED]]
    more = f" and {len(ranked) - MOST_QUOTED:,} more kinds" if len(ranked) > MOST_QUOTED else ""
    return f"the proxy's log has {'; '.join(told)}{more}" if told else None


def healthy(failures: Sequence[Failure]) -> str | None:
    """Which replicas' health checks passed all the time while these requests failed."""
    if failures[0].proxy is not None or len(failures) < _MANY:
        return None
    answered = [one for one in failures if one.outcome.status is not None and one.proxy is None]
    start_ns = min(failure.span[0] for failure in failures)
    end_ns = max(failure.span[1] for failure in failures)
    replicas = sorted({one.replica for one in answered if one.replica is not None})
    around = failures[0].around
    blind = [
        name
        for name in replicas
        if around.checked(name) and around.down(name, start_ns, end_ns) is None
    ]
    if not blind or 2 * len(answered) < len(failures):
        return None
    return f"the health checks of {', '.join(blind)} passed meanwhile, so they do not detect this"


def background(failures: Iterable[Failure], logged: LoggedErrors) -> tuple[str, ...]:
    """The errors that no failed request accounts for, counted; those of migrations are left out."""
    known = {
        id(one)
        for failure in failures
        for one in logged.near(failure.outcome.request_id, failure.replica, *failure.span)
    }
    rest = (one for one in logged.all if id(one) not in known and one.source != MIGRATOR)
    return tuple(str(one) for one in quoted(rest)[:MOST_BACKGROUND])


def fleet(failures: Sequence[Failure], origin_ns: int) -> str | None:
    """Who was out of service when no backend was available: since when, and why."""
    lacking = [failure for failure in failures if failure.refused]
    if not lacking:
        return None
    out = failures[0].around.fleet_at(lacking[0].at_ns)
    # The last to go explains why nobody was left; those that left long before had successors.
    told = [
        f"{one.replica} since {(one.since_ns - origin_ns) / 1e9:+.2f} s: {one.why}"
        for one in out[-MOST_OUT:]
    ]
    return f"out of service at the first of them: {'; '.join(told)}" if told else None
