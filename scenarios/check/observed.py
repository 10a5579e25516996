"""What the trials of a check saw, as data: it is cached, and the verdict is computed from it."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from scenarios.check.change_effects import ChangeEffects
from scenarios.check.lock_result import HeldLock

SchemaKey: TypeAlias = tuple[str, ...]
"""The changes of the schema that are in force, in order."""

Connections: TypeAlias = Literal["warm", "fresh"]
"""Whether the version had used its connections before the schema changed, or was started after."""


_MOST_TIME = 0.5


class EndpointResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one endpoint answered in a trial.

    Attributes:
        endpoint: method and path, such as `POST /subscriptions`.
        requests: how many requests were sent to it.
        failed: how many of them failed; the following describe the first of these.
        expected: the statuses that would have been a success.
        status: the status of the answer; absent if there was none.
        error: why there was no answer.
        mismatch: how an answer with an expected status differs from what the journey expects.
        sqlstate: the code of the database's error.
        message: the database's message.
        statement: the statement that the database refused.
        subject: the journey and its step.
        invariant: the promise about data that an answer broke, such as `kept_value`.
    """

    endpoint: str
    requests: int
    failed: int = 0
    expected: tuple[int, ...] = ()
    status: int | None = None
    error: str | None = None
    mismatch: str | None = None
    sqlstate: str | None = None
    message: str | None = None
    statement: str | None = None
    subject: str | None = None
    invariant: str | None = None

    @property
    def ok(self) -> bool:
        """Whether all its requests succeeded."""
        return self.failed == 0

    @property
    def cause(self) -> str:
        """The cause of the failures, with the names that a run's verdict uses."""
        if self.sqlstate is not None:
            return f"sqlstate:{self.sqlstate}"
        if self.error is not None:
            return f"transport:{self.error}"
        if self.invariant is not None:
            return f"data:{self.invariant}"
        if self.mismatch is not None:
            return "unexpected_answer"
        return f"status:{self.status}"


