"""PURE: how long stopped replicas still got requests, and which setting would have covered them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scenarios.evidence.leaving import Departure, LeavingSettings
from scenarios.verdict.causes.failure import Failure
from scenarios.verdict.model.advice import Advice, Alternative, Undrained

CAUSE = "lifecycle:undrained"
PRE_STOP = "policy.termination.pre_stop_seconds"
ORDER = "policy.termination.order"
LAG = "policy.termination.deregistration_lag_seconds"
CLOSE_IDLE = "policy.termination.close_idle"
SERVER = "server"
_STEP_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class LateRequest:
    """One failed request that met a replica which had been asked to stop.

    Attributes:
        lag_seconds: from the replica's stop signal until the router sent the request; negative if
            the request was in flight at the signal.
        kept_idle: whether the router sent it on an idle connection that it had kept although it
            knew that the replica leaves.
        router_done_seconds: from the stop signal until the router had taken the replica out.
    """

    lag_seconds: float
    kept_idle: bool = False
    router_done_seconds: float = 0.0

    @property
    def needed_seconds(self) -> float:
        """How much later the stop signal must come.

        A router's own health checks may take a stopped replica out early. They do not while it
        serves on, so the signal must also wait until the router has acted on the news.
        """
        return max(self.lag_seconds, self.router_done_seconds)


def late(failure: Failure) -> LateRequest | None:
    """How late the router sent a failed request; None where the evidence does not tell."""
    life, exchange = failure.life, failure.exchange
    asked_ns = None if life is None else life.asked_ns
    sent_ns = failure.outcome.sent_ns
    if exchange is not None:
        sent_ns = exchange.at_ns + max(exchange.wait_ns, 0)
    elif failure.met is not None and sent_ns is None:
        sent_ns = failure.outcome.planned_ns  # its connection was refused: nothing was written
    if life is None or asked_ns is None or sent_ns is None:
        return None
    departure = life.departure
    told_ns = None if departure is None else departure.router_told_ns
    done_ns = max(told_ns or 0, (departure.drained_ns or 0) if departure else 0)
    knew = told_ns is not None and sent_ns > told_ns
    reused = exchange is not None and exchange.reused
    return LateRequest(
        (sent_ns - asked_ns) / 1e9,
        kept_idle=knew and reused,
        router_done_seconds=max(0.0, (done_ns - asked_ns) / 1e9),
    )


def lag_seconds(failure: Failure) -> float | None:
    """The lag of a request that the router sent after the stop signal; else None."""
    found = late(failure)
    return None if found is None or found.lag_seconds < 0 else found.lag_seconds


def undrained(failures: Sequence[Failure]) -> Undrained | None:
    """Sum up how requests met stopped replicas; None where the evidence does not tell."""
    known = [(one, found) for one in failures if (found := late(one)) is not None]
    if not known:
        return None
    replicas: dict[str, float] = {}
    for failure, found in known:
        if found.lag_seconds >= 0 and failure.replica is not None:
            before = replicas.get(failure.replica, 0.0)
            replicas[failure.replica] = max(before, found.lag_seconds)
    after = [found.lag_seconds for _, found in known if found.lag_seconds >= 0]
    return Undrained(
        after_stop=len(after),
        in_flight=len(known) - len(after),
        longest_seconds=max(after, default=None),
        replicas=dict(sorted(replicas.items())),
        noticed=_noticed(failures),
        blind=any(_departure(one).router_checks is False for one in failures),
    )


def _departure(failure: Failure) -> Departure:
    known = None if failure.life is None else failure.life.departure
    return known or Departure()


def _noticed(failures: Sequence[Failure]) -> dict[str, float]:
    """By replica, how long after its stop signal the router's own checks noticed its end."""
    found: dict[str, float] = {}
    for failure in failures:
        left = _departure(failure)
        if failure.replica and left.router_noticed_ns is not None and left.stop_asked_ns:
            found[failure.replica] = (left.router_noticed_ns - left.stop_asked_ns) / 1e9
    return dict(sorted(found.items()))


def told(found: Undrained) -> str:
    """The same as a sentence."""
    parts = []
    if found.longest_seconds is not None:
        each = ", ".join(f"{name} for {lag:.2f} s" for name, lag in found.replicas.items())
        parts.append(
            f"{found.after_stop:,} of them were sent to a replica after its stop signal, up to "
            f"{found.longest_seconds:.2f} s later ({each})"
        )
    if found.in_flight:
        parts.append(f"{found.in_flight:,} were in flight when the replica got its stop signal")
    if found.noticed:
        each = ", ".join(f"{name} after {seconds:.2f} s" for name, seconds in found.noticed.items())
        parts.append(f"nobody told the router, whose own checks noticed the end of {each}")
    if found.blind:
        parts.append("nobody told the router, which has no checks of its own")
    return "; ".join(parts)


def pre_stop_for(current: float, lags: Sequence[float]) -> float:
    """The least preStop with which no request with one of these lags meets a stopped replica.

    Args:
        current: the preStop of the run, in seconds.
        lags: seconds from the stop signal until the router sent each request.
    """
    needed = current + max(lags)
    # The next tenth of a second that is later than the last request.
    return round((math.floor(needed / _STEP_SECONDS + 1e-9) + 1) * _STEP_SECONDS, 1)


