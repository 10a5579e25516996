"""PURE: what a server's profile means on a platform: what is lost, and which settings lose nothing.

A stop has two clocks. The router is told at 0 and goes on sending until its lag is over; the signal
comes when the platform's wait is over. From the signal until the lag's end, new requests meet a
server that stops: that is the *exposure*. When the signal comes later than that, the router has
been quiet for a while, and what is still in flight is at least so old: that is the *quiet*.

Where the router chooses a replica for each connection, as kube-proxy does, clients go on using the
connections that they have: on these there is no quiet, and requests meet the signal whenever it
comes. A server that closes each connection after its answer keeps none.
"""

import math

import msgspec

from scenarios.probe.losses import (
    Kind,
    Loss,
    is_orphaned,
    kept_losses,
    killed_losses,
    late_losses,
    own_limit,
    queue_losses,
    served_until_killed,
    stop_losses,
)
from scenarios.probe.profile import Profile
from scenarios.probe.terms import Terms, behind_router


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What a rolling update loses on given terms.

    Attributes:
        platform: the platform.
        lost: what is lost.
        saved: what kinds of requests are not.
        unknown: what cannot be told, since an experiment was left out.
    """

    platform: str
    lost: tuple[Loss, ...]
    saved: tuple[Kind, ...]
    unknown: tuple[str, ...]

    @property
    def lossless(self) -> bool:
        """Whether nothing is known to be lost."""
        return not self.lost


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The least settings on a platform with which nothing is lost.

    Attributes:
        platform: the platform.
        pre_stop_seconds: how long to wait before the signal, at least; None: no setting saves it.
        grace_seconds: after how long to kill, at least.
        lines: the same as the platform says it.
        impossible: why no setting saves this server there.
        behind_router: where no setting saves it, the settings that lose nothing behind a router
            that chooses a replica for each request; empty where that does not help.
    """

    platform: str
    pre_stop_seconds: float | None = None
    grace_seconds: float | None = None
    lines: tuple[str, ...] = ()
    impossible: str | None = None
    behind_router: tuple[str, ...] = ()


def predict(profile: Profile, terms: Terms, *, longest_seconds: float) -> Prediction:
    """What a rolling update on these terms loses of requests that take up to `longest_seconds`."""
    lost: list[Loss] = []
    exposure, quiet, kept = _exposure(terms), _quiet(terms), keeps_connections(profile, terms)
    left = longest_seconds if kept else longest_seconds - quiet
    if exposure > 0:
        lost += late_losses(profile, terms)
    elif kept:
        lost += kept_losses(profile, terms)
    new_ones_meet = exposure > 0 or quiet < longest_seconds
    meets = kept or new_ones_meet
    if meets:
        lost += stop_losses(profile, terms, left)
    if new_ones_meet:
        lost += queue_losses(profile, terms)
    lost += killed_losses(profile, terms, left)
    if kept:
        lost += served_until_killed(profile, terms)
    names = {loss.kind for loss in lost}
    considered: list[tuple[Kind, object]] = [
        ("new_connections", profile.new_connections),
        ("kept_connections", profile.new_connections),
        ("in_flight", profile.in_flight),
        ("upload", profile.upload),
        ("queue", profile.queue),
    ]
    return Prediction(
        platform=terms.platform,
        lost=tuple(lost),
        saved=tuple(kind for kind, seen in considered if seen is not None and kind not in names),
        unknown=(f"whether it finishes requests in flight: {profile.why_left_out('in_flight')}",)
        if meets and profile.in_flight is None
        else (),
    )


def settings(profile: Profile, terms: Terms, *, longest_seconds: float) -> Settings:
    """The least settings with which a rolling update loses nothing."""
    if terms.order in ("stop-first", "checks-only"):
        return Settings(
            platform=terms.platform,
            impossible="it ends the old one before the new one runs, and tells no router",
        )
    why = _meets_the_signal(profile, terms, longest_seconds)
    if why is not None:
        router = settings(profile, behind_router(terms), longest_seconds=longest_seconds)
        return Settings(
            platform=terms.platform,
            impossible="clients go on using the connections that they have, whatever the wait, "
            f"and {why}",
            behind_router=router.lines,
        )
    wait = _least_wait(profile, terms, longest_seconds)
    if terms.pre_stop_setting is None:
        if wait > terms.pre_stop_seconds:
            return Settings(
                platform=terms.platform,
                impossible=f"it needs {wait} s before the signal, and {terms.platform} has no "
                "setting for that",
            )
        wait = math.floor(terms.pre_stop_seconds)
    grace = _least_grace(profile, terms, longest_seconds, wait)
    if terms.most_grace_seconds is not None and grace > terms.most_grace_seconds:
        return Settings(
            platform=terms.platform,
            impossible=f"it needs {grace} s until the kill, and {terms.platform} gives "
            f"{terms.most_grace_seconds:.0f} s at most",
        )
    lines = [terms.grace_setting.format(seconds=grace)]
    if wait > 0 and terms.pre_stop_setting is not None:
        lines.insert(0, terms.pre_stop_setting.format(seconds=wait))
    return Settings(
        platform=terms.platform,
        pre_stop_seconds=float(wait),
        grace_seconds=float(grace),
        lines=tuple(lines),
    )


