"""What the load generator is asked to do."""

from typing import Self

import msgspec

from scenarios.traffic.settings import TlsSettings, TrafficSettings

HTTPS_PORT = 443


class Plan(TrafficSettings, frozen=True, kw_only=True):
    """The first line on the generator's standard input: what users do, where, and where it is kept.

    Attributes:
        host: where the requests go.
        port: the same.
        seed: of all randomness.
        requests_path: where outcomes are written.
        mails_path: where mails are written.
        max_in_flight: above this an arrival is recorded as undispatched.
        tick_seconds: how often a tick is printed.
        tls: how the traffic is encrypted; None: it is not.
        mail_host: the address of this machine where the users' mailbox listens.
        shard: which of the `processes` this one is, from 0 on; set by the generator itself.
    """

    host: str
    port: int
    requests_path: str
    mails_path: str
    seed: int = 0
    max_in_flight: int = 4000
    tick_seconds: float = 0.25
    tls: TlsSettings | None = None
    mail_host: str = "127.0.0.1"
    shard: int | None = None

    @classmethod
    def of(
        cls,
        settings: TrafficSettings,
        *,
        host: str,
        port: int,
        seed: int,
        requests_path: str,
        mails_path: str,
        tls: TlsSettings | None = None,
    ) -> Self:
        """The plan that these settings make for one run."""
        return cls(
            **msgspec.structs.asdict(settings),
            host=host,
            port=port,
            seed=seed,
            requests_path=requests_path,
            mails_path=mails_path,
            tls=tls,
        )

    @property
    def address(self) -> str:
        """Where the requests go, as `host:port`; without the port that https has by itself."""
        if self.tls is not None and self.port == HTTPS_PORT:
            return host_and_port(self.host, self.port).rpartition(":")[0]
        return host_and_port(self.host, self.port)


def host_and_port(host: str, port: int) -> str:
    """An address as URLs and the `Host` field have it: IPv6 in brackets (RFC 3986, 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
