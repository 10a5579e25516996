"""What a request did to the data, in Jepsen's alphabet: ok, fail, info.

`ok`: the service said that it happened. `fail`: it certainly did not happen. `info`: nobody can
tell, such as a POST that timed out; afterwards it may be there or not, and neither is wrong.
"""

from enum import Enum

from scenarios.evidence.outcome import Outcome
from scenarios.verdict.causes import proxy_status, sqlstates

_UNSENT = frozenset({"connect_refused", "connect_timeout", "tls", "undispatched", "unprocessed"})
_REQUEST_TIMEOUT = 408
_NOT_IMPLEMENTED = frozenset({501, 505})


class Effect(Enum):
    """Whether a request took effect."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"


def effect_of(outcome: Outcome) -> Effect:
    """What the answer says about the effect, whatever was expected of it.

    A 4xx is an explicit rejection (RFC 9110, section 15.5), but for 408, where the server gave up
    on a connection. A 5xx is not: only the refusal of the transaction by the database, or a
    balancer that never forwarded the request, proves that nothing happened.
    """
    if outcome.error is not None:
        return Effect.FAIL if _never_sent(outcome) else Effect.INFO
    status = outcome.status or 0
    if status < 400:  # noqa: PLR2004 - RFC 9110, section 15
        return Effect.OK if outcome.ok or 200 <= status < 300 else Effect.INFO  # noqa: PLR2004 - the same
    if status < 500:  # noqa: PLR2004 - the same
        return Effect.INFO if status == _REQUEST_TIMEOUT else Effect.FAIL
    proxy = proxy_status.parse(outcome.proxy_status)
    if proxy is not None and proxy.error in proxy_status.NEVER_FORWARDED:
        return Effect.FAIL
    if status in _NOT_IMPLEMENTED or sqlstates.refuses(outcome.sqlstate):
        return Effect.FAIL
    return Effect.INFO


def _never_sent(outcome: Outcome) -> bool:
    return outcome.error in _UNSENT or outcome.sent_ns is None
