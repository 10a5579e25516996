"""Which versions a release has deployed on which schemas, and which of them may come back."""

from dataclasses import dataclass

from orchestrator.errors import RollbackRefused
from orchestrator.model import Version
from orchestrator.rollout import Rollout


@dataclass(slots=True)
class DeploymentHistory:
    """Which versions have served, and on which schema.

    A schema is a number: how often the schema had changed by then.

    Attributes:
        served: the versions, in order; the last one serves.
        schemas: the schema on which each of them was deployed.
        schema: the present schema.
    """

    served: list[Version]
    schemas: list[int]
    schema: int = 0


async def ensure_compatible(
    rollout: Rollout, version: Version, history: DeploymentHistory, schema: int
) -> None:
    """Check that a version works with the present schema, if that is not the schema given.

    Args:
        rollout: the rollout.
        version: the version.
        history: knows the present schema.
        schema: the schema on which the version was deployed.

    Raises:
        RollbackRefused: it does not work; nothing has changed.
    """
    if schema == history.schema:
        return
    why = await rollout.rehearse(version)
    if why is not None:
        raise RollbackRefused(
            f"refused: the schema has changed, and version {version.name} does not work with "
            f"it: {why}; the fleet stays as it is"
        )
