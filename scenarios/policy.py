"""What a scenario says about how versions are deployed; the orchestrator checks what types cannot.

The fields and defaults are those of `orchestrator.policy`, which documents what each of them does.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Percentage = Annotated[float, msgspec.Meta(gt=0, le=100)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]
Command = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
Quantity = Annotated[int, msgspec.Meta(ge=0)] | Annotated[str, msgspec.Meta(pattern=r"^[0-9]+%?$")]


class CriteriaSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a canary is judged by.

    Attributes:
        against: `stable`: what serves already; `baseline`: as many fresh replicas of the old
            version as the canary has.
        minimum_requests: the least requests, of both sides, that a judgement rests on.
        patience_seconds: how long to wait for that many.
        significance: how unlikely a difference must be by chance to count as one.
        failure_tolerance: how much higher the canary's failure rate may be; 0.01 is one percent.
        latency_tolerance: by which part its mean latency may be higher; 0.2 is a fifth.
        latency_tolerance_seconds: by how many seconds it may be higher in any case. A tenth of a
            second is what people do not notice, and what a new replica needs on a busy machine.
        latency_effect: up to which chance a request to it may be slower than one to the others.
        max_failure_rate: a fixed limit; absent: none.
        max_p99_seconds: a fixed limit for its 99th percentile; absent: none.
        on_inconclusive: what too few requests lead to: `proceed`, or `fail`, which rolls back.
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


class CanaryStepSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of a canary: exactly one of its keys.

    Attributes:
        weight: the new version's share of the traffic from now on, in percent.
        pause: how many seconds to wait; `promoted`: until `hitless ctl RUN promote`.
        analysis: judge the new version by its requests since the last `weight`.
    """

    weight: Percentage | None = None
    pause: NotNegative | Literal["promoted"] | None = None
    analysis: bool = False


class PreviewSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests that a new set must answer with a 2xx before a blue-green switch.

    Attributes:
        paths: what is asked for.
        requests: how often each path is asked for, of each replica.
        timeout_seconds: when such a request counts as failed.
    """

    paths: Command
    requests: Count = 20
    timeout_seconds: Positive = 5.0


class HealingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class AutoscalingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class PolicySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How versions are deployed; names and rounding as in Kubernetes.

    Attributes:
        replicas: how many serve.
        max_surge: how many more may run during a rolling update; a number, or a share such as
            `25%`, rounded up.
        max_unavailable: how many fewer may serve meanwhile; a share is rounded down.
        min_ready_seconds: how long a new replica must serve before the next step.
        progress_deadline_seconds: how long a new replica may take until it is ready.
        drain_timeout_seconds: how long a replica's requests in flight are waited for.
        preview: what a new set must answer before a blue-green switch.
        auto_promotion: whether a blue-green switch happens by itself, or at `hitless ctl RUN
            promote`.
        auto_promotion_seconds: how long a blue-green switch waits for that until it happens.
        scale_down_delay_seconds: how long the old set stands by after a blue-green switch.
        canary_steps: what a canary goes through. A number is short for a weight, a pause of
            `canary_soak_seconds`, and an analysis.
        canary_soak_seconds: how long each such step is watched before it is judged.
        analysis: what a canary is judged by.
        hooks: commands by when they run: `before_` or `after_` and a verb, such as
            `before_switch`; one that fails fails the step that it belongs to.
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
    preview: PreviewSpec | None = None
    auto_promotion: bool = True
    auto_promotion_seconds: NotNegative = 0.0
    scale_down_delay_seconds: NotNegative = 0.0
    canary_steps: Annotated[tuple[float | CanaryStepSpec, ...], msgspec.Meta(min_length=1)] = (
        *(5, 25, 50, 100),
    )
    canary_soak_seconds: NotNegative = 1.0
    analysis: CriteriaSpec = CriteriaSpec()
    hooks: Mapping[str, Command] = msgspec.field(default_factory=dict)
    hook_timeout_seconds: Positive = 30.0
    healing: HealingSpec = HealingSpec()
    autoscaling: AutoscalingSpec | None = None
