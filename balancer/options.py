"""The command line: what the operator can say, and whether it can be so. Nothing is opened here."""

import argparse
import ipaddress
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from balancer.config import (
    BackendSpec,
    Config,
    Limits,
    Network,
    Timeouts,
    parse_address,
    parse_name,
)
from balancer.errors import ConfigError
from balancer.health import HealthPolicy
from balancer.hold_queue import HoldPolicy
from balancer.outlier_detection import OutlierPolicy

_COOKIE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN_VARIABLE = "HITLESS_ADMIN_TOKEN"  # noqa: S105 - the variable's name, not a token


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
            weight = _number(value)
        else:
            raise ConfigError(
                f"--backend {text}: {key!r} is unknown; version= and weight= are known"
            )
    return BackendSpec(
        parse_name(name if equals else str(address), "backend id"), address, version, weight
    )


def _number(text: str, least: float = 0.0) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < least:
        raise ConfigError(f"{text!r} is no number from {least:g} up")
    return number


def _positive(text: str) -> float:
    number = _number(text)
    if number <= 0:
        raise ConfigError(f"{text!r} must be more than 0")
    return number


def _whole(text: str, least: int = 0) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise ConfigError(f"{text!r} is no whole number from {least} up")
    return int(text)


def _at_least_one(text: str) -> int:
    return _whole(text, 1)


def _share(text: str) -> float:
    number = _number(text)
    if number > 1:
        raise ConfigError(f"{text!r} is no share from 0 to 1")
    return number


def _statuses(text: str) -> tuple[tuple[int, int], ...]:
    ranges = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = _whole(first, 200), _whole(last or first, 200)
        if low > high or high > 599:  # noqa: PLR2004 - the last status, RFC 9110 section 15
            raise ConfigError(f"{text!r}: write statuses such as 200 or 200-299,304")
        ranges.append((low, high))
    return tuple(ranges)


def _status(text: str) -> int:
    ((status, _),) = _statuses(text)[:1]
    return status


def _path(text: str) -> str:
    if not re.fullmatch(r"/[\x21-\x7e]*", text):
        raise ConfigError(f"{text!r} is no path; it begins with / and has no spaces")
    return text


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no network such as 10.0.0.0/8: {error}") from None


def _cookie(text: str) -> str:
    if not _COOKIE.fullmatch(text):
        raise ConfigError(f"{text!r} is no cookie name: letters, digits, _ and - are, up to 64")
    return text


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see python -m balancer --help)")


