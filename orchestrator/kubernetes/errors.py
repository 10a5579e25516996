"""What goes wrong with a cluster, by who can mend it."""

from orchestrator.errors import OrchestratorError

BAD_REQUEST = 400
UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404
CONFLICT = 409
INTERNAL = 500
_TOO_MANY = 429


class ClusterNameError(OrchestratorError):
    """What was named cannot be used: a kubeconfig, a context, a namespace, an object."""


class ApiError(OrchestratorError):
    """The API server refused a request.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def passes(self) -> bool:
        """Whether the server may do it a moment later: it is busy, or has just restarted."""
        return self.status == _TOO_MANY or self.status >= INTERNAL
