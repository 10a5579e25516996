"""Repeat a run with only the suspected mechanism changed: do the failures disappear?

A cause that comes from joining evidence is an inference. An experiment tests it: the same seed,
traffic and release without the suspected mechanism.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import msgspec

from orchestrator.policy import Policy
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.spec import DatabaseSpec, Scenario
from scenarios.verdict import Verdict
from scenarios.verdict.causes import drain, undrained
from scenarios.verdict.model import Advice, Cause

LOCK_TIMEOUT_SECONDS = 0.1
ADVICE_MARGIN_SECONDS = 0.5
"""How much longer than advised a preStop or drain of a second run is: no two runs are alike."""
_NOT_THE_RELEASE = frozenset({"harness", "machine"})
_SCHEMA = frozenset({"statement", "lock"})
"""Kinds of causes that another plan of migrations may take away."""
_GONE_TOO_EARLY = frozenset(
    {"no_backend", undrained.CAUSE, "lifecycle:stopped", "lifecycle:not_ready"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """The run that tests a suspected cause.

    Attributes:
        cause: the suspected cause.
        changed: the mechanism that is changed, in words.
        experiment: the run with the changed mechanism.
        by_giving_way: whether the change only has an effect if a migration gives up waiting for a
            lock.
    """

    cause: str
    changed: str
    experiment: Experiment
    by_giving_way: bool = False


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a counterfactual run.

    Attributes:
        cause: the suspected cause.
        changed: the mechanism that was changed.
        before: how many requests had the cause in the first run.
        after: how many requests had the cause in the run with the change.
        confirmed: whether no request had the cause any more, although the run could have shown one.
        effective: whether the change had an effect; if not, the runs say nothing about the cause.
    """

    cause: str
    changed: str
    before: int
    after: int
    confirmed: bool
    effective: bool = True

    @property
    def sentence(self) -> str:
        """The result as a sentence."""
        if not self.effective:
            return (
                f"the cause {self.cause} is not tested: {self.changed} changed nothing, "
                "because no migration gave up waiting for a lock"
            )
        said = f"with {self.changed}, {self.after:,} requests had the cause {self.cause}"
        word = "confirmed" if self.confirmed else "not confirmed"
        return f"{word}: {said}; before, {self.before:,}"


def experiments(
    experiment: Experiment, verdict: Verdict, safer: Callable[[str], Experiment]
) -> Iterator[tuple[Cause, Counterfactual | None]]:
    """Each cause of this verdict, the main one first, with the run that tests it.

    None instead of a run where there is no experiment for the cause, or where the experiment would
    change nothing.

    Args:
        experiment: what was run.
        verdict: what came of it.
        safer: makes the same experiment with another scenario, by its name.
    """
    seen = set()
    for cause in (*verdict.causes, *verdict.slow_causes):
        if cause.cause in seen or cause.kind in _NOT_THE_RELEASE:
            continue
        seen.add(cause.cause)
        found = _experiment(experiment, cause, verdict, safer)
        if found is not None and _same(found.experiment, experiment):
            found = None
        yield cause, found


def counterfactual(
    experiment: Experiment, verdict: Verdict, safer: Callable[[str], Experiment]
) -> Counterfactual | None:
    """The run that tests the first cause of this verdict for which there is an experiment."""
    return next(
        (found for _, found in experiments(experiment, verdict, safer) if found is not None), None
    )


def _experiment(
    experiment: Experiment, cause: Cause, verdict: Verdict, safer: Callable[[str], Experiment]
) -> Counterfactual | None:
    scenario = experiment.scenario
    if scenario.faults and cause.evidence.faults:
        return Counterfactual(
            cause=cause.cause,
            changed="no fault",
            experiment=_with(experiment, msgspec.structs.replace(scenario, faults=())),
        )
    return (
        _strategy(experiment, cause)
        or _advised(experiment, cause, verdict)
        or _drain(experiment, cause)
        or _plan(experiment, cause, safer)
    )


def _advised(experiment: Experiment, cause: Cause, verdict: Verdict) -> Counterfactual | None:
    """The run with everything that the verdict advises for the requests of this cause."""
    policy, changes = experiment.scenario.policy, []
    for advice in verdict.advice:
        if advice.cause == cause.cause:
            policy, changed = _followed(policy, advice)
            changes += [changed] if changed and changed not in changes else []
    if not changes:
        return None
    scenario = msgspec.structs.replace(experiment.scenario, policy=policy)
    return Counterfactual(
        cause=cause.cause,
        changed=" and ".join(changes),
        experiment=_with(experiment, scenario),
    )


