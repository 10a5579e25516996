"""PURE: what a server's profile loses on given terms, one kind of request after the other.

`scenarios.probe.meaning` says which of them a platform's terms bring about.
"""

from typing import Literal

import msgspec

from scenarios.probe.profile import LateResponses, Profile
from scenarios.probe.terms import Router, Terms

Kind = Literal[
    "new_connections", "kept_connections", "in_flight", "upload", "queue", "killed", "keep_alive"
]


_STAYS_SECONDS = 1.5
"""So long a process may take to end after its last answer, without waiting for a connection."""


class Loss(msgspec.Struct, frozen=True):
    """Something that is lost.

    Attributes:
        kind: what kind of request.
        why: one sentence.
    """

    kind: Kind
    why: str


def late_losses(profile: Profile, terms: Terms) -> list[Loss]:
    """What comes after the signal."""
    if terms.order in ("stop-first", "checks-only"):
        return [Loss("new_connections", "nobody serves from its end until the new one is there")]
    late, lost = profile.new_connections, []
    if is_orphaned(profile, terms):
        return [
            Loss(
                "new_connections",
                "the server is killed with what started it, while routers "
                "still send new connections",
            )
        ]
    if late is None:
        return []
    fine = ("served", "refused") if terms.retry else ("served",)
    bad = [one for one in late.tries if one.fate not in fine]
    if bad:
        lost.append(
            Loss(
                "new_connections",
                f"routers send new connections for {terms.lag_seconds:g} s after the stop begins, "
                f"and it {_does(bad[0])} them",
            )
        )
    if late.idle is not None and late.idle.fate != "served":
        how = "closes" if late.idle_closed or late.idle.fate == "closed" else "does not answer on"
        lost.append(
            Loss(
                "kept_connections",
                f"it {how} the connections that routers keep, while they still use them",
            )
        )
    return lost


def kept_losses(profile: Profile, terms: Terms) -> list[Loss]:
    """Requests on connections that it keeps after the signal, and does not serve any more.

    When it closes a connection first, its client opens another one, to another replica.
    """
    late = profile.new_connections
    if late is None or late.idle is None or is_orphaned(profile, terms):
        return []  # an orphan is killed with all that is in flight
    if late.idle_closed or late.idle.fate == "served":
        return []
    why = f"it {_does(late.idle)} requests on kept connections after SIGTERM"
    return [Loss("kept_connections", why)]


def served_until_killed(profile: Profile, terms: Terms) -> list[Loss]:
    """Requests on connections that clients go on using until the server is killed."""
    late, idle = profile.new_connections, profile.idle
    if is_orphaned(profile, terms):
        return []
    asked = None if late is None else late.idle
    serves = asked is not None and asked.fate == "served" and asked.connection != "close"
    if serves and idle is not None and idle.exit.status is None:
        why = "it serves kept connections until it is killed, with what is in flight then"
    elif _leaves_open(profile):
        why = (
            "it leaves connections open after its late answers, and clients go on using them until "
            "it is killed"
        )
    else:
        return []
    return [Loss("killed", why)]


def _leaves_open(profile: Profile) -> bool:
    """Whether a connection outlives the late answer on it, so that its client goes on using it.

    The answer does not say that it closes it, and the process stays for a while after it. Who says
    it in the next answer, loses nothing.
    """
    first, late = profile.in_flight, profile.new_connections
    if first is None or first.fate != "delivered" or first.connection == "close":
        return False
    if late is not None and late.idle is not None and late.idle.connection == "close":
        return False
    waited = profile.core_wait.get("in_flight", 0.0)
    stays = first.exit.seconds - first.seconds
    return first.exit.status is None or stays > _STAYS_SECONDS + waited


def _does(late: LateResponses) -> str:
    return {
        "refused": "refuses",
        "reset": "accepts and resets",
        "closed": "accepts and closes",
        "silent": "accepts and never answers",
        "unavailable": "answers 503 to",
        "error": f"answers {late.status} to",
    }.get(late.fate, "serves")


def is_orphaned(profile: Profile, terms: Terms) -> bool:
    """Whether the signal ends what started the server, which in a container ends everything."""
    signalled = profile.signalled
    return terms.signals == "first" and signalled is not None and signalled.fate == "orphaned"


def own_limit(profile: Profile) -> float | None:
    """How long after the signal it still works on a request; None: no limit was seen."""
    long = profile.long_request
    if long is None or long.fate in ("delivered", "silent"):
        return None
    return long.seconds


def stop_losses(profile: Profile, terms: Terms, left: float) -> list[Loss]:
    """What is in flight at the signal, or waits, and takes up to `left` more seconds."""
    lost: list[Loss] = []
    if is_orphaned(profile, terms) and profile.signalled is not None:
        name = profile.signalled.started
        return [
            Loss(
                "in_flight",
                f"the signal ends {name} and never reaches the server, which is "
                "killed with all that is in flight",
            )
        ]
    first, half = profile.in_flight, profile.upload
    limit = own_limit(profile)
    if first is not None and first.fate != "delivered":
        how = {"cut": "cuts", "error": "answers an error to", "silent": "never answers"}
        why = f"it {how[first.fate]} requests that are in flight at SIGTERM"
        lost.append(Loss("in_flight", why))
    elif limit is not None and limit < left:
        lost.append(
            Loss("in_flight", f"it cuts requests that take longer than {limit:.0f} s after SIGTERM")
        )
    if half is not None and half.fate in ("cut", "silent"):
        does = "cuts" if half.fate == "cut" else "never answers"
        lost.append(Loss("upload", f"it {does} uploads that are half there at SIGTERM"))
    return lost


def queue_losses(profile: Profile, terms: Terms) -> list[Loss]:
    """Who waits to be accepted at the signal."""
    queue = profile.queue
    if queue is None or is_orphaned(profile, terms):
        return []  # an orphan is killed with all of that
    count = queue.reset + queue.closed + queue.silent
    if not count:
        return []
    why = f"{count} of {queue.sent} connections that waited for a busy worker were dropped"
    return [Loss("queue", why)]


def killed_losses(profile: Profile, terms: Terms, left: float) -> list[Loss]:
    """What is still in flight when the platform kills."""
    after = terms.grace_seconds
    if terms.grace_includes_pre_stop:
        after -= terms.pre_stop_seconds
    first = profile.in_flight
    works_on = first is None or first.fate == "delivered"
    if works_on and left > after and terms.order != "drain-first":
        return [
            Loss(
                "killed",
                f"{terms.platform} kills it after {after:g} s, and requests take up "
                f"to {left:g} s more",
            )
        ]
    return []


def keep_alive_race(profile: Profile, router: Router) -> Loss | None:
    """Whether the server closes idle connections that the router would still use."""
    kept = profile.keep_alive
    if kept is None or kept.fate != "closed" or kept.seconds > router.idle_seconds + 1:
        return None
    what = "a POST" if router.repeats_get else "a request"
    return Loss(
        "keep_alive",
        f"it closes idle connections after {kept.seconds:.0f} s and {router.name} uses them for "
        f"{router.idle_seconds:.0f} s: {what} that meets the closing is lost",
    )
