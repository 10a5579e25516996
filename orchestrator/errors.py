"""The errors of this package, split by who can do something about them."""


class OrchestratorError(Exception):
    """The root of them all; each message is one clear line for people."""


class EnvironmentFailure(OrchestratorError):  # noqa: N818 - it names what failed, not a mistake
    """The machine or a given service is not up to it: no database, no free port, no program."""


class MigrationFailed(OrchestratorError):  # noqa: N818 - an outcome, as verbs of a rollout have it
    """A migration was refused, or failed and was undone as far as its tool can.

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
    """A verb of a rollout did not reach its goal; what served before should serve again."""


class RolloutAborted(OrchestratorError):  # noqa: N818 - an outcome, not a mistake
    """Somebody asked for the end of a rollout; what served before should serve again."""


class RollbackRefused(OrchestratorError):  # noqa: N818 - an outcome, not a mistake
    """Going back would break more than staying: the old version does not work with the schema."""


class MigrationRefused(OrchestratorError):  # noqa: N818 - an outcome, not a mistake
    """Taking the schema back would break what serves, or nobody can tell that it would not."""