def lag_for(current: float, lags: Sequence[float]) -> float:
    """The longest lag with which the router sends none of these requests; 0 where none is.

    Args:
        current: the preStop of the run, in seconds.
        lags: seconds from the stop signal until the router sent each request.
    """
    # The last tenth of a second that is not later than the first request.
    return round(math.floor((current + min(lags)) / _STEP_SECONDS + 1e-9) * _STEP_SECONDS, 1)


def advise(requests: Sequence[LateRequest], how: LeavingSettings) -> tuple[Advice, ...]:
    """Which settings would have covered these failed requests.

    A later stop signal helps only if the router stops sending requests by itself meanwhile: it must
    be told at the start (`together`), and must not go on using idle connections.

    Args:
        requests: the failed requests that met a stopped replica.
        how: the settings of the run.
    """
    flying = [one for one in requests if one.lag_seconds < 0]
    sent = [one for one in requests if one.lag_seconds >= 0]
    found = []
    if sent and how.order in ("stop-first", "checks-only"):
        found.append(_tell_first(len(sent), how))
    elif sent:
        kept = [one for one in sent if one.kept_idle and not how.close_idle]
        timely = [one for one in sent if one not in kept]
        if timely:
            found.append(_wait(timely, how))
        if kept:
            found.append(_close(len(kept)))
    if flying:
        found.append(_finish(len(flying)))
    return tuple(found)


def _wait(requests: Sequence[LateRequest], how: LeavingSettings) -> Advice:
    """The least preStop; where the grace period has no room for it, the longest lag."""
    least = pre_stop_for(how.pre_stop_seconds, [one.needed_seconds for one in requests])
    lag = lag_for(how.pre_stop_seconds, [one.lag_seconds for one in requests])
    by_lag = [Alternative(setting=LAG, value=lag)] if lag > 0 else []
    by_order = Alternative(setting=ORDER, value="drain-first")
    first, last = (choose(one.lag_seconds for one in requests) for choose in (min, max))
    count = _requests(len(requests))
    if how.grace_includes_pre_stop and least >= (how.grace_seconds or math.inf):
        fits = f"a preStop of {least:g} s does not fit into the grace period of "
        fits += f"{how.grace_seconds:g} s"
        if not by_lag:
            return _drain_first(len(requests), fits)
        return Advice(
            setting=LAG,
            value=lag,
            covers=len(requests),
            sentence=(
                f"a deregistration lag of at most {lag:g} s covers {count}: the router sent the "
                f"first of them {first:.2f} s after the stop signal, which came "
                f"{how.pre_stop_seconds:g} s after the decision, and {fits}; "
                'order = "drain-first" does the same'
            ),
            instead=(by_order,),
        )
    done = max(one.needed_seconds for one in requests)
    sooner = f"a deregistration lag of at most {lag:g} s, or " if by_lag else ""
    most = how.deregistration_lag_seconds[1]
    longer = (
        f". Other seeds draw lags of up to {most:g} s: a preStop of "
        f"{pre_stop_for(0.0, [most]):g} s covers these too"
        if most >= least
        else ""
    )
    return Advice(
        setting=PRE_STOP,
        value=least,
        covers=len(requests),
        sentence=(
            f"a preStop of {least:g} s covers {count}: the router sent the last of them "
            f"{last:.2f} s after the stop signal, had taken their replicas out after {done:.2f} s, "
            f"and the signal came {how.pre_stop_seconds:g} s after the decision; {sooner}"
            f'order = "drain-first" does the same{longer}'
        ),
        instead=(*by_lag, by_order),
    )


def _drain_first(count: int, why: str) -> Advice:
    return Advice(
        setting=ORDER,
        covers=count,
        sentence=f'order = "drain-first" covers {_requests(count)}: {why}, and no lag is short '
        "enough",
    )


def _tell_first(count: int, how: LeavingSettings) -> Advice:
    when = "after the replica has ended" if how.order == "stop-first" else "by nobody"
    return Advice(
        setting=ORDER,
        covers=count,
        sentence=(
            f"no preStop covers {_requests(count)}: the router is told {when}, so it sends "
            'requests until the end. Tell it before the stop: order = "together" with a preStop, '
            'or "drain-first"'
        ),
    )


def _close(count: int) -> Advice:
    return Advice(
        setting=CLOSE_IDLE,
        covers=count,
        sentence=(
            f"no preStop covers {_requests(count)}: the router used idle connections that it kept "
            "after it knew that the replica leaves. Let it close them (close_idle = true), or let "
            "the server answer with `Connection: close` from the start of the preStop"
        ),
    )


def _finish(count: int) -> Advice:
    return Advice(
        setting=SERVER,
        covers=count,
        sentence=(
            f"the server cut {_requests(count)} in flight when it got its stop signal, and no "
            "preStop makes it finish them. Let it finish its requests after the signal, or let "
            'them end before it (order = "drain-first")'
        ),
    )


def _requests(count: int) -> str:
    return f"{count:,} failed request{'' if count == 1 else 's'}"
