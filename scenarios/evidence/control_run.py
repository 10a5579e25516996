"""What the control run of a release was: the first version deployed again, under the same traffic.

It is a part of `run.json`, because the release is judged by it.
"""

from typing import Literal

import msgspec

Role = Literal["release", "control"]


class FailureKind(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One kind of failure; failures of one kind are the same for the comparison of two runs.

    Attributes:
        cause: the cause that the evidence of one request gives, such as `sqlstate:40001`. It is the
            cause before any comparison with other requests of the same run.
        kind: the kind of that cause, as in the verdict.
        result: what the client got: the status, or the transport error; `slow` for a request that
            succeeded but took longer than the latency objective.
        journey: the user story.
        step: the step of that journey; the first is 1.
    """

    cause: str
    kind: str
    result: str
    journey: str
    step: int


class KindCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests failed in one way."""

    what: FailureKind
    count: int


class StepSent(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests of one step of a journey were sent."""

    journey: str
    step: int
    sent: int


class ControlRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a release is compared with.

    Attributes:
        folder: the folder of the control run.
        requests: how many requests it sent.
        failed: how many of them failed.
        sent: its requests by step.
        failures: its failed and slow requests by kind; without those of the load generator and of
            a starved machine.
        unusable: why it cannot be compared with, as sentences; empty if it can.
        broken: what else was not as it should be in it, as sentences: data, replicas that did not
            stop when they were asked.
    """

    folder: str
    requests: int
    failed: int
    sent: tuple[StepSent, ...]
    failures: tuple[KindCount, ...]
    unusable: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