def _meets_the_signal(profile: Profile, terms: Terms, longest_seconds: float) -> str | None:
    """What is lost on kept connections, which no wait spares the signal; None: nothing."""
    if not keeps_connections(profile, terms):
        return None
    lost = [
        *stop_losses(profile, terms, longest_seconds),
        *kept_losses(profile, terms),
        *served_until_killed(profile, terms),
    ]
    return lost[0].why if lost else None


def _least_wait(profile: Profile, terms: Terms, longest_seconds: float) -> int:
    """For how many seconds to wait before the signal, at least."""
    if terms.order != "together":
        return 0
    wait = terms.lag_seconds if late_losses(profile, terms) else 0.0
    rest = longest_seconds - max(0.0, wait - terms.lag_seconds)
    # Whether it finishes requests in flight may not be known: then it is not relied on.
    cuts = [*stop_losses(profile, terms, rest), *queue_losses(profile, terms)]
    if cuts or profile.in_flight is None:
        limit = own_limit(profile) if _begins_well(profile, terms) else 0.0
        wait = terms.lag_seconds + max(0.0, longest_seconds - (limit or 0.0))
    return math.ceil(wait)


def _least_grace(profile: Profile, terms: Terms, longest_seconds: float, wait: int) -> int:
    """After how many seconds to kill, at least, when the signal comes after so long a wait."""
    left = longest_seconds
    if terms.order == "drain-first":
        left = 0.0
    elif not keeps_connections(profile, terms):
        left = max(0.0, longest_seconds - max(0.0, wait - terms.lag_seconds))
    after = left + _tail(profile)
    return math.ceil(after + (wait if terms.grace_includes_pre_stop else 0.0)) + 1


def retried_methods(profile: Profile) -> tuple[str, ...]:
    """What a router may send again without doing it twice, and thereby saves."""
    advice = []
    late = profile.new_connections
    if late is not None and any(one.fate == "refused" for one in late.tries):
        advice.append("any request when the connection is refused")
    if late is not None and any(one.fate in ("reset", "closed") for one in late.tries):
        advice.append("GET, HEAD, PUT and DELETE when the connection ends without an answer")
    return tuple(advice)


def keeps_connections(profile: Profile, terms: Terms) -> bool:
    """Whether requests come on connections that clients have, until the server closes them."""
    closes_each = profile.idle is not None and profile.idle.fate == "none"
    return terms.keeps_connections and terms.order == "together" and not closes_each


def _exposure(terms: Terms) -> float:
    match terms.order:
        case "drain-first":
            return 0.0
        case "together":
            return max(0.0, terms.lag_seconds - terms.pre_stop_seconds)
        case _:
            return math.inf


def _quiet(terms: Terms) -> float:
    match terms.order:
        case "drain-first":
            return math.inf  # the router waits until nothing is in flight
        case "together":
            return max(0.0, terms.pre_stop_seconds - terms.lag_seconds)
        case _:
            return 0.0


def _begins_well(profile: Profile, terms: Terms) -> bool:
    """Whether what is in flight is finished, for a while at least."""
    kept = (profile.in_flight, profile.upload)
    fine = all(seen is None or seen.fate in ("delivered", "served", "early") for seen in kept)
    queue = profile.queue
    waits = queue is None or queue.reset + queue.closed + queue.silent == 0
    known = profile.in_flight is not None
    return known and fine and waits and not is_orphaned(profile, terms)


def _tail(profile: Profile) -> float:
    """How long it takes to end after its last answer, as far as that was watched."""
    tails = [
        max(0.0, seen.exit.seconds - seen.seconds)
        for seen in (profile.in_flight, profile.upload)
        if seen is not None and seen.exit.status is not None
    ]
    if profile.idle is not None and profile.idle.exit.status is not None:
        tails.append(profile.idle.exit.seconds)
    return max(tails, default=0.0)
