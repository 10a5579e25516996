"""The knobs of a rollout; names and rounding are Kubernetes' where it has them.

What a scenario file says under `[policy]` is read into these structs as they are: the types hold
what one value may be, and what several of them may be together is checked when they are made.
Source: kubernetes.io, "Deployments": maxSurge rounds up, maxUnavailable down, not both are 0.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import msgspec

from orchestrator.errors import OrchestratorError

WHOLE = 100.0  # percent

Count = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Percentage = Annotated[float, msgspec.Meta(gt=0, le=100)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]
Command = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
# The pattern is for editors; to people `_share` says in words what is wrong.
Quantity = (
    Annotated[int, msgspec.Meta(ge=0)]
    | Annotated[str, msgspec.Meta(extra_json_schema={"pattern": "^[0-9]+%?$"})]
)
HttpPath = Annotated[str, msgspec.Meta(pattern="^/")]


class PolicyError(OrchestratorError, ValueError):
    """A policy that no rollout can follow.

    The message begins with the knob and says what would be right. As a `ValueError` it becomes part
    of what `msgspec` says of the place where it was read.
    """


HOOKED = (
    "deploy", "start", "wait_ready", "preview", "attach", "weigh", "switch", "soak", "analyse",
    "drain", "stop", "rollback", "migrate",
)  # fmt: skip
"""The verbs that a hook can run before and after."""


def _check_numbers(policy: msgspec.Struct) -> None:
    for name in policy.__struct_fields__:
        value = getattr(policy, name)
        if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
            raise PolicyError(f"{name} is {value}; it must be a number, 0 or more")


class Criteria(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a canary is judged by.

    Attributes:
        against: `stable`: it is compared with those that served before; `baseline`: with as many
            replicas of the old version, started together with it, so that both are equally fresh.
        minimum_requests: the least requests, of both sides, that a judgement rests on.
        patience_seconds: how long to wait for that many, on top of the pause before, and for a slow
            one to become as fast as the others: only who is slow in every sample of that time is
            refused.
        significance: how unlikely a difference must be by chance to count as one.
        failure_tolerance: how much higher the canary's failure rate may be; 0.01 is one percent.
        latency_tolerance: by which part its mean latency may be higher; 0.2 is a fifth.
        latency_tolerance_seconds: by how many seconds it may be higher in any case. A tenth of a
            second is what people do not notice (J. Nielsen, *Usability Engineering*, ch. 5), and
            what a replica that has just started needs on a busy machine.
        latency_effect: up to which chance a request to it may be slower than one to the others;
            at 1 latencies are not compared.
        max_failure_rate: a fixed limit; absent: none.
        max_p99_seconds: a fixed limit for its 99th percentile; absent: none.
        on_inconclusive: what too few requests lead to. `proceed` is the default, since a step is
            what brings the requests that the next judgement rests on, and a service without
            traffic must be deployable; `fail` rolls back.
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
        _check_numbers(self)


class CanaryStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of a canary: exactly one of its keys.

    Attributes:
        weight: the new version's share of the traffic from now on, in percent.
        pause: how many seconds to wait; `promoted`: until somebody promotes it.
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
    """Requests that a new set must answer with a 2xx before a blue-green switch.

    Attributes:
        paths: what is asked for.
        requests: how often each path is asked for, of each replica.
        timeout_seconds: when such a request counts as failed.
    """

    paths: Annotated[tuple[HttpPath, ...], msgspec.Meta(min_length=1)]
    requests: Count = 20
    timeout_seconds: Positive = 5.0


class Healing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How replicas that die, or fail their liveness path, are replaced.

    Attributes:
        enabled: whether they are.
        liveness_interval_seconds: how often each replica is asked for its liveness path.
        liveness_timeout_seconds: when such a question counts as failed.
        liveness_failures: how many failed ones in a row make a replica a hung one.
        backoff_seconds: the wait before a version's second replacement; it doubles each time.
        backoff_most_seconds: the longest wait.
        crash_loop: how many deaths within the window take a deployment back.
        crash_window_seconds: the window.
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
        _check_numbers(self)


class Autoscaling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many replicas serve, by the requests in flight; paused while something is deployed.

    Attributes:
        target: requests in flight that each replica should have.
        least: the fewest replicas.
        most: the most.
        tolerance: by which part a replica's requests may differ from the target without change.
        interval_seconds: how often it looks.
        scale_down_delay_seconds: how long fewer must have been wanted until there are fewer.
    """

    target: Positive
    least: Count = 1
    most: Count = 10
    tolerance: NotNegative = 0.1
    interval_seconds: Positive = 0.5
    scale_down_delay_seconds: NotNegative = 10.0

    def __post_init__(self) -> None:
        _check_numbers(self)
        if not (self.target > 0 and 1 <= self.least <= self.most):
            raise PolicyError(
                "target must be above 0, and 1 <= least <= most; "
                f"they are {self.target:g}, {self.least} and {self.most}"
            )


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How versions are deployed; names and rounding as in Kubernetes.

    Attributes:
        replicas: how many replicas serve.
        max_surge: how many more may run during a rolling update; a number, or a share such as
            `25%`, rounded up.
        max_unavailable: how many fewer may serve meanwhile; a share is rounded down.
        min_ready_seconds: how long a new replica must serve well before it counts as available.
        progress_deadline_seconds: how long new replicas may take until they are ready.
        drain_timeout_seconds: how long a replica may finish what it has in flight.
        preview: what a new set must answer before a blue-green switch; absent: only the checks.
        auto_promotion: whether blue-green switches by itself; if not, when somebody promotes it.
        auto_promotion_seconds: how long the new set waits for a promotion until it switches itself.
        scale_down_delay_seconds: how long the old set stands by after a blue-green switch.
        canary_steps: what a canary goes through, in order. A number is short for a weight, a pause
            of `canary_soak_seconds`, and an analysis. Weights rise, and the last one is 100.
        canary_soak_seconds: how long each such step lasts before it is judged.
        analysis: what a canary is judged by.
        hooks: commands by when they run: `before_` or `after_` and a verb, such as
            `before_switch`, `after_deploy`. One that fails fails the step that it belongs to.
        hook_timeout_seconds: how long one may take.
        healing: how replicas that die are replaced.
        autoscaling: how many replicas serve; absent: as many as `replicas` says.
    """

    replicas: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
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

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise PolicyError(f"replicas is {self.replicas}; it must be at least 1")
        _check_numbers(self)
        if self.surge + self.unavailable == 0:
            raise PolicyError(
                f"max_surge {self.max_surge} and max_unavailable {self.max_unavailable} of "
                f"{self.replicas} replicas are both 0: no replica could ever be replaced"
            )
        _check_steps(self.canary_steps)
        for name, command in self.hooks.items():
            when, _, verb = name.partition("_")
            if when not in ("before", "after") or verb not in HOOKED or not command:
                raise PolicyError(
                    f"hooks.{name}: expected a command for before_ or after_ one of "
                    f"{', '.join(HOOKED)}"
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
        """The canary's steps, with each number spelled out."""
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
            "their weights must rise from above 0 to 100"
        )
    first = steps[0]
    if isinstance(first, CanaryStep) and first.weight is None:
        raise PolicyError("canary_steps begin with a pause or an analysis; first comes a weight")


def _share(name: str, value: int | str, replicas: int, rounding: Callable[[float], int]) -> int:
    text = str(value)
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit()):
        raise PolicyError(f"{name} is {value!r}; it must be a number, or a share such as '25%'")
    return rounding(int(number) * replicas / 100) if text.endswith("%") else int(number)
