"""What was called of each service behind the application."""

import msgspec


class ServiceVersionCalls(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The calls that one version of a service answered.

    Attributes:
        version: the version; absent: no replica was up.
        calls: how many.
        failed: how many of them ended with a 5xx, or without an answer.
    """

    version: str | None = None
    calls: int
    failed: int = 0


class ServiceCalled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service behind the application.

    Attributes:
        service: its name.
        versions: the version that served before the release, and those that were to be deployed.
        replicas: how many replicas of a version were to serve.
        calls: how many calls its balancer got.
        failed: how many of them ended with a 5xx, or without an answer.
        followed: how many of the calls name a request of the run (`X-Request-Id`).
        by_version: the same by the version that answered.
    """

    service: str
    versions: tuple[str, ...]
    replicas: int
    calls: int
    failed: int = 0
    followed: int = 0
    by_version: tuple[ServiceVersionCalls, ...] = ()
