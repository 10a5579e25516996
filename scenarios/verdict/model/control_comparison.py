"""How a release compares with its control run."""

import msgspec


class ControlRow(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of failure in both runs.

    Attributes:
        cause: the cause of these requests, before any comparison with other requests of the run.
        title: the same for people.
        result: the status, or the transport error; `slow` for slow requests.
        journey: the user story.
        step: the step of that journey.
        endpoint: what that step asked for; one of several.
        control_failed: how many of the control run's requests failed so.
        control_requests: how many requests of that step the control run sent.
        failed: how many requests of this run failed so.
        requests: how many requests of that step this run sent.
        chance: the p-value of Fisher's exact test, one-sided: how likely so many failures of this
            run are, if both runs fail equally often.
        own: how many of `failed` are the release's own.
        every_deployment: whether the cause is that a replica was taken away from requests. The
            control run cannot excuse that: it is a deployment as well.
    """

    cause: str
    title: str
    result: str
    journey: str
    step: int
    endpoint: str
    control_failed: int
    control_requests: int
    failed: int
    requests: int
    chance: float
    own: int
    every_deployment: bool = False


class ControlComparison(msgspec.Struct, frozen=True, kw_only=True):
    """How a release compares with the deployment of the first version again.

    Attributes:
        folder: the folder of the control run.
        requests: how many requests the control run sent.
        failed: how many of them failed.
        unusable: why the control run cannot be compared with; then all numbers below are 0.
        also: failed requests of this run that the control run had as often.
        own: failed requests of this run that it did not have, or not as often: the release's own.
        every_deployment: those of `also` that count all the same, because every deployment with
            this strategy loses such requests.
        rows: the kinds of failures of this run, in both runs; those with most own failures first.
        slow_rows: the same for slow requests.
        broken: what else was not as it should be in the control run, as sentences.
    """

    folder: str
    requests: int
    failed: int
    unusable: tuple[str, ...] = ()
    also: int = 0
    own: int = 0
    every_deployment: int = 0
    rows: tuple[ControlRow, ...] = ()
    slow_rows: tuple[ControlRow, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the release was compared with it."""
        return not self.unusable
