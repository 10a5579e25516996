"""Why a request that succeeded took too long: the same ladder, by where its time went.

A stretch explains the delay if it covers at least half of the latency, counted from the planned
time. The balancer's log has the stretches: the wait for a replica, the connect, the replica's
first byte.
"""

from scenarios.verdict.causes.database_rules import database_away, lock_wait
from scenarios.verdict.causes.exchange_rules import STARVED
from scenarios.verdict.causes.failure import Failure, Finding

_SHARE = 0.5


def explain_slow(failure: Failure) -> Finding:
    """The cause of one slow request: what the first matching rule says."""
    for rule in (_harness, _starved, _balancer, lock_wait, database_away, _replica, _client):
        finding = rule(failure)
        if finding is not None:
            return finding
    return Finding("slow:unattributed", "no single part took half of the time", "symptom", "slow")


def _half(failure: Failure, nanoseconds: int) -> bool:
    outcome = failure.outcome
    return nanoseconds >= _SHARE * (outcome.done_ns - outcome.planned_ns)


def _harness(failure: Failure) -> Finding | None:
    outcome = failure.outcome
    if outcome.sent_ns is None or not _half(failure, outcome.sent_ns - outcome.planned_ns):
        return None
    if outcome.connection == "new":
        title = "connecting to the balancer took most of the time"
        return Finding("slow:connect", title, "certain", "slow")
    return Finding("harness:late", "the load generator sent the request late", "certain", "harness")


def _starved(failure: Failure) -> Finding | None:
    """Others had the machine for half of the time, and no lock or fault explains the delay."""
    outcome, exchange = failure.outcome, failure.exchange
    if failure.around.faults(failure.replica, *failure.span) or lock_wait(failure) is not None:
        return None
    if exchange is not None and _half(failure, exchange.wait_ns):
        found = failure.around.starved_fleet(outcome.planned_ns, outcome.planned_ns)
    else:
        found = failure.around.machine.starved(outcome.planned_ns, outcome.done_ns)
    return STARVED if found is not None else None


def _balancer(failure: Failure) -> Finding | None:
    exchange = failure.exchange
    if exchange is None:
        return None
    if _half(failure, exchange.wait_ns):
        title = "the balancer held the request until a replica was available"
        return Finding("slow:held", title, "certain", "slow")
    if _half(failure, exchange.connect_ns):
        title = "connecting to the replica took most of the time"
        return Finding("slow:replica_connect", title, "certain", "slow")
    return None


def _replica(failure: Failure) -> Finding | None:
    exchange = failure.exchange
    if exchange is None or exchange.backend is None:
        return None
    start, end = failure.span
    nobody = failure.around.silent(failure.replica, start, (start + end) // 2)
    checks = failure.around.down(failure.replica, start, end) is not None
    if (nobody or checks) and _half(failure, max(exchange.first_byte_ns, exchange.total_ns)):
        return Finding(
            "lifecycle:unresponsive",
            "the replica answered no request for a while",
            "likely",
            "lifecycle",
        )
    if exchange.attempts > 1 and _half(failure, exchange.total_ns):
        return Finding("slow:retried", "the balancer retried on a second replica", "likely", "slow")
    if _half(failure, exchange.first_byte_ns - max(exchange.wait_ns, 0)):
        title = "the replica took most of the time to answer"
        return Finding("slow:application", title, "likely", "slow")
    if _half(failure, exchange.total_ns):
        title = "transferring the response took most of the time"
        return Finding("slow:transfer", title, "likely", "slow")
    return None


def _client(failure: Failure) -> Finding | None:
    exchange = failure.exchange
    if exchange is None or exchange.total_ns < 0:
        return None
    if not _half(failure, exchange.total_ns):
        return Finding(
            "slow:outside",
            "most of the time passed between client and balancer: the machine was busy",
            "likely",
            "slow",
        )
    return None
