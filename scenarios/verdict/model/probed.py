"""What was found out about a version's server before the run, in the words of `hitless probe`."""

from collections.abc import Mapping

import msgspec


class ProbedVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the server of one version starts and stops (`probe = true` in the scenario).

    Attributes:
        version: which.
        server: what it is, such as `uvicorn 0.54.0`; absent where it did not say.
        stop_signal: what asked it to stop.
        findings: what was seen, by what it is called, such as `GET in flight`.
        predicted: what was expected to be lost on this run's terms, a sentence each; empty where
            nothing was, or the run did not decide how replicas leave.
    """

    version: str
    server: str | None = None
    stop_signal: str = "SIGTERM"
    findings: Mapping[str, str] = msgspec.field(default_factory=dict)
    predicted: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The version and its server."""
        return self.version if self.server is None else f"{self.version} ({self.server})"
