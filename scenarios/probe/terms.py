"""On what terms a platform ends a replica: who is told what, in which order, with how much time.

`terms_of` is the one place that knows where a platform's terms come from.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from scenarios.errors import UsageError, near

Order = Literal["drain-first", "together", "stop-first", "checks-only"]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """On what terms a platform ends a replica.

    Attributes:
        platform: its name.
        order: `drain-first`: the router is told, what is in flight ends, and then the signal comes;
            `together`: the router is told and the stop begins at the same time; `stop-first`: the
            router is told after the end; `checks-only`: nobody tells it, its own checks must
            notice.
        lag_seconds: how long requests go on coming after the router was told.
        pre_stop_seconds: how long the platform waits before it sends the signal.
        grace_seconds: after how long it kills.
        grace_includes_pre_stop: whether these begin with the wait, or with the signal.
        signals: whether the signal goes to the first process, or to all.
        retry: whether routers repeat a request elsewhere when its connection is refused.
        keeps_connections: whether clients go on using the connections that they have until the
            server closes them, whatever the router was told: it chooses a replica for each
            connection, and not for each request.
        pre_stop_setting: how that wait is said, with `{seconds}`; None: it cannot be.
        grace_setting: how the time until the kill is said, with `{seconds}`.
        most_grace_seconds: the most that can be said; None: as much as anybody wants.
    """

    platform: str
    order: Order
    lag_seconds: float
    pre_stop_seconds: float = 0.0
    grace_seconds: float
    grace_includes_pre_stop: bool = False
    signals: Literal["first", "all"] = "first"
    retry: bool = False
    keeps_connections: bool = False
    pre_stop_setting: str | None
    grace_setting: str
    most_grace_seconds: float | None = None


_PLATFORMS = (
    Terms(
        platform="kubernetes",
        order="together",
        lag_seconds=1.0,
        grace_seconds=30.0,
        grace_includes_pre_stop=True,
        keeps_connections=True,
        pre_stop_setting="lifecycle.preStop.sleep.seconds: {seconds}",
        grace_setting="terminationGracePeriodSeconds: {seconds}",
    ),
    Terms(
        platform="ecs",
        order="drain-first",
        lag_seconds=0.0,
        grace_seconds=30.0,
        pre_stop_setting=None,
        grace_setting="stopTimeout: {seconds}",
        most_grace_seconds=120.0,
    ),
    Terms(
        platform="nomad",
        order="together",
        lag_seconds=5.0,
        grace_seconds=5.0,
        retry=True,
        pre_stop_setting='shutdown_delay = "{seconds}s"',
        grace_setting='kill_timeout = "{seconds}s"',
    ),
    Terms(
        platform="swarm",
        order="together",
        lag_seconds=0.0,
        pre_stop_seconds=2.0,  # it waits for its own gossip, and cannot be told otherwise
        grace_seconds=10.0,
        keeps_connections=True,
        pre_stop_setting=None,
        grace_setting="stop_grace_period: {seconds}s",
    ),
    Terms(
        platform="compose",
        order="stop-first",
        lag_seconds=2.0,
        grace_seconds=10.0,
        pre_stop_setting="pre_stop: [{{command: sleep {seconds}}}]",
        grace_setting="stop_grace_period: {seconds}s",
    ),
    Terms(
        platform="systemd",
        order="checks-only",
        lag_seconds=0.0,
        grace_seconds=90.0,
        signals="all",
        retry=True,
        pre_stop_setting="ExecStop=/bin/sleep {seconds}",
        grace_setting="TimeoutStopSec={seconds}",
    ),
)
_BY_NAME: Mapping[str, Terms] = {terms.platform: terms for terms in _PLATFORMS}

PLATFORMS = tuple(_BY_NAME)
"""The names of the platforms."""


def terms_of(platform: str) -> Terms:
    """The terms of a platform as it comes.

    Raises:
        UsageError: there is no platform of that name.
    """
    if platform not in _BY_NAME:
        raise UsageError(f"--persona {platform}: {near(platform, PLATFORMS)}")
    return _BY_NAME[platform]


def terms_with(
    platform: str,
    *,
    pre_stop: float | None = None,
    grace: float | None = None,
    lag: float | None = None,
) -> Terms:
    """The terms of a platform with what somebody has set there.

    Args:
        platform: its name.
        pre_stop: the seconds before the signal.
        grace: the seconds until the kill.
        lag: the seconds until no router sends to it any more.

    Raises:
        UsageError: there is no platform of that name, or it has no such setting.
    """
    terms = terms_of(platform)
    if pre_stop is not None and terms.pre_stop_setting is None:
        raise UsageError(f"--pre-stop: {platform} has no setting for a wait before the signal")
    changes = {"pre_stop_seconds": pre_stop, "grace_seconds": grace, "lag_seconds": lag}
    said = {name: value for name, value in changes.items() if value is not None}
    changed: Terms = msgspec.structs.replace(terms, **said)
    if changed.grace_includes_pre_stop and changed.pre_stop_seconds >= changed.grace_seconds:
        raise UsageError(
            f"--pre-stop {changed.pre_stop_seconds:g}: {platform} kills "
            f"{changed.grace_seconds:g} s after the stop begins, before the signal"
        )
    return changed


def behind_router(terms: Terms) -> Terms:
    """The same terms with a router in front that chooses a replica for each request."""
    return msgspec.structs.replace(terms, keeps_connections=False)


class Router(msgspec.Struct, frozen=True, kw_only=True):
    """A router that keeps connections to servers for the next request.

    Attributes:
        name: its name.
        idle_seconds: how long it keeps one that is idle, by default.
        setting: how that is said, with `{seconds}`.
        repeats_get: whether a GET that meets a closed connection is sent again; a POST never is.
        source: where the default can be read.
    """

    name: str
    idle_seconds: float
    setting: str
    repeats_get: bool
    source: str


ROUTERS = (
    Router(
        name="haproxy",
        idle_seconds=15.0,
        setting="pool-purge-delay {seconds}s",
        repeats_get=False,
        source="measured with 2.8: pool-purge-delay is 5 s, and takes away half of them each time",
    ),
    Router(
        name="alb",
        idle_seconds=60.0,
        setting="idle_timeout.timeout_seconds={seconds}",
        repeats_get=False,
        source="https://docs.aws.amazon.com/elasticloadbalancing/latest/application/"
        "edit-load-balancer-attributes.html",
    ),
    Router(
        name="nginx",
        idle_seconds=60.0,
        setting="keepalive_timeout {seconds}s; (in upstream)",
        repeats_get=True,
        source="https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive_timeout",
    ),
    Router(
        name="traefik",
        idle_seconds=90.0,
        setting="forwardingTimeouts.idleConnTimeout: {seconds}s",
        repeats_get=True,
        source="https://doc.traefik.io/traefik/routing/services/#forwardingtimeoutsidleconntimeout",
    ),
    Router(
        name="caddy",
        idle_seconds=120.0,
        setting="keepalive {seconds}s",
        repeats_get=True,
        source="https://caddyserver.com/docs/caddyfile/directives/reverse_proxy#keepalive",
    ),
    Router(
        name="envoy",
        idle_seconds=3600.0,
        setting="common_http_protocol_options: {{idle_timeout: {seconds}s}}",
        repeats_get=False,
        source="https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts",
    ),
)
"""Routers by their idle time, shortest first."""


def router_of(name: str) -> Router:
    """A router.

    Raises:
        UsageError: there is none of that name.
    """
    for router in ROUTERS:
        if router.name == name:
            return router
    raise UsageError(f"--behind {name}: {near(name, [router.name for router in ROUTERS])}")