def _option(check: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let argparse name the option in front of our message."""

    def convert(text: str) -> Any:  # noqa: ANN401 - whatever the check gives
        try:
            return check(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m balancer",
        description="A reverse proxy for HTTP/1.1 that drops nothing while backends come and go.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )

    def add(group: Any, name: str, check: Callable[[str], Any], text: str, **more: Any) -> None:  # noqa: ANN401
        group.add_argument(name, type=_option(check), help=text, **more)

    main = parser.add_argument_group("what it does")
    listen = lambda text: parse_address(text, any_port=True)  # noqa: E731 - used in one place
    admin = lambda text: parse_address(text, unix=True, any_port=True)  # noqa: E731
    add(main, "--listen", listen, "where clients connect; port 0 picks one", action="append",
        required=True, metavar="HOST:PORT")  # fmt: skip
    add(main, "--backend", parse_backend, "[ID=]HOST:PORT[,version=V][,weight=W]; may be repeated",
        action="append", default=[], metavar="BACKEND")  # fmt: skip
    add(main, "--admin", admin, "where the admin API is served", metavar="HOST:PORT|unix:/PATH")
    add(main, "--admin-token-file", Path, f"holds the admin API's token; or set {_TOKEN_VARIABLE}")
    add(main, "--handover", Path, "unix socket by which the next start takes over without a gap")
    add(main, "--access-log", Path, "gets one JSON line for each exchange")
    add(main, "--trust", _network, "whose X-Forwarded-* fields are believed; may be repeated",
        action="append", default=[], metavar="NETWORK")  # fmt: skip
    add(main, "--affinity-cookie", _cookie, "keeps a user on one version by a cookie of this name")

    health = parser.add_argument_group("health checks")
    add(health, "--health-path", _path, "asked for with GET", default="/")
    add(health, "--health-interval", _positive, "seconds between checks", default="1.0")
    add(health, "--health-fast-interval", _positive, "the same, near a change", default="0.25")
    add(health, "--health-timeout", _positive, "seconds until a check has failed", default="1.0")
    add(health, "--rise", _at_least_one, "good checks in a row that admit", default="2")
    add(health, "--fall", _at_least_one, "bad checks in a row that take out", default="3")
    add(health, "--health-expect", _statuses, "good statuses", default="200-299")
    add(health, "--health-leaving", _status, "the status by which a backend says that it leaves")

    passive = parser.add_argument_group("passive health (ejects what fails under live traffic)")
    add(passive, "--eject-consecutive", _whole, "failures in a row; 0: never", default="5")
    add(passive, "--eject-failure-rate", _share,
        "recent share of failures, twice the others'; 0: never", default="0.5")  # fmt: skip
    add(passive, "--eject-latency-factor", _number,
        "recent median latency over that of the others; 0: never", default="0")  # fmt: skip
    add(passive, "--eject-seconds", _positive, "the first ejection; the n-th is n times as long",
        default="10")  # fmt: skip
    add(passive, "--eject-share", _share, "how many of the backends at most", default="0.5")
    passive.add_argument(
        "--eject-on-5xx", action="store_true", help="the app's 5xx count as failures"
    )

    holding = parser.add_argument_group("when no backend is up")
    add(holding, "--hold-seconds", _number, "how long a request waits; 0: 503 at once", default="0")
    add(holding, "--hold-count", _whole, "how many may wait", default="1000")
    add(holding, "--hold-bytes", _whole, "bytes of requests that may wait", default="16777216")

    retry = parser.add_argument_group("retries")
    add(retry, "--retry-ratio", _share, "retries for each request", default="0.2")
    add(retry, "--retry-minimum", _whole, "retries in ten seconds in any case", default="3")
    add(
        retry,
        "--replay-bytes",
        _whole,
        "the largest body that is kept for a retry",
        default="65536",
    )

    limits = parser.add_argument_group("limits")
    add(limits, "--max-header-bytes", _at_least_one, "of a request's head", default="32768")
    add(limits, "--max-header-count", _at_least_one, "fields of a request", default="100")
    add(limits, "--max-target-bytes", _at_least_one, "of a request's target", default="8192")
    add(limits, "--max-body-bytes", _whole, "of a request's body; 0: no limit", default="0")
    add(
        limits,
        "--max-connections",
        _at_least_one,
        "in all (8000, or what the open-files limit allows)",
    )
    add(limits, "--max-client-connections", _whole, "of one address; 0: no limit", default="0")

    timeouts = parser.add_argument_group("timeouts, in seconds; 0 is no limit")
    for one in fields(Timeouts):
        name = f"--timeout-{one.name.replace('_', '-')}"
        # What must end for the balancer to be safe has no "never".
        must_end = one.name in ("connect", "head", "reuse", "stop")
        add(timeouts, name, _positive if must_end else _number, "see docs/behaviour.md",
            default=str(one.default))  # fmt: skip
    return parser


def _token(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(_TOKEN_VARIABLE) or None
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"--admin-token-file {path}: {error.strerror}") from error
    if not token:
        raise ConfigError(f"--admin-token-file {path} is empty")
    return token


def parse(arguments: Sequence[str]) -> Config:
    """Read the command line.

    Raises:
        ConfigError: with one line that names the option and what would be right.
    """
    given = _parser().parse_args(arguments)
    token = _token(given.admin_token_file)
    if given.admin is not None and not given.admin.is_loopback and token is None:
        raise ConfigError(
            f"--admin {given.admin} can be reached from other machines: it needs a token "
            f"(--admin-token-file or {_TOKEN_VARIABLE}); or use a loopback address or unix:/PATH"
        )
    ids = [one.id for one in given.backend]
    if twice := {one for one in ids if ids.count(one) > 1}:
        raise ConfigError(f"--backend {min(twice)} is given twice")
    if given.handover is not None:
        parse_address(f"unix:{given.handover}", unix=True)
    return Config(
        listen=tuple(given.listen),
        admin=given.admin,
        admin_token=token,
        handover=given.handover,
        backends=tuple(given.backend),
        health=HealthPolicy(
            path=given.health_path,
            interval=given.health_interval,
            fast_interval=given.health_fast_interval,
            timeout=given.health_timeout,
            rise=given.rise,
            fall=given.fall,
            expect=given.health_expect,
            leaving=given.health_leaving,
        ),
        outliers=OutlierPolicy(
            consecutive=given.eject_consecutive,
            failure_rate=given.eject_failure_rate,
            latency_factor=given.eject_latency_factor,
            seconds=given.eject_seconds,
            share=given.eject_share,
            count_5xx=given.eject_on_5xx,
        ),
        hold=HoldPolicy(seconds=given.hold_seconds, count=given.hold_count, size=given.hold_bytes),
        limits=Limits(
            header_bytes=given.max_header_bytes,
            header_count=given.max_header_count,
            target_bytes=given.max_target_bytes,
            body_bytes=given.max_body_bytes,
            connections=given.max_connections or Limits().connections,
            client_connections=given.max_client_connections,
        ),
        timeouts=Timeouts(
            **{one.name: getattr(given, f"timeout_{one.name}") for one in fields(Timeouts)}
        ),
        access_log=given.access_log,
        trust=tuple(given.trust),
        affinity=given.affinity_cookie,
        retry_ratio=given.retry_ratio,
        retry_minimum=given.retry_minimum,
        replay_bytes=given.replay_bytes,
        connections_given=given.max_connections is not None,
    )