def _followed(policy: Policy, advice: Advice) -> tuple[Policy, str]:
    """The policy that follows an advice, and the change in words; none where no number is known."""
    replace = msgspec.structs.replace
    value, changed = advice.value, ""
    changes: dict[str, object] = {}
    match advice.setting:
        case undrained.PRE_STOP if value is not None:
            seconds = round(value + ADVICE_MARGIN_SECONDS, 1)
            changes, changed = {"pre_stop_seconds": seconds}, _more("preStop of", value, seconds)
        case undrained.LAG if value is not None:
            changes, changed = {"deregistration_lag_seconds": value}, f"a lag of {value:g} s"
        case undrained.CLOSE_IDLE:
            changes, changed = {"close_idle": True}, "close_idle = true"
        case undrained.ORDER | undrained.SERVER:
            changes, changed = {"order": "drain-first"}, 'order = "drain-first"'
        case drain.DRAIN if value is not None:
            seconds = round(value + ADVICE_MARGIN_SECONDS, 1)
            said = _more("drain of up to", value, seconds)
            return replace(policy, drain_timeout_seconds=seconds), said
        case _:
            pass
    return replace(policy, termination=replace(policy.termination, **changes)), changed


def _more(what: str, value: float, seconds: float) -> str:
    return f"a {what} {seconds:g} s (advised {value:g} s and {ADVICE_MARGIN_SECONDS:g} s more)"


def _same(one: Experiment, other: Experiment) -> bool:
    """Whether both are run alike, whatever they are called."""
    named = msgspec.structs.replace(one.scenario, name=other.scenario.name)
    return one.strategy == other.strategy and named == other.scenario


def tried(found: Counterfactual, before: Verdict, after: Verdict) -> Tried:
    """Compare the two runs."""
    left = _count(after, found.cause)
    # A lock timeout by which no migration ever gave way has changed nothing.
    effective = not found.by_giving_way or after.locks.gave_way > 0
    return Tried(
        cause=found.cause,
        changed=found.changed,
        before=_count(before, found.cause),
        after=left,
        confirmed=effective and left == 0 and after.verdict != "invalid",
        effective=effective,
    )


def _count(verdict: Verdict, cause: str) -> int:
    return sum(one.count for one in (*verdict.causes, *verdict.slow_causes) if one.cause == cause)


def _strategy(experiment: Experiment, cause: Cause) -> Counterfactual | None:
    if experiment.strategy == "naive" and cause.cause in _GONE_TOO_EARLY:
        better = "rolling"
    elif cause.kind == "mixed_fleet":
        better = "blue-green"
    else:
        return None
    return Counterfactual(
        cause=cause.cause,
        changed=f"the strategy {better}",
        experiment=replace(experiment, strategy=better),
    )


def _drain(experiment: Experiment, cause: Cause) -> Counterfactual | None:
    if cause.cause != drain.CAUSE:
        return None
    scenario = experiment.scenario
    seconds = max(10 * scenario.policy.drain_timeout_seconds, scenario.traffic.timeout_seconds)
    policy = msgspec.structs.replace(scenario.policy, drain_timeout_seconds=seconds)
    return Counterfactual(
        cause=cause.cause,
        changed=f"a drain of up to {seconds:g} s",
        experiment=_with(experiment, msgspec.structs.replace(scenario, policy=policy)),
    )


def _plan(
    experiment: Experiment, cause: Cause, safer: Callable[[str], Experiment]
) -> Counterfactual | None:
    if cause.kind not in _SCHEMA:
        return None
    scenario = experiment.scenario
    if scenario.safer is not None:
        other = safer(scenario.safer)
        # The plan alone: rows, traffic, policy and objectives stay as they were.
        same = msgspec.structs.replace(
            scenario,
            name=other.scenario.name,
            release=other.scenario.release,
            expect=other.scenario.expect,
        )
        return Counterfactual(
            cause=cause.cause,
            changed=f"the plan {scenario.safer}",
            experiment=_with(other, same),
        )
    database = scenario.database or DatabaseSpec()
    if cause.cause != "lock_wait" or database.lock_timeout_seconds is not None:
        return None
    patient = msgspec.structs.replace(database, lock_timeout_seconds=LOCK_TIMEOUT_SECONDS)
    return Counterfactual(
        cause=cause.cause,
        changed=f"a lock_timeout of {LOCK_TIMEOUT_SECONDS:g} s for migrations",
        by_giving_way=True,
        experiment=_with(experiment, msgspec.structs.replace(scenario, database=patient)),
    )


def _with(experiment: Experiment, scenario: Scenario) -> Experiment:
    return replace(experiment, loaded=replace(experiment.loaded, scenario=scenario))
