"""The values of options, each read from text and checked by itself."""

import ipaddress
import math
import re

from balancer.addresses import parse_address
from balancer.config import BackendSpec, Network, parse_name
from balancer.errors import ConfigError

_COOKIE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def parse_backend(text: str) -> BackendSpec:
    """Read `[id=]host:port[,version=V][,weight=W]`.

    Raises:
        ConfigError: it is not of that form.
    """
    place, *options = text.split(",")
    name, equals, address_text = place.rpartition("=")
    address = parse_address(address_text)
    version, weight = "default", 1.0
    for option in options:
        key, _, value = option.partition("=")
        if key == "version":
            version = parse_name(value, "version")
        elif key == "weight":
            weight = number(value)
        else:
            raise ConfigError(f"--backend {text}: unknown {key!r}; use version= or weight=")
    return BackendSpec(
        parse_name(name if equals else str(address), "backend id"), address, version, weight
    )


def number(text: str, least: float = 0.0) -> float:
    """Read a finite number.

    Raises:
        ConfigError: it is none, or less than `least`.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < least:
        raise ConfigError(f"{text!r} is not a number of at least {least:g}")
    return value


def positive(text: str) -> float:
    """Read a number above 0.

    Raises:
        ConfigError: it is none, or not above 0.
    """
    value = number(text)
    if value <= 0:
        raise ConfigError(f"{text!r} must be more than 0")
    return value


def whole(text: str, least: int = 0) -> int:
    """Read a whole number.

    Raises:
        ConfigError: it is none, or less than `least`.
    """
    # Eighteen digits are more than any count, and fewer than what Python refuses to read.
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
        raise ConfigError(f"{text[:100]!r} is not a whole number of at least {least}")
    return int(text)


def at_least_one(text: str) -> int:
    """Read a whole number above 0.

    Raises:
        ConfigError: it is none.
    """
    return whole(text, 1)


def share(text: str) -> float:
    """Read a share.

    Raises:
        ConfigError: it is no number from 0 to 1.
    """
    value = number(text)
    if value > 1:
        raise ConfigError(f"{text!r} is not a share from 0 to 1")
    return value


def statuses(text: str) -> tuple[tuple[int, int], ...]:
    """Read statuses such as `200-299,304`, as pairs of the first and the last.

    Raises:
        ConfigError: they are not of that form.
    """
    ranges = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = whole(first, 200), whole(last or first, 200)
        if low > high or high > 599:  # noqa: PLR2004 - the last status, RFC 9110 section 15
            raise ConfigError(f"{text!r}: write statuses such as 200 or 200-299,304")
        ranges.append((low, high))
    return tuple(ranges)


def status(text: str) -> int:
    """Read one status.

    Raises:
        ConfigError: it is none.
    """
    ((status, _),) = statuses(text)[:1]
    return status


def path(text: str) -> str:
    """Read the path of a request.

    Raises:
        ConfigError: it does not begin with `/`, or has spaces.
    """
    if not re.fullmatch(r"/[\x21-\x7e]*", text):
        raise ConfigError(f"{text!r} is not a path: it must begin with / and have no spaces")
    return text


def network(text: str) -> Network:
    """Read an IP network such as `10.0.0.0/8`.

    Raises:
        ConfigError: it is none.
    """
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a network such as 10.0.0.0/8: {error}") from None


def cookie(text: str) -> str:
    """Check the name of a cookie.

    Raises:
        ConfigError: it has other characters than letters, digits, `_` and `-`, or is too long.
    """
    if not _COOKIE.fullmatch(text):
        raise ConfigError(f"{text!r} is not a cookie name: use up to 64 letters, digits, _ and -")
    return text
