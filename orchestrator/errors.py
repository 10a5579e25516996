"""The errors of this package, split by who can act on them."""


class OrchestratorError(Exception):
    """The root of all errors of this package; each message is one clear line for people."""


class EnvironmentFailure(OrchestratorError):  # noqa: N818 - it names what failed, not a mistake
    """The machine or a given service lacks something: no database, no free port, no program."""


class ProcessError(EnvironmentFailure):
    """A process could not be started or taken over; the message names it and the reason."""


class MigrationFailed(OrchestratorError):  # noqa: N818 - an outcome, as verbs of a rollout have it
    """A migration was refused, or it failed and its tool undid what it could.

    Attributes:
        migration: the id of the migration, when one had begun.
        sqlstate: what Postgres called it, when Postgres refused.
    """

    def __init__(
        self, message: str, *, migration: str | None = None, sqlstate: str | None = None
    ) -> None:
        super().__init__(message)
        self.migration = migration
        self.sqlstate = sqlstate


class PlatformError(OrchestratorError):
    """The platform could not start, watch or stop a replica."""


class RouterError(OrchestratorError):
    """The router refused a change, or does not answer."""


class RolloutFailed(OrchestratorError):  # noqa: N818 - an outcome, not a mistake
    """A verb of a rollout failed; the version that served before should serve again."""


class RolloutAborted(OrchestratorError):  # noqa: N818 - an outcome, not a mistake
    """Somebody aborted a rollout; the version that served before should serve again."""


class RollbackRefused(OrchestratorError):  # noqa: N818 - an outcome, not a mistake
    """A rollback was refused, because the old version does not work with the present schema."""


class MigrationRefused(OrchestratorError):  # noqa: N818 - an outcome, not a mistake
    """Migrations are not taken back: a serving version would break, or might."""
