"""A service of a run, as the manifest describes it."""

import msgspec


class ServiceFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service behind the application.

    Attributes:
        name: its name.
        versions: the version that served before the release, and those that were to be deployed.
        replicas: how many replicas of a version serve.
    """

    name: str
    versions: tuple[str, ...]
    replicas: int
