"""PURE: systemd units behind a proxy with a fixed list of servers."""

from orchestrator.personas.persona import Persona, RequestHandling, Source
from orchestrator.termination import TerminationPolicy

_NGINX_PROXY = "https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_next_upstream"
_NGINX_KEEPALIVE = "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive"
_SYSTEMD_SERVICE = "https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html"
_SYSTEMD_KILL = "https://www.freedesktop.org/software/systemd/man/latest/systemd.kill.html"
_NGINX = "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#server"

SYSTEMD = Persona(
    name="systemd",
    title="systemd units behind a proxy with a fixed list of servers",
    summary="systemd stops the unit; nobody tells the proxy, whose own checks must notice it.",
    termination=TerminationPolicy(
        order="checks-only",
        deregistration_lag_seconds=0.0,
        registration_lag_seconds=0.0,
        pre_stop_seconds=0.0,
        grace_seconds=90.0,
        grace_includes_pre_stop=False,
        registration="when-started",
        close_idle=True,
    ),
    handling=RequestHandling(
        retry=True,
        passive_checks=True,
        active_checks=False,
        reuse_post=True,
    ),
    sources={
        "order": Source(_NGINX, "the servers of an upstream are a fixed list in a file"),
        "deregistration_lag_seconds": Source(_NGINX, "nobody changes the list during a restart"),
        "registration_lag_seconds": Source(_NGINX, "nobody changes the list during a restart"),
        "pre_stop_seconds": Source(
            _SYSTEMD_SERVICE, "without ExecStop= the unit gets its kill signal at once"
        ),
        "grace_seconds": Source(
            _SYSTEMD_SERVICE, "TimeoutStopSec= is DefaultTimeoutStopSec=, which is 90 s"
        ),
        "grace_includes_pre_stop": Source(
            _SYSTEMD_SERVICE, "TimeoutStopSec= applies to each ExecStop= command and to the stop"
        ),
        "registration": Source(
            _SYSTEMD_SERVICE, "a unit with Type=simple is started as soon as its process is forked"
        ),
        "close_idle": Source(_NGINX, "nobody tells the proxy, so it closes nothing"),
        "retry": Source(
            _NGINX_PROXY,
            "proxy_next_upstream is error timeout: another server gets the request, unless it is "
            "a POST that was sent",
        ),
        "passive_checks": Source(
            _NGINX, "max_fails is 1: a server that fails once gets no requests for 10 s"
        ),
        "active_checks": Source(
            _NGINX, "without the commercial health_check directive nobody checks a server"
        ),
        "reuse_post": Source(
            _NGINX_KEEPALIVE,
            "connections are kept by default since 1.29.7, and a POST goes on them like any "
            "other request",
        ),
    },
    limits=(
        "systemd signals all processes of a unit (KillMode=control-group, "
        f"{_SYSTEMD_KILL}): set signal_group of the version."
    ),
)
