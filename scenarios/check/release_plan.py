"""A release as a check sees it: the changes of the schema and the deployments, in order."""

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaChange:
    """One change of the schema: a migration, or a command that migrates.

    Attributes:
        name: the migration's id, or the command in short.
        transactional: whether it takes effect as a whole or not at all.
        statements: how many statements it has; 1 where that is not known.
        reversible: whether it has a rollback; None where that is not known.
    """

    name: str
    transactional: bool = True
    statements: int = 1
    reversible: bool | None = None

    @property
    def cuts(self) -> tuple[int, ...]:
        """After how many statements it can stop half-way; of many, the first, last and some more.

        A change in a transaction takes effect as a whole, so it has none.
        """
        if self.transactional or self.statements < 2:  # noqa: PLR2004 - one statement has no half
            return ()
        last = self.statements - 1
        most = min(last, MOST_CUTS)
        return tuple(sorted({1 + (last - 1) * place // max(1, most - 1) for place in range(most)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """A step that applies changes, one after the other.

    Attributes:
        step: its number in the release, from 1 on.
        changes: what is still to be applied then.
    """

    step: int
    changes: tuple[SchemaChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBack:
    """A step that takes changes back, newest first.

    Attributes:
        step: its number in the release, from 1 on.
        names: the changes, in the order in which they are taken back.
    """

    step: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A step that deploys a version.

    Attributes:
        step: its number in the release, from 1 on.
        version: the version that serves afterwards.
        undo: whether it goes back to the version before, which has to be ready for it.
    """

    step: int
    version: str
    undo: bool = False


MOST_CUTS = 4
"""At so many places a change is stopped half-way."""

PlannedChange: TypeAlias = Apply | TakeBack | Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePlan:
    """A release.

    Attributes:
        name: the scenario's name.
        start: the version that serves before it.
        steps: its steps, in order.
    """

    name: str
    start: str
    steps: tuple[PlannedChange, ...] = field(default=())

    @property
    def versions(self) -> tuple[str, ...]:
        """Its versions, in the order in which they first serve."""
        deployed = (step.version for step in self.steps if isinstance(step, Deployment))
        return tuple(dict.fromkeys((self.start, *deployed)))

    @property
    def last(self) -> str:
        """The version that serves at its end."""
        deployed = [step.version for step in self.steps if isinstance(step, Deployment)]
        return deployed[-1] if deployed else self.start
