"""Rules of the ladder about the exchange: who sent, who was asked, and how it broke off."""

import errno

from scenarios.verdict.causes.database_rules import statement_timeout, waited_for_pool
from scenarios.verdict.causes.failure import Failure, Finding
from scenarios.verdict.causes.proxy_status import LATE
from scenarios.verdict.causes.surroundings import SLACK_NS
from scenarios.verdict.model import NO_UPSTREAM
from scenarios.verdict.timeline import Life

EXHAUSTED = {
    errno.EMFILE: ("harness:descriptors", "the load generator ran out of descriptors"),
    errno.ENFILE: ("harness:descriptors", "the load generator's machine ran out of descriptors"),
    errno.EADDRNOTAVAIL: ("harness:ports", "the load generator ran out of ports"),
}
TRANSPORT = {
    "connect_refused": "the connection was refused",
    "connect_timeout": "no connection came about in time",
    "reset": "the connection was reset before a complete response",
    "eof": "the connection was closed before a complete response",
    "timeout": "no complete response before the timeout",
    "malformed": "the response was not HTTP",
    "tls": "no encrypted connection came about",
    "unprocessed": "the server refused a request over HTTP/2 that it had not processed",
}
BALANCER = {
    "connection_refused": "the replica refused the balancer's connection",
    "connection_terminated": "the replica closed the connection before it answered",
    "connection_timeout": "the balancer could not connect to the replica in time",
    "http_response_incomplete": "the replica's response ended too early",
    "http_response_timeout": "the replica did not answer in time",
    "http_protocol_error": "the replica's response was not HTTP",
    "proxy_internal_error": "internal error of the balancer",
}
UPSTREAM = {
    "connection_refused": "the upstream refused the proxy's connection",
    "connection_terminated": "the upstream closed or reset the connection before it answered",
    "connection_timeout": "the proxy could not connect to the upstream in time",
    "connection_read_timeout": "the upstream stopped in the middle of its response",
    "http_response_incomplete": "the upstream's response ended too early",
    "http_response_timeout": "the upstream did not answer in time",
    "http_protocol_error": "the upstream's response was not HTTP",
    "dns_error": "the name of the upstream was not resolved",
}
"""The same of a watched service, whose proxies are others'."""
KEEP_ALIVE_RACE = "keep_alive:race"
LOST = frozenset({"connect_refused", "reset", "eof"})
"""How a client sees that its connection is lost."""
STARVED = Finding(
    "machine:starved",
    "nobody answered in time, because other processes used the machine",
    "likely",
    "machine",
)


def harness(failure: Failure) -> Finding | None:
    """The load generator's own failure says nothing about the application."""
    outcome = failure.outcome
    if outcome.errno in EXHAUSTED:
        cause, title = EXHAUSTED[outcome.errno]
        return Finding(cause, title, "certain", "harness")
    if outcome.error == "undispatched":
        title = "the load generator could not send the request"
        return Finding("harness:undispatched", title, "certain", "harness")
    return None


def starved_fleet(failure: Failure) -> Finding | None:
    """The balancer had nobody to ask, since others had the machine and no check was answered."""
    if not failure.refused or _faulty(failure):
        return None
    return STARVED if failure.around.starved_fleet(*failure.span) is not None else None


def starved(failure: Failure) -> Finding | None:
    """It was not answered in time while others had the machine.

    Only silence is excused so: timeouts, connections that were not made or not free in time, and
    replicas that were taken out since they did not answer their checks. What somebody said is not,
    and neither is what a fault of the run explains.
    """
    if _faulty(failure) or not (_timed_out(failure) or _taken_out(failure)):
        return None
    return STARVED if failure.around.machine.starved(*failure.span) is not None else None


def _timed_out(failure: Failure) -> bool:
    return failure.outcome.sqlstate is None and (
        failure.outcome.error in ("timeout", "connect_timeout")
        or (failure.proxy is not None and failure.proxy.error in LATE)
        or statement_timeout(failure) is not None
        or waited_for_pool(failure)
    )


def _taken_out(failure: Failure) -> bool:
    """Whether the exchange broke off with a replica that had not answered its health checks."""
    if not failure.cut:
        return False
    down = failure.around.down(failure.replica, *failure.span)
    return down is not None and down.unanswered


def _faulty(failure: Failure) -> bool:
    return bool(failure.around.faults(failure.replica, *failure.span))


def no_backend(failure: Failure) -> Finding | None:
    """The balancer says that it had nobody to ask."""
    if not failure.refused:
        return None
    if failure.exchange is not None and failure.exchange.joined is not None:
        sure = failure.exchange.confidence
        return Finding("no_backend", NO_UPSTREAM, sure, "no_backend")
    return Finding("no_backend", "no backend was available", "certain", "no_backend")


