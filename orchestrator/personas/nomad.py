"""PURE: Nomad with a load balancer that is configured by a template."""

from orchestrator.personas.persona import Persona, RequestHandling, Source
from orchestrator.termination import TerminationPolicy

_NGINX_PROXY = "https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_next_upstream"
_NGINX_SERVER = "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#server"
_NGINX_KEEPALIVE = "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive"
_NOMAD_TASK = "https://developer.hashicorp.com/nomad/docs/job-specification/task"
_NOMAD_GROUP = "https://developer.hashicorp.com/nomad/docs/job-specification/group#shutdown_delay"
_NOMAD_SERVICE = "https://developer.hashicorp.com/nomad/docs/job-specification/service"
_NOMAD_CLIENT = "https://developer.hashicorp.com/nomad/docs/configuration/client#wait"

NOMAD = Persona(
    name="nomad",
    title="Nomad with a load balancer that is configured by a template",
    summary=(
        "Nomad deregisters the service and signals the task at once; the load balancer's template "
        "is rendered seconds later."
    ),
    termination=TerminationPolicy(
        order="together",
        deregistration_lag_seconds=5.0,
        registration_lag_seconds=5.0,
        pre_stop_seconds=0.0,
        grace_seconds=5.0,
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
        "order": Source(
            _NOMAD_GROUP,
            "services are deregistered first; after shutdown_delay the tasks are stopped, and "
            "nobody waits for the load balancer",
        ),
        "deregistration_lag_seconds": Source(
            _NOMAD_CLIENT,
            "wait.min is 5s: a template that lists the backends is rendered again only when they "
            "have not changed for that long",
        ),
        "registration_lag_seconds": Source(_NOMAD_CLIENT, "the same setting delays new backends"),
        "pre_stop_seconds": Source(_NOMAD_GROUP, "shutdown_delay is 0s by default"),
        "grace_seconds": Source(_NOMAD_TASK, "kill_timeout is 5s by default"),
        "grace_includes_pre_stop": Source(
            _NOMAD_TASK, "kill_timeout begins with the kill signal, after shutdown_delay"
        ),
        "registration": Source(
            _NOMAD_SERVICE,
            "a service is registered when its task has started; its checks decide afterwards",
        ),
        "close_idle": Source(
            _NOMAD_CLIENT,
            "the rendered load balancer is reloaded, and its new configuration does not use the "
            "connections of backends that it no longer has",
        ),
        "retry": Source(
            _NGINX_PROXY,
            "proxy_next_upstream is error timeout: another server gets the request, unless it is "
            "a POST that was sent",
        ),
        "passive_checks": Source(
            _NGINX_SERVER, "max_fails is 1: a server that fails once gets no requests for 10 s"
        ),
        "active_checks": Source(
            _NGINX_SERVER, "without the commercial health_check directive nobody checks a server"
        ),
        "reuse_post": Source(
            _NGINX_KEEPALIVE,
            "connections are kept by default since 1.29.7, and a POST goes on them like any "
            "other request",
        ),
    },
    limits=(
        "Nomad's default kill_signal is SIGINT, except for Docker tasks: set stop_signal of the "
        "version. The load balancer is nginx; others do less for a request. Load balancers that "
        "watch Consul have a shorter lag."
    ),
)
