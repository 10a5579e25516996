"""What a router can do, said by itself, so that nobody takes for granted what it cannot do."""

from typing import Literal

import msgspec

Kind = Literal["hitless", "haproxy", "envoy", "nginx", "traefik", "caddy"]
"""The routers that there are."""

DrainWaits = Literal["replica", "all", "nothing"]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of router can do.

    Attributes:
        cuts_at_deadline: it cuts what a replica still has in flight when a drain's time is up.
        counts_in_flight: it knows how many exchanges each replica has under way.
        drain_waits: the end of a drain waits for what this `replica` has in flight, for `all`
            that was in flight at any replica when the drain began, or `nothing`.
        own_health: it checks its backends by itself, and stops using one that fails.
        atomic_switch: it takes a whole set of weights in one step; otherwise one after the other.
        reasons: it says why it answered by itself, request by request.
        backend_idle_seconds: for about how long it keeps an idle connection to a backend and may
            still send a request on it, in the configuration that a run gives it; a configuration
            of the user's own may say something else. A backend that closes its idle connections
            earlier can close one at the moment when the router uses it.
        reload_keeps_connections: a change of its backends closes no connection of a client, so that
            no request can meet the end of one.
        weights: it can give replicas unequal shares of the traffic. Without, each replica that
            gets traffic gets the same, so the share of a canary is its share of the replicas.
        sees_requests: it sees requests, and so counts them for each replica, logs them, and chooses
            a replica for each. Without, it chooses a replica for each connection.
        sticky: it can keep a user on one version.
        holds: it can let requests wait while no backend is up.
        keeps_idle: it can go on using its idle connections to a replica that leaves, as kube-proxy
            does (`policy.termination.close_idle = false`); otherwise it stops using them at once.
    """

    cuts_at_deadline: bool
    counts_in_flight: bool
    drain_waits: DrainWaits
    own_health: bool
    atomic_switch: bool
    reasons: bool
    backend_idle_seconds: float
    reload_keeps_connections: bool = True
    weights: bool = True
    sees_requests: bool = True
    sticky: bool = False
    holds: bool = False
    keeps_idle: bool = False

    def lacking(self) -> tuple[str, ...]:
        """What it cannot do, one sentence each, for people."""
        return tuple(self.gaps().values())

    def gaps(self) -> dict[str, str]:
        """What it cannot do, by attribute, one sentence each, for people."""
        said = {
            "cuts_at_deadline": "it cannot cut what is in flight when the time of a drain is up",
            "counts_in_flight": "it does not tell what a replica has in flight",
            "own_health": "it does not check its backends by itself",
            "atomic_switch": "it takes the weights of a switch one after the other",
            "weights": "it cannot give replicas unequal shares, so the share of a canary is its "
            "share of the replicas",
            "sees_requests": "it sees connections, not requests: it counts and logs none, and a "
            "kept connection stays with its replica",
            "sticky": "it cannot keep a user on one version",
            "holds": "it does not let requests wait while no backend is up",
            "keeps_idle": "it cannot go on using idle connections to a replica that leaves",
            "reasons": "it does not say why it answered by itself",
            "reload_keeps_connections": "a change of its backends closes connections of clients",
        }
        lacks = {name: words for name, words in said.items() if not getattr(self, name)}
        if not self.sees_requests:
            lacks.pop("keeps_idle", None)  # connections are its clients', and stay as they are
        if self.drain_waits != "replica":
            lacks["drain_waits"] = self.drain_limits()
        return lacks

    def drain_limits(self) -> str:
        """What a drain does not do, in one sentence for people; empty when it does all."""
        if self.drain_waits == "nothing":
            return "its drain waits for nothing that is in flight"
        if self.drain_waits == "all":
            return "its drain waits for what is in flight at any replica, and tells no numbers"
        return "" if self.cuts_at_deadline else "its drain cuts nothing at the deadline"


EVERYTHING = Capabilities(
    cuts_at_deadline=True,
    counts_in_flight=True,
    drain_waits="replica",
    own_health=True,
    atomic_switch=True,
    sticky=True,
    holds=True,
    keeps_idle=True,
    reasons=True,
    backend_idle_seconds=1.0,
)
"""What our own balancer can do."""