def lifecycle(failure: Failure) -> Finding | None:
    """The exchange broke off while its replica was coming or going."""
    life, now = failure.life, failure.at_ns
    if life is None or not failure.cut:
        return None
    if _by(life.asked_ns, now) or (life.cut and _near(life.drained_ns, now)):
        return _stopped(life)
    if _by(life.died_ns, now + SLACK_NS):
        return Finding("lifecycle:died", "the replica had died", "likely", "lifecycle")
    if life.started_ns is not None and (life.ready_ns is None or life.ready_ns > now):
        return Finding(
            "lifecycle:not_ready", "the replica was not ready yet", "likely", "lifecycle"
        )
    return None


def unresponsive(failure: Failure) -> Finding | None:
    """The exchange led to nothing, and so did everybody else's with that replica."""
    timed_out = failure.outcome.error == "timeout" and failure.outcome.first_byte_ns is None
    if not (timed_out or failure.cut):
        return None
    if failure.around.down(failure.replica, *failure.span) is not None:
        words = "the replica did not answer and failed its health checks"
    elif timed_out and failure.around.silent(failure.replica, *failure.span):
        words = "the replica answered no request during that time"
    else:
        return None
    return Finding("lifecycle:unresponsive", words, "likely", "lifecycle")


def _stopped(life: Life) -> Finding:
    if life.cut:
        return Finding(
            "lifecycle:drain_exceeded",
            "the replica's drain timed out while the request was in flight",
            "likely",
            "lifecycle",
        )
    if life.drain_started_ns is None:
        return Finding(
            "lifecycle:undrained", "the replica was stopped without a drain", "likely", "lifecycle"
        )
    return Finding("lifecycle:stopped", "the replica was being stopped", "likely", "lifecycle")


def _by(event_ns: int | None, now: int) -> bool:
    return event_ns is not None and event_ns <= now


def _near(event_ns: int | None, now: int) -> bool:
    return event_ns is not None and abs(event_ns - now) <= SLACK_NS


def reload(failure: Failure) -> Finding | None:
    """The router loaded a new configuration, and has not logged the request at all."""
    if failure.exchange is not None or failure.outcome.error not in LOST:
        return None
    if not failure.around.reloading(*failure.span):
        return None
    return Finding(
        "router:reload",
        "the router lost the connection while it loaded a new configuration",
        "likely",
        "balancer",
    )


def keep_alive_race(failure: Failure) -> Finding | None:
    """The replica ended a kept connection before it said anything to the request on it."""
    exchange, proxy = failure.exchange, failure.proxy
    if proxy is None or proxy.error != "connection_terminated" or exchange is None:
        return None
    if not exchange.reused or exchange.first_byte_ns >= 0:
        return None
    return Finding(
        KEEP_ALIVE_RACE,
        "the replica closed a kept connection just as the router sent the request on it",
        "likely",
        "transport",
    )


def reused_connection(failure: Failure) -> Finding | None:
    """A kept-alive connection was closed under the request, which the balancer never logged."""
    outcome = failure.outcome
    if (
        outcome.error in ("reset", "eof")
        and outcome.connection == "reused"
        and outcome.first_byte_ns is None
        and failure.exchange is None
    ):
        return Finding(
            "transport:reused_connection",
            "a reused connection was closed just as the request was sent",
            "likely",
            "transport",
        )
    return None


def unprocessed(failure: Failure) -> Finding | None:
    """The server said over HTTP/2 that it has not processed the request (RFC 9113, section 8.7)."""
    if failure.outcome.error != "unprocessed":
        return None
    title = (
        "the server said that it had not processed the request (GOAWAY or REFUSED_STREAM of "
        "HTTP/2); browsers and many other clients send such a request again"
    )
    return Finding("transport:unprocessed", title, "certain", "transport")


def balancer(failure: Failure) -> Finding | None:
    """The balancer says why it answered by itself."""
    if failure.proxy is None:
        return None
    error = failure.proxy.error
    words = BALANCER.get(error) or error.replace("_", " ")
    if failure.exchange is not None and failure.exchange.foreign:
        sure = failure.exchange.confidence
        if failure.exchange.joined is not None:
            words = f"proxy: {UPSTREAM.get(error) or words}"
            return Finding(f"router:{error}", words, sure, "balancer")
        return Finding(f"router:{error}", f"router: {words}", sure, "balancer")
    return Finding(f"balancer:{error}", f"balancer: {words}", "certain", "balancer")


def transport(failure: Failure) -> Finding | None:
    """The client got no complete response, and nobody said why."""
    error = failure.outcome.error
    if error is None:
        return None
    words = TRANSPORT.get(error) or error.replace("_", " ")
    return Finding(f"transport:{error}", words, "symptom", "transport")
