"""PURE: Amazon ECS behind an Application Load Balancer."""

from orchestrator.personas.persona import Persona, RequestHandling, Source
from orchestrator.termination import TerminationPolicy

_ALB_502 = (
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/"
    "load-balancer-troubleshooting.html#http-502-issues"
)
_ALB_CHECKS = (
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/"
    "target-group-health-checks.html"
)
_ECS_UPDATE = (
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/update-service-console-v2.html"
)
_ECS_LIFE = (
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html"
)
_ECS_TASK = (
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html"
)
_ALB = (
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/"
    "edit-target-group-attributes.html#deregistration-delay"
)

ECS = Persona(
    name="ecs",
    title="Amazon ECS behind an Application Load Balancer",
    summary=(
        "A service update removes the task from the load balancer, waits for its connections to "
        "drain, and only then stops it."
    ),
    termination=TerminationPolicy(
        order="drain-first",
        deregistration_lag_seconds=0.0,
        registration_lag_seconds=0.0,
        pre_stop_seconds=0.0,
        grace_seconds=30.0,
        grace_includes_pre_stop=False,
        registration="when-started",
        close_idle=True,
    ),
    handling=RequestHandling(
        retry=False,
        passive_checks=False,
        active_checks=True,
        reuse_post=True,
    ),
    sources={
        "order": Source(
            _ECS_UPDATE,
            "an update removes a task from the load balancer, waits for its connections to drain, "
            "and then sends the stop signal",
        ),
        "deregistration_lag_seconds": Source(
            _ALB, "a target that is being deregistered gets no new requests from then on"
        ),
        "registration_lag_seconds": Source(
            _ECS_LIFE, "the task is registered in ACTIVATING, before it is RUNNING"
        ),
        "pre_stop_seconds": Source(
            _ECS_LIFE, "STOPPING begins with the stop signal; there is no hook before it"
        ),
        "grace_seconds": Source(_ECS_TASK, "stopTimeout is 30 s by default"),
        "grace_includes_pre_stop": Source(_ECS_LIFE, "stopTimeout begins with the stop signal"),
        "registration": Source(
            _ECS_LIFE,
            "a task is registered with its target group when its containers run; the load "
            "balancer's health checks then decide",
        ),
        "close_idle": Source(
            _ALB,
            "a target that is being deregistered gets no new requests, on idle connections neither",
        ),
        "retry": Source(
            _ALB_502, "a target that refuses or closes the connection gives the client a 502"
        ),
        "passive_checks": Source(_ALB_CHECKS, "health checks decide which targets get requests"),
        "active_checks": Source(
            _ALB_CHECKS, "each load balancer node checks each target, every 30 s by default"
        ),
        "reuse_post": Source(
            _ALB_502,
            "a target whose keep-alive timeout is shorter than the load balancer's idle timeout "
            "closes connections with requests under way",
        ),
    },
    limits=(
        "stop-task, Fargate Spot interruptions and services that are found through Cloud Map do "
        'not drain first: use order = "together" for them '
        "(https://github.com/aws/containers-roadmap/issues/576). The deregistration delay of the "
        "load balancer, 300 s by default, is policy.drain_timeout_seconds here. The times of the "
        "health checks are those of [balancer], which are shorter than the load balancer's."
    ),
)
