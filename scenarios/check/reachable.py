"""Every state that a release can reach: a schema, the versions that live on it, and the path there.

A state is reached *forward* when all goes as planned, on a way *back* after an abort or a rollback,
or by a *fault* of the migrator. The strategy says which versions serve at the same time.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from scenarios.check.release_plan import (
    Apply,
    Deployment,
    PlannedChange,
    ReleasePlan,
    SchemaChange,
    TakeBack,
)

Way: TypeAlias = Literal["forward", "back", "fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaState:
    """What was done to the schema, in order.

    Attributes:
        applied: the changes that are in force.
        half: the change of which only some statements took effect; None if there is none.
        statements: how many of its statements did.
        unrecorded: whether the last change took effect and is missing from the tool's history.
    """

    applied: tuple[str, ...] = ()
    half: str | None = None
    statements: int = 0
    unrecorded: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """What a version can see of it: the history of the tool is none of its tables."""
        if self.half is None:
            return self.applied
        first = "statement" if self.statements == 1 else f"{self.statements} statements"
        return (*self.applied, f"{self.half} (only its first {first})")

    def with_change(self, name: str) -> "SchemaState":
        """The schema after a change."""
        return SchemaState(applied=(*self.applied, name))

    def with_half(self, name: str, statements: int) -> "SchemaState":
        """The schema after a change that died after so many of its statements."""
        return SchemaState(applied=self.applied, half=name, statements=statements)

    def without(self, name: str) -> "SchemaState":
        """The schema after a change was taken back."""
        return SchemaState(applied=tuple(one for one in self.applied if one != name))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseState:
    """A moment of a release.

    Attributes:
        step: how many steps were begun or are done.
        part: how far the step is: changes of the schema, or phases of a deployment.
        schema: the schema.
        serving: the versions that get requests, the older one first.
        idle: the versions whose replicas run without requests.
        served: the versions that got requests until now, the first one first.
        way: how this state is reached.
    """

    step: int
    part: int
    schema: SchemaState
    serving: tuple[str, ...]
    idle: tuple[str, ...] = ()
    served: tuple[str, ...] = ()
    way: Way = "forward"

    @property
    def live(self) -> tuple[str, ...]:
        """The versions whose replicas run."""
        return (*self.serving, *self.idle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """From one state to another.

    Attributes:
        before: the state before.
        after: the state after.
        label: what happens, such as `step 2: all requests go to b`.
        change: the change of the schema that takes effect; None if it is none.
        taken_back: the change that is taken back; None if it is none.
        begins: the version that gets its first requests of a deployment; None if none does.
        undo: whether that deployment is an undo of the release.
    """

    before: ReleaseState
    after: ReleaseState
    label: str
    change: str | None = None
    taken_back: str | None = None
    begins: str | None = None
    undo: bool = False


Path: TypeAlias = tuple[Transition, ...]
_Fleet: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], str]
"""Who serves, who is idle, and what happened."""


@dataclass(frozen=True, slots=True)
class StateGraph:
    """All states that a release reaches under one strategy.

    Attributes:
        plan: the release.
        strategy: the strategy.
        start: the state before the release.
        transitions: from state to state; those that are nearer to the start come first.
    """

    plan: ReleasePlan
    strategy: str
    start: ReleaseState
    transitions: tuple[Transition, ...]
    _paths: Mapping[ReleaseState, Path] = field(repr=False)

    @property
    def states(self) -> tuple[ReleaseState, ...]:
        """All states; those that are nearer to the start come first."""
        return tuple(self._paths)

    def path(self, state: ReleaseState) -> Path:
        """A shortest path from the start to the state.

        Raises:
            KeyError: the release cannot reach it.
        """
        return self._paths[state]


def reachable(plan: ReleasePlan, strategy: str) -> StateGraph:
    """All states that the release can reach under a strategy, each with a shortest path.

    Args:
        plan: the release.
        strategy: one of `FLEETS`.

    Raises:
        KeyError: there is no such strategy.
    """
    # A step whose changes are applied already does nothing.
    plan = replace(plan, steps=tuple(step for step in plan.steps if _does_something(step)))
    start = ReleaseState(
        step=0, part=0, schema=SchemaState(), serving=(plan.start,), served=(plan.start,)
    )
    fleets = FLEETS[strategy]
    paths: dict[ReleaseState, Path] = {start: ()}
    found: dict[Transition, None] = {}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        for transition in _next(plan, state, fleets):
            found[transition] = None
            if transition.after not in paths:
                paths[transition.after] = (*paths[transition.before], transition)
                waiting.append(transition.after)
    return StateGraph(plan, strategy, start, tuple(found), paths)


def _next(plan: ReleasePlan, state: ReleaseState, fleets: "Fleets") -> Iterator[Transition]:
    if state.way == "fault":
        yield from _recovered(plan, state)
        return
    if state.way == "back":
        return
    if state.step < len(plan.steps):
        step = plan.steps[state.step]
        match step:
            case Apply():
                yield from _applied(step, step.changes[state.part], state)
            case TakeBack():
                yield _taken_back(step, state)
            case Deployment():
                yield from _deployed(step, _version_before(plan, state.step), state, fleets)
    yield from _rolled_back(state, fleets)


def _applied(step: Apply, change: SchemaChange, state: ReleaseState) -> Iterator[Transition]:
    schema = state.schema.with_change(change.name)
    yield Transition(
        before=state,
        after=_moved(state, len(step.changes), schema=schema),
        label=f"step {step.step}: {change.name} is applied",
        change=change.name,
    )
    yield Transition(
        before=state,
        after=replace(state, schema=replace(schema, unrecorded=True), way="fault"),
        label=f"step {step.step}: the migrator is killed after {change.name} took effect, and "
        "before it is recorded",
        change=change.name,
    )
    for statements in change.cuts:
        yield Transition(
            before=state,
            after=replace(
                state, schema=state.schema.with_half(change.name, statements), way="fault"
            ),
            label=f"step {step.step}: {change.name} stops half-way, after {statements} of its "
            f"{change.statements} statements",
        )


def _recovered(plan: ReleasePlan, state: ReleaseState) -> Iterator[Transition]:
    """What people do after a fault of the migrator."""
    step = plan.steps[state.step]
    if not isinstance(step, Apply):
        return
    change = step.changes[state.part]
    schema = state.schema
    how = f"{change.name} is recorded by hand"
    if schema.half is not None:
        schema, how = schema.with_change(change.name), f"{change.name} is applied again"
    after = _moved(replace(state, way="forward"), len(step.changes), schema=schema)
    yield Transition(
        before=state,
        after=replace(after, schema=replace(after.schema, unrecorded=False)),
        label=f"step {step.step}: {how}",
        change=change.name if state.schema.half is not None else None,
    )


def _taken_back(step: TakeBack, state: ReleaseState) -> Transition:
    name = step.names[state.part]
    return Transition(
        before=state,
        after=_moved(state, len(step.names), schema=state.schema.without(name)),
        label=f"step {step.step}: {name} is taken back",
        taken_back=name,
    )


def _deployed(
    step: Deployment, old: str, state: ReleaseState, fleets: "Fleets"
) -> Iterator[Transition]:
    """The next phase of a deployment that replaces `old`, and the way back from the present one."""
    phases = fleets(old, step.version)
    serving, idle, what = phases[state.part]
    after = _moved(state, len(phases), serving=serving, idle=idle)
    yield Transition(
        before=state,
        after=replace(after, served=_joined(state.served, serving)),
        label=f"step {step.step}: {what}",
        begins=step.version if step.version in set(serving) - set(state.serving) else None,
        undo=step.undo,
    )
    if state.part:
        yield Transition(
            before=state,
            after=replace(state, serving=(old,), idle=(), way="back"),
            label=f"step {step.step}: the deployment of {step.version} is aborted, and {old} "
            "serves again",
            begins=old if old not in state.serving else None,
        )


def _version_before(plan: ReleasePlan, number: int) -> str:
    """The version that serves before a step."""
    deployed = [step.version for step in plan.steps[:number] if isinstance(step, Deployment)]
    return deployed[-1] if deployed else plan.start


def _does_something(step: PlannedChange) -> bool:
    match step:
        case Apply():
            return bool(step.changes)
        case TakeBack():
            return bool(step.names)
        case Deployment():
            return True


def _rolled_back(state: ReleaseState, fleets: "Fleets") -> Iterator[Transition]:
    """From each moment between two deployments, back to each version that has served."""
    if len(state.serving) != 1 or state.idle or state.way != "forward":
        return
    (current,) = state.serving
    for target in state.served:
        if target == current:
            continue
        before = state
        for serving, idle, what in fleets(current, target):
            after = replace(state, serving=serving, idle=idle, way="back")
            yield Transition(
                before=before,
                after=after,
                label=f"back to {target}: {what}",
                begins=target if target in set(serving) - set(before.serving) else None,
            )
            before = after


def _moved(
    state: ReleaseState,
    parts: int,
    *,
    schema: SchemaState | None = None,
    serving: tuple[str, ...] | None = None,
    idle: tuple[str, ...] = (),
) -> ReleaseState:
    """The state after the next part of its step; after the last part, the next step is due."""
    part = state.part + 1
    done = part == parts
    return replace(
        state,
        step=state.step + done,
        part=0 if done else part,
        schema=state.schema if schema is None else schema,
        serving=state.serving if serving is None else serving,
        idle=idle,
    )


def _joined(served: tuple[str, ...], serving: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*served, *serving)))


def _naive(old: str, new: str) -> Sequence[_Fleet]:
    return (
        ((), (), f"all replicas of {old} are stopped"),
        ((new,), (), f"{new} serves"),
    )


def _mixed(old: str, new: str) -> Sequence[_Fleet]:
    if old == new:
        return (((new,), (), f"{new} is deployed again"),)
    return (
        ((old, new), (), f"{new} gets a part of the requests, {old} the others"),
        ((new,), (), f"{new} gets all requests"),
    )


def _blue_green(old: str, new: str) -> Sequence[_Fleet]:
    if old == new:
        return (((new,), (), f"{new} is deployed again"),)
    return (
        ((old,), (new,), f"{new} runs, without requests"),
        ((new,), (old,), f"all requests are switched to {new}"),
        ((new,), (), f"{old} is stopped"),
    )


Fleets: TypeAlias = Callable[[str, str], Sequence[_Fleet]]

FLEETS: Mapping[str, Fleets] = {
    "naive": _naive,
    "rolling": _mixed,
    "blue-green": _blue_green,
    "canary": _mixed,
}
"""Who serves in each phase of a deployment, by strategy; see `orchestrator.strategies`."""
