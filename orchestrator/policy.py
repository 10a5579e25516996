"""The policy of a rollout: its settings, with Kubernetes' names and rounding where it has them.

The table `[policy]` of a scenario file is read directly into these structs. Their types say which
values one setting can have; which settings fit together is checked when a struct is made.
Source: kubernetes.io, "Deployments": maxSurge rounds up, maxUnavailable down, not both are 0.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import msgspec

from orchestrator.personas import PersonaName
from orchestrator.termination import DRAIN_FIRST, TerminationPolicy
from orchestrator.values import (
    PATH_PATTERN,
    Command,
    Count,
    HttpPath,
    NotNegative,
    Percentage,
    PolicyError,
    Positive,
    Quantity,
    Rate,
    check_numbers,
)

__all__ = [
    "HOOKED",
    "PATH_PATTERN",
    "WHOLE",
    "Autoscaling",
    "CanaryStep",
    "Command",
    "Count",
    "Criteria",
    "Healing",
    "HttpPath",
    "NotNegative",
    "Policy",
    "PolicyError",
    "Positive",
    "Preview",
    "Quantity",
    "TerminationPolicy",
]

WHOLE = 100.0  # percent

HOOKED = (
    "deploy", "start", "wait_ready", "preview", "attach", "weigh", "switch", "soak", "analyse",
    "drain", "stop", "rollback", "migrate",
)  # fmt: skip
"""The verbs that hooks can run before and after."""


class Criteria(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a canary is judged.

    Attributes:
        against: `stable`: compare it with the replicas that served before; `baseline`: compare it
            with as many new replicas of the old version, so that both groups have just started.
        minimum_requests: the fewest requests to each group that allow a judgement.
        patience_seconds: how long to wait for that many requests, after the step's pause, and for a
            slow canary to become as fast as the others. A canary fails for its latency only if it
            is slow in every sample of that time.
        significance: a difference counts when chance alone has at most this probability.
        failure_tolerance: how much higher the canary's failure rate may be; 0.01 is one percent.
        latency_tolerance: by which fraction its mean latency may be higher; 0.2 is a fifth.
        latency_tolerance_seconds: by how many seconds its mean latency may be higher in any case.
            People do not notice a tenth of a second (J. Nielsen, *Usability Engineering*, ch. 5),
            and a replica that has just started can need it on a busy machine.
        latency_effect: the highest allowed probability that a request to the canary is slower than
            a request to the others; with 1, latencies are not compared.
        max_failure_rate: a fixed limit of its failure rate; absent: none.
        max_p99_seconds: a fixed limit of its 99th percentile; absent: none.
        on_inconclusive: what happens after too few requests. `proceed` is the default, because the
            next step brings the requests for the next judgement, and a service without traffic
            must be deployable; `fail` rolls back.
    """

    against: Literal["stable", "baseline"] = "stable"
    minimum_requests: Count = 50
    patience_seconds: NotNegative = 5.0
    significance: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.01
    failure_tolerance: Rate = 0.01
    latency_tolerance: NotNegative = 0.2
    latency_tolerance_seconds: NotNegative = 0.1
    latency_effect: Annotated[float, msgspec.Meta(ge=0.5, le=1)] = 0.6
    max_failure_rate: Rate | None = None
    max_p99_seconds: Positive | None = None
    on_inconclusive: Literal["proceed", "fail"] = "proceed"

    def __post_init__(self) -> None:
        check_numbers(self)


class CanaryStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of a canary; it has exactly one of these keys.

    Attributes:
        weight: the new version's share of the traffic from now on, in percent.
        pause: how many seconds to wait; `promoted`: wait until somebody promotes the canary.
        analysis: judge the new version by its requests since the last `weight`.
    """

    weight: Percentage | None = None
    pause: NotNegative | Literal["promoted"] | None = None
    analysis: bool = False

    def __post_init__(self) -> None:
        given = (self.weight is not None) + (self.pause is not None) + self.analysis
        if given != 1:
            raise PolicyError(
                "a step of canary_steps needs exactly one of weight, pause, and analysis = true"
            )


class Preview(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests that the new replicas must answer with a 2xx before a blue-green switch.

    Attributes:
        paths: the requested paths.
        requests: how often each path is requested from each replica.
        timeout_seconds: after how long such a request counts as failed.
    """

    paths: Annotated[tuple[HttpPath, ...], msgspec.Meta(min_length=1)]
    requests: Count = 20
    timeout_seconds: Positive = 5.0


