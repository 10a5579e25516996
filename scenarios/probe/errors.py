"""Why a server cannot be probed: one line for whoever typed the command."""

from orchestrator.errors import EnvironmentFailure


class DidNotStart(EnvironmentFailure):
    """The command did not become a server that answers HTTP where it was told to."""
