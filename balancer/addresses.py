"""Addresses: read from text, and written as text, in one place."""

import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from balancer.errors import ConfigError

_ANY = ("0.0.0.0", "::")  # noqa: S104 - only compared


def host_port(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 host (RFC 3986 section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen at or to connect to: a TCP host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return host_port(self.host, self.port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str, *, unix: bool = False, any_port: bool = False) -> Address:
    """Read `host:port`, `[v6]:port` or, where `unix` allows it, `unix:/path`.

    Raises:
        ConfigError: it is neither.
    """
    if unix and text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise ConfigError(f"{text!r}: the path of a unix socket must be absolute")
        # sun_path holds 108 bytes with its NUL, see unix(7).
        if len(os.fsencode(path)) > 107:  # noqa: PLR2004
            raise ConfigError(f"{text!r}: the path of a unix socket may have at most 107 bytes")
        return Address(path=path)
    wanted = "HOST:PORT or unix:/PATH" if unix else "HOST:PORT"
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise ConfigError(f"{text[:300]!r} is not an address; write {wanted}")
    # RFC 9293: 16 bits. More than five digits are not even read as a number.
    if len(port) > 5 or not (0 if any_port else 1) <= int(port) <= 65535:  # noqa: PLR2004
        raise ConfigError(f"{text[:300]!r}: a port must be a number from 1 to 65535")
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", host):
        raise ConfigError(f"{text[:300]!r} is not an address; write {wanted}")
    _check_host(text, host)
    return Address(host, int(port))


def _check_host(text: str, host: str) -> None:
    """Refuse a host that no resolver would take.

    Raises:
        ConfigError: it is neither an IP address nor a host name (RFC 1123 section 2.1).
    """
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ConfigError(f"{text[:300]!r}: {host[:100]!r} is not an IPv6 address") from None
        return
    # RFC 1035 section 2.3.4. One dot at the end is allowed: it marks a complete name.
    name = host.removesuffix(".")
    if len(name) > 253 or not all(0 < len(label) < 64 for label in name.split(".")):  # noqa: PLR2004
        raise ConfigError(
            f"{text[:300]!r}: a host name has at most 253 characters, "
            "and each of its labels 1 to 63"
        )


def check_not_own(backend: Address, listeners: Iterable[Address]) -> None:
    """Refuse a backend that is one of our own listeners: its requests would go in a circle.

    Raises:
        ConfigError: it is.
    """
    for own in listeners:
        if own.path is not None or own.port != backend.port:
            continue
        # Who listens on all addresses listens on the loopback ones, too.
        if own.host == backend.host or (
            backend.is_loopback and (own.is_loopback or own.host in _ANY)
        ):
            raise ConfigError(
                f"{str(backend)!r} is where this balancer listens itself; "
                "give the address of a backend"
            )