class RefusedStatement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Statements that the database refused, and that no failed request shows.

    The application healed the error, or its work in the background failed.

    Attributes:
        sqlstate: the code.
        message: the database's message.
        statement: the statement; absent if the server did not log it.
        count: how often.
    """

    sqlstate: str
    message: str
    statement: str | None = None
    count: int = 1


class CellResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version on one schema.

    Attributes:
        schema: the schema.
        version: the version.
        connections: whether its connections were warm or fresh.
        not_ready: why it did not become ready; absent if it did.
        endpoints: what its endpoints answered.
        refused: statements that were refused without a failed request.
        answers: what JSON answers look like: for each endpoint with its status, `path type` for
            each value in them.
        statuses: the statuses of the requests that succeeded, by the journey and its step.
    """

    schema: SchemaKey
    version: str
    connections: Connections
    not_ready: str | None = None
    endpoints: tuple[EndpointResult, ...] = ()
    refused: tuple[RefusedStatement, ...] = ()
    answers: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    statuses: Mapping[str, tuple[int, ...]] = msgspec.field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the version works there."""
        return self.not_ready is None and all(one.ok for one in self.endpoints)


class CrossingResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Journeys that one version began and another one went on with.

    Attributes:
        schema: the schema on which the other version went on.
        began: the version that answered the first requests of each journey.
        went_on: the version that answered the rest.
        endpoints: what the endpoints of the other version answered.
    """

    schema: SchemaKey
    began: str
    went_on: str
    endpoints: tuple[EndpointResult, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all journeys went on."""
        return all(one.ok for one in self.endpoints)


class ChangeResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of the schema that was applied or taken back.

    Attributes:
        schema: the schema before.
        change: the change.
        taken_back: whether it was taken back.
        seconds: how long it took.
        failed: why it failed; absent if it did not.
        sqlstate: the code of the database's error.
        damaged: rows that were lost or got another value, one sentence each.
    """

    schema: SchemaKey
    change: str
    taken_back: bool = False
    seconds: float = 0.0
    failed: str | None = None
    sqlstate: str | None = None
    damaged: tuple[str, ...] = ()


class MigratorResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the migration tool of one step does, compared with a single run.

    An exit status is absent where a process did not end in time.

    Attributes:
        step: the number of the step, from 1 on.
        tool: what was run.
        exit_alone: the exit status of a single run.
        said_alone: the last line that it printed; absent if it succeeded.
        changed_something: whether a single run changed anything at all, or the step says that it
            may change nothing.
        exits_at_once: the exit statuses of three that were started at the same instant.
        differences_at_once: in what the database then differs from that of a single run.
        killed: whether one could be killed while it waited for a lock.
        left_by_killed: what the killed one changed all the same, because Postgres went on.
        exit_after_kill: the exit status of a run afterwards.
        said_after_kill: the last line that it printed; absent if it succeeded.
        differences_after_kill: in what the database then differs from that of a single run.
        queued_share: for which part of the time that a reader held its tables one more run stood
            in the queue for them; absent if it never did.
        exit_after_queue: the exit status of that run.
        differences_after_queue: in what the database then differs from that of a single run.
    """

    step: int
    tool: str
    exit_alone: int | None
    said_alone: str | None = None
    changed_something: bool = True
    exits_at_once: tuple[int | None, ...] = ()
    differences_at_once: tuple[str, ...] = ()
    killed: bool = False
    left_by_killed: tuple[str, ...] = ()
    exit_after_kill: int | None = None
    said_after_kill: str | None = None
    differences_after_kill: tuple[str, ...] = ()
    queued_share: float | None = None
    exit_after_queue: int | None = None
    differences_after_queue: tuple[str, ...] = ()

    @property
    def holds_up(self) -> bool:
        """Whether requests would wait behind it for most of the time that it waits itself."""
        return self.queued_share is not None and self.queued_share >= _MOST_TIME

    @property
    def repeats(self) -> bool:
        """Whether three at once do something else to the database than one."""
        return bool(self.differences_at_once)

    @property
    def recovers(self) -> bool:
        """Whether a run after a kill leads to what a single run leads to."""
        return self.exit_after_kill == 0 and not self.differences_after_kill

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with the tool."""
        return (
            self.exit_alone == 0 and self.changed_something and not self.repeats and self.recovers
        )


class Observed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that the trials saw.

    Attributes:
        cells: versions on schemas.
        crossings: journeys across two versions.
        changes: changes of the schema.
        migrators: migration tools that were started three times at once, and killed.
        locks: the locks that the changes of the schema hold.
        effects: what the changes of the schema did to a copy of the database.
    """

    cells: tuple[CellResult, ...] = ()
    crossings: tuple[CrossingResult, ...] = ()
    changes: tuple[ChangeResult, ...] = ()
    migrators: tuple[MigratorResult, ...] = ()
    locks: tuple[HeldLock, ...] = ()
    effects: tuple[ChangeEffects, ...] = ()

    def joined(self, other: "Observed") -> "Observed":
        """Both together."""
        return Observed(
            cells=self.cells + other.cells,
            crossings=self.crossings + other.crossings,
            changes=self.changes + other.changes,
            migrators=self.migrators + other.migrators,
            locks=self.locks + other.locks,
            effects=self.effects + other.effects,
        )

    def cell(
        self, schema: SchemaKey, version: str, connections: Connections | None = None
    ) -> CellResult | None:
        """The version on the schema, the worst of several trials; None if it was not tried."""
        found = [
            one
            for one in self.cells
            if one.schema == schema
            and one.version == version
            and connections in (None, one.connections)
        ]
        return next((one for one in found if not one.ok), found[0] if found else None)

    def crossing(self, schema: SchemaKey, began: str, went_on: str) -> CrossingResult | None:
        """Journeys from one version to another on the schema; None if that was not tried."""
        found = [
            one
            for one in self.crossings
            if (one.schema, one.began, one.went_on) == (schema, began, went_on)
        ]
        return next((one for one in found if not one.ok), found[0] if found else None)

    def change(self, schema: SchemaKey, name: str) -> ChangeResult | None:
        """A change on the schema, if possible one that failed; None if it was not tried."""
        found = [one for one in self.changes if (one.schema, one.change) == (schema, name)]
        return next((one for one in found if one.failed), found[0] if found else None)
