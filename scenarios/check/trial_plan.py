"""Which trials a check makes: as few processes as the cells of all strategies need."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from scenarios.check.observed import SchemaKey
from scenarios.check.reachable import FLEETS, SchemaState, reachable
from scenarios.check.release_plan import Apply, Deployment, ReleasePlan, TakeBack


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """The schema goes on by one change.

    Attributes:
        change: the change.
        taken_back: whether it is taken back instead of being applied.
        statements: after how many of its statements it dies; None if it does not.
    """

    change: str
    taken_back: bool = False
    statements: int | None = None

    def apply_to(self, schema: SchemaState) -> SchemaState:
        """The schema afterwards."""
        if self.statements is not None:
            return schema.with_half(self.change, self.statements)
        done = schema.without if self.taken_back else schema.with_change
        return done(self.change)


Advances: TypeAlias = tuple[Advance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LivingTrial:
    """A version lives through the schemas of its time, with warm connections and a fresh replica.

    Attributes:
        version: the version.
        before: what was done to the base schema when it is deployed.
        advances: what is done to the schema while it serves.
        successor: the version that replaces it; None if it serves at the end.
        rest: what is done to the schema afterwards, while its replicas wait without requests.
        last: the version that serves at the end of the release; None if that is the successor, or
            the version itself.
    """

    version: str
    before: Advances
    advances: Advances
    successor: str | None = None
    rest: Advances = ()
    last: str | None = None

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that are started."""
        found = (self.version, self.successor, self.last)
        return tuple(dict.fromkeys(one for one in found if one is not None))

    @property
    def schemas(self) -> tuple[SchemaKey, ...]:
        """The schemas on which a fresh replica of the version is tried."""
        return tuple(
            schema_after((*self.before, *self.advances[:count])).key
            for count in range(len(self.advances) + 1)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshTrial:
    """A version is started on a schema on which it does not serve as planned.

    Attributes:
        version: the version.
        before: what was done to the base schema.
    """

    version: str
    before: Advances

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that are started."""
        return (self.version,)


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratorTrial:
    """The migration tool of a step is started three times at once, and is killed.

    Attributes:
        step: the number of the step, from 1 on.
        before: what was done to the base schema before the step.
        changes: what the step applies.
    """

    step: int
    before: Advances
    changes: tuple[str, ...]

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that are started: none."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockTrial:
    """The locks of all changes are measured at several sizes of the tables.

    Attributes:
        advances: what the release does to the schema.
        sizes: the numbers of existing rows, in ascending order.
        serving: the version that serves during each of them; empty: there is no traffic.
    """

    advances: Advances
    sizes: tuple[int, ...]
    serving: tuple[str, ...] = ()

    @property
    def before(self) -> Advances:
        """What was done to the base schema before: nothing."""
        return ()

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that are started."""
        return tuple(dict.fromkeys(self.serving))


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectsTrial:
    """All changes are carried out on one copy, and what each of them does is recorded.

    Attributes:
        advances: what the release does to the schema.
    """

    advances: Advances

    @property
    def before(self) -> Advances:
        """What was done to the base schema before: nothing."""
        return ()

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that are started: none."""
        return ()


PlannedTrial: TypeAlias = LivingTrial | FreshTrial | MigratorTrial | LockTrial | EffectsTrial


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedTrials:
    """Which trials a check makes.

    Attributes:
        everything: whether each version is tried on each schema, also where it never lives.
        migrators: whether the migration tools are tried, too.
        locks_at: with how many rows the locks of the changes are measured; None: they are not.
        lint: whether the linter reads the migrations.
        effects: whether it is recorded what each change does to a copy of the database.
    """

    everything: bool = False
    migrators: bool = False
    locks_at: int | None = None
    lint: bool = False
    effects: bool = False

    def of(self, plan: ReleasePlan) -> tuple[PlannedTrial, ...]:
        """The trials of a release."""
        trials = planned_trials(plan, everything=self.everything)
        if self.migrators:
            trials += migrator_trials(plan)
        if self.locks_at is not None:
            trials += (lock_trial(plan, self.locks_at),)
        advances = all_advances(plan)
        if self.effects and advances:
            trials += (EffectsTrial(advances=advances),)
        return trials


def schema_after(advances: Iterable[Advance]) -> SchemaState:
    """The schema after these changes of the base schema."""
    schema = SchemaState()
    for advance in advances:
        schema = advance.apply_to(schema)
    return schema


def planned_trials(plan: ReleasePlan, *, everything: bool = False) -> tuple[PlannedTrial, ...]:
    """The trials of a release, for all strategies.

    Args:
        plan: the release.
        everything: whether each version is tried on each schema, also where it never lives.
    """
    living = tuple(_living(plan))
    done = {(schema, trial.version) for trial in living for schema in trial.schemas}
    wanted = _needed(plan)
    histories = _histories(plan)
    if everything:
        wanted |= {(schema, version) for schema in histories for version in plan.versions}
    fresh = [
        FreshTrial(version=version, before=advances)
        for schema, advances in histories.items()
        for version in plan.versions
        if (schema, version) in wanted - done
    ]
    return (*living, *_half_way(plan), *fresh)


def _half_way(plan: ReleasePlan) -> Iterator[LivingTrial]:
    """Each version that may serve when a change stops half-way, and then the change once more."""
    graphs = [reachable(plan, strategy) for strategy in FLEETS]
    everything = all_advances(plan)
    for number, advance in enumerate(everything):
        before = everything[:number]
        stops = dict.fromkeys(
            (state.schema.statements, version)
            for graph in graphs
            for state in graph.states
            if state.schema.half == advance.change
            and state.schema.applied == schema_after(before).applied
            for version in state.live
        )
        for statements, version in stops:
            half = Advance(change=advance.change, statements=statements)
            yield LivingTrial(version=version, before=before, advances=(half, advance))


def lock_trial(plan: ReleasePlan, rows: int) -> LockTrial:
    """The trial of a release's locks, with so many rows, half of them, and a quarter."""
    sizes = tuple(sorted({max(1, rows // part) for part in (4, 2, 1)}))
    serving, version = [], plan.start
    for event in _events(plan):
        if isinstance(event, Deployment):
            version = event.version
        else:
            serving.append(version)
    return LockTrial(advances=all_advances(plan), sizes=sizes, serving=tuple(serving))


def migrator_trials(plan: ReleasePlan) -> tuple[MigratorTrial, ...]:
    """A trial for each step that applies changes."""
    found: list[MigratorTrial] = []
    done = 0
    everything = all_advances(plan)
    for step in plan.steps:
        if isinstance(step, Apply) and step.changes:
            names = tuple(change.name for change in step.changes)
            found.append(MigratorTrial(step=step.step, before=everything[:done], changes=names))
            done += len(names)
        elif isinstance(step, TakeBack):
            done += len(step.names)
    return tuple(found)


def all_advances(plan: ReleasePlan) -> Advances:
    """Everything that the release does to the schema, in order."""
    return tuple(one for one in _events(plan) if isinstance(one, Advance))


def _events(plan: ReleasePlan) -> Iterator[Advance | Deployment]:
    for step in plan.steps:
        match step:
            case Apply():
                yield from (Advance(change=change.name) for change in step.changes)
            case TakeBack():
                yield from (Advance(change=name, taken_back=True) for name in step.names)
            case Deployment():
                yield step


def _living(plan: ReleasePlan) -> Iterator[LivingTrial]:
    """A trial for each time that a version serves, from its deployment to the next one."""
    everything = all_advances(plan)
    times = _times(plan)
    for (version, begun, ended), following in zip(times, [*times[1:], None], strict=True):
        successor = None if following is None else following[0]
        yield LivingTrial(
            version=version,
            before=everything[:begun],
            advances=everything[begun:ended],
            successor=successor,
            rest=everything[ended:],
            last=plan.last if plan.last not in (version, successor) else None,
        )


def _times(plan: ReleasePlan) -> list[tuple[str, int, int]]:
    """Which version serves from which number of changes to which."""
    found: list[tuple[str, int, int]] = []
    version, begun, done = plan.start, 0, 0
    for event in _events(plan):
        if isinstance(event, Advance):
            done += 1
        elif event.version != version:
            found.append((version, begun, done))
            version, begun = event.version, done
    return [*found, (version, begun, done)]


def _histories(plan: ReleasePlan) -> dict[SchemaKey, Advances]:
    """How each schema of the release is reached first."""
    everything = all_advances(plan)
    found: dict[SchemaKey, Advances] = {}
    for count in range(len(everything) + 1):
        found.setdefault(schema_after(everything[:count]).key, everything[:count])
    return found


def _needed(plan: ReleasePlan) -> set[tuple[SchemaKey, str]]:
    """Which versions serve on which schemas under any strategy, and the new one on the old."""
    graphs = [reachable(plan, strategy) for strategy in FLEETS]
    needed = {
        (state.schema.key, version)
        for graph in graphs
        for state in graph.states
        if state.schema.half is None
        for version in state.serving
    }
    return needed | {((), plan.last)}
