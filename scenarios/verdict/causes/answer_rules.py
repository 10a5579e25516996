"""Rules of the ladder about the answer of an application that was asked and did answer."""

from scenarios.verdict.causes.failure import Failure, Finding

_TOO_MANY_REQUESTS = 429


def mixed_fleet(failure: Failure) -> Finding | None:
    """One version lacks what another one serves, or handed out."""
    lack = failure.lack
    if lack is None:
        return None
    status = failure.outcome.status
    if lack.how == "served":
        title = f"version {lack.version} lacks a route that version {lack.other} serves"
    else:
        title = f"version {lack.version} lacks a route that version {lack.other} handed out"
    return Finding(f"status:{status}", f"HTTP {status}: {title}", "likely", "mixed_fleet")


def service(failure: Failure) -> Finding | None:
    """The application called a service for it, and the service failed."""
    call = failure.around.calls.failed_call(failure.outcome.request_id)
    if call is None or failure.proxy is not None:
        return None
    line = call.line
    end_ns = line.at_ns + max(line.total_ns, 0)
    logged = failure.around.logged.about(line.request_id, line.backend, line.at_ns, end_ns)
    said = "" if logged is None else f", whose log has: {logged.last_line}"
    return Finding(f"service:{call.service}", f"{call.words}{said}", "likely", "service")


def application(failure: Failure) -> Finding | None:
    """The application itself answered, with its own words for what went wrong."""
    outcome = failure.outcome
    if outcome.error is not None or not outcome.problem or not failure.answered_badly:
        return None
    return Finding(
        f"status:{outcome.status}",
        f"HTTP {outcome.status} from the application: {outcome.problem}",
        "likely",
        "application",
    )


def exception(failure: Failure) -> Finding | None:
    """The application answered with a server error, and its log has the exception."""
    error = failure.logged if failure.answered_badly else None
    if error is None or failure.outcome.error is not None:
        return None
    status = failure.outcome.status
    title = f"HTTP {status} from the application, which logged {error.last_line}"
    return Finding(f"status:{status}", title, "likely", "application")


def upstream(failure: Failure) -> Finding | None:
    """The log of the proxy says that its upstream gave this answer, and why is known to nobody."""
    exchange, status = failure.exchange, failure.outcome.status
    if exchange is None or failure.outcome.error is not None or not failure.answered_badly:
        return None
    if exchange.upstream_status != status:
        return None
    title = f"HTTP {status} from the application, passed on by its proxy"
    return Finding(f"status:{status}", title, "likely", "application")


def rate_limit(failure: Failure) -> Finding | None:
    """The application limits how many requests it answers (RFC 6585, section 4)."""
    if failure.proxy is not None or failure.outcome.status != _TOO_MANY_REQUESTS:
        return None
    title = "HTTP 429: the application limits the rate of requests"
    return Finding("application:rate_limit", title, "likely", "application")


def status(failure: Failure) -> Finding:
    """There is a response that was not expected, by its status or by what the scenario checks."""
    found = failure.outcome.status
    if failure.outcome.mismatch is not None:
        title = f"unexpected answer: {failure.outcome.mismatch}"
        return Finding("unexpected_answer", title, "symptom", "answer")
    problem = f": {failure.outcome.problem}" if failure.outcome.problem else ""
    return Finding(f"status:{found}", f"HTTP {found}{problem}", "symptom", "answer")
