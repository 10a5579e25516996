"""Addresses: read from text, and written as text, in one place."""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

from balancer.errors import ConfigError


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
        raise ConfigError(f"{text!r} is not an address; write {wanted}")
    if not (0 if any_port else 1) <= int(port) <= 65535:  # noqa: PLR2004 - RFC 9293 ports
        raise ConfigError(f"{text!r}: a port must be a number from 1 to 65535")
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", host):
        raise ConfigError(f"{text!r} is not an address; write {wanted}")
    return Address(host, int(port))