class Healing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How replicas that die or fail their liveness probes are replaced.

    Attributes:
        enabled: whether they are replaced.
        liveness_interval_seconds: the time between two liveness probes of a replica.
        liveness_timeout_seconds: after how long a liveness probe counts as failed.
        liveness_failures: after how many failed probes in a row a replica is replaced.
        backoff_seconds: the wait before a version's second replacement; it doubles each time.
        backoff_most_seconds: the longest wait.
        crash_loop: how many deaths within the window roll a deployment back.
        crash_window_seconds: the length of the window.
    """

    enabled: bool = True
    liveness_interval_seconds: Positive = 0.5
    liveness_timeout_seconds: Positive = 2.0
    liveness_failures: Count = 3
    backoff_seconds: NotNegative = 0.5
    backoff_most_seconds: NotNegative = 30.0
    crash_loop: Count = 5
    crash_window_seconds: Positive = 60.0

    def __post_init__(self) -> None:
        check_numbers(self)


class Autoscaling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many replicas serve, by the requests in flight; paused during a deployment.

    Attributes:
        target: the requests in flight that each replica should have.
        least: the smallest number of replicas.
        most: the largest number of replicas.
        tolerance: nothing changes while the requests per replica differ from the target by at most
            this fraction.
        interval_seconds: the time between two looks at the requests in flight.
        scale_down_delay_seconds: how long the load must be lower before replicas are stopped.
    """

    target: Positive
    least: Count = 1
    most: Count = 10
    tolerance: NotNegative = 0.1
    interval_seconds: Positive = 0.5
    scale_down_delay_seconds: NotNegative = 10.0

    def __post_init__(self) -> None:
        check_numbers(self)
        if not (self.target > 0 and 1 <= self.least <= self.most):
            raise PolicyError(
                "target must be above 0, and 1 <= least <= most; "
                f"they are {self.target:g}, {self.least} and {self.most}",
                "target",
            )


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How versions are deployed; names and rounding as in Kubernetes.

    Attributes:
        replicas: how many replicas serve: at most 1,000, and more only in a simulated run.
        start_in_turn: whether the replicas of the first version start one after the other, each
            once the one before is ready. This is for applications that initialise their database
            when they start, and must not do so twice at the same time.
        max_surge: how many additional replicas may run during a rolling update; a number, or a
            percentage such as `25%`, rounded up.
        max_unavailable: how many fewer replicas may serve meanwhile; a percentage is rounded down.
        min_ready_seconds: how long a new replica must serve well before it counts as available.
        progress_deadline_seconds: how long new replicas may take until they are ready.
        drain_timeout_seconds: how long a draining replica may take to finish its requests.
        preview: requests that the new replicas must answer before a blue-green switch; absent: only
            the readiness checks.
        auto_promotion: whether blue-green switches without a promotion by a person.
        auto_promotion_seconds: how long blue-green waits for a promotion before it switches anyway.
        scale_down_delay_seconds: how long the old replicas stand by after a blue-green switch.
        canary_steps: the steps of a canary, in order. A number is short for a weight, a pause of
            `canary_soak_seconds`, and an analysis. The weights rise, and the last one is 100.
        canary_soak_seconds: how long each such step lasts before it is judged.
        analysis: how a canary is judged.
        hooks: commands, by the time when they run: `before_` or `after_` and a verb, such as
            `before_switch` or `after_deploy`. A hook that fails fails its verb. `docs/concepts.md`
            has the verbs, and the variables that a hook gets.
        hook_timeout_seconds: how long a hook may take.
        healing: how replicas that die are replaced.
        autoscaling: how many replicas serve; absent: as many as `replicas` says.
        persona: the platform whose defaults `termination` starts from: see `docs/personas.md`. Keys
            of `termination` replace single values of it. Absent: the default of each key.
        termination: how replicas are started and stopped: the order of the steps, and their delays.
    """

    replicas: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 3
    start_in_turn: bool = False
    max_surge: Quantity = 1
    max_unavailable: Quantity = 0
    min_ready_seconds: NotNegative = 0.5
    progress_deadline_seconds: Positive = 30.0
    drain_timeout_seconds: NotNegative = 30.0
    preview: Preview | None = None
    auto_promotion: bool = True
    auto_promotion_seconds: NotNegative = 0.0
    scale_down_delay_seconds: NotNegative = 0.0
    canary_steps: Annotated[tuple[float | CanaryStep, ...], msgspec.Meta(min_length=1)] = (
        *(5, 25, 50, 100),
    )
    canary_soak_seconds: NotNegative = 1.0
    analysis: Criteria = Criteria()
    hooks: Mapping[str, Command] = msgspec.field(default_factory=dict)
    hook_timeout_seconds: Positive = 30.0
    healing: Healing = Healing()
    autoscaling: Autoscaling | None = None
    persona: PersonaName | None = None
    termination: TerminationPolicy = DRAIN_FIRST

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise PolicyError(f"replicas is {self.replicas}; it must be at least 1", "replicas")
        check_numbers(self)
        if self.surge + self.unavailable == 0:
            raise PolicyError(
                f"max_surge {self.max_surge} and max_unavailable {self.max_unavailable} of "
                f"{self.replicas} replicas are both 0: no replica could ever be replaced",
                "max_surge",
            )
        _check_steps(self.canary_steps)
        for name, command in self.hooks.items():
            when, _, verb = name.partition("_")
            if when not in ("before", "after") or verb not in HOOKED or not command:
                raise PolicyError(
                    f"hooks.{name}: expected a command for before_ or after_ one of "
                    f"{', '.join(HOOKED)}",
                    "hooks",
                    name,
                )

    @property
    def surge(self) -> int:
        """`max_surge` as a number of replicas."""
        return _share("max_surge", self.max_surge, self.replicas, math.ceil)

    @property
    def unavailable(self) -> int:
        """`max_unavailable` as a number of replicas, at most all of them."""
        wanted = _share("max_unavailable", self.max_unavailable, self.replicas, math.floor)
        return min(wanted, self.replicas)

    @property
    def canary_plan(self) -> tuple[CanaryStep, ...]:
        """The canary's steps, with each number expanded into its three steps."""
        plan: list[CanaryStep] = []
        for step in self.canary_steps:
            if isinstance(step, CanaryStep):
                plan.append(step)
            else:
                pause = CanaryStep(pause=self.canary_soak_seconds)
                plan += [CanaryStep(weight=step), pause, CanaryStep(analysis=True)]
        return tuple(plan)


def _check_steps(steps: tuple[float | CanaryStep, ...]) -> None:
    weights = [
        weight
        for step in steps
        if (weight := step.weight if isinstance(step, CanaryStep) else step) is not None
    ]
    rising = sorted(set(weights)) == weights
    if not weights or weights[-1] != WHOLE or not rising or weights[0] <= 0:
        raise PolicyError(
            f"canary_steps are {', '.join(f'{weight:g}' for weight in weights) or 'empty'}; "
            "their weights must rise from above 0 to 100",
            "canary_steps",
        )
    first = steps[0]
    if isinstance(first, CanaryStep) and first.weight is None:
        raise PolicyError(
            "canary_steps must begin with a weight, not a pause or an analysis", "canary_steps"
        )


def _share(name: str, value: int | str, replicas: int, rounding: Callable[[float], int]) -> int:
    text = str(value)
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit()):
        raise PolicyError(
            f"{name} is {value!r}; it must be a number or a percentage such as '25%'", name
        )
    return rounding(int(number) * replicas / 100) if text.endswith("%") else int(number)
