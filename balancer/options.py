"""The command line, read and checked. Nothing is opened here."""

import argparse
import ipaddress
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from balancer.addresses import check_not_own, parse_address
from balancer.config import (
    BackendSpec,
    Config,
    Limits,
    Network,
    Timeouts,
    parse_name,
)
from balancer.errors import ConfigError
from balancer.health import HealthPolicy
from balancer.hold_queue import HoldPolicy
from balancer.outlier_detection import OutlierPolicy

_COOKIE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIMEOUTS = {
    "head": "from the first byte of a request to the end of its head",
    "body": "without a byte of the body of a request",
    "keep_alive": "without a request on the connection of a client",
    "connect": "for one attempt to connect to a backend",
    "first_byte": "from the end of a request to the head of its response",
    "stream": "without a byte of the body of a response",
    "total": "from the head of a request to the end of its response",
    "reuse": "for which a connection to a backend may be idle and be used again",
    "tunnel": "without a byte on an upgraded connection",
    "stop": "for a graceful stop",
    "stop_idle": "for which a graceful stop waits for idle connections",
}
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
            raise ConfigError(f"--backend {text}: unknown {key!r}; use version= or weight=")
    return BackendSpec(
        parse_name(name if equals else str(address), "backend id"), address, version, weight
    )


def _number(text: str, least: float = 0.0) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < least:
        raise ConfigError(f"{text!r} is not a number of at least {least:g}")
    return number


def _positive(text: str) -> float:
    number = _number(text)
    if number <= 0:
        raise ConfigError(f"{text!r} must be more than 0")
    return number


def _whole(text: str, least: int = 0) -> int:
    # Eighteen digits are more than any count, and fewer than what Python refuses to read.
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
        raise ConfigError(f"{text[:100]!r} is not a whole number of at least {least}")
    return int(text)


def _at_least_one(text: str) -> int:
    return _whole(text, 1)


def _share(text: str) -> float:
    number = _number(text)
    if number > 1:
        raise ConfigError(f"{text!r} is not a share from 0 to 1")
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
        raise ConfigError(f"{text!r} is not a path: it must begin with / and have no spaces")
    return text


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a network such as 10.0.0.0/8: {error}") from None


def _cookie(text: str) -> str:
    if not _COOKIE.fullmatch(text):
        raise ConfigError(f"{text!r} is not a cookie name: use up to 64 letters, digits, _ and -")
    return text


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see python -m balancer --help)")


def _option(check: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let argparse put the name of the option before the message."""

    def convert(text: str) -> Any:  # noqa: ANN401 - whatever the check gives
        try:
            return check(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _parser() -> argparse.ArgumentParser:  # noqa: PLR0915 - one statement an option
    parser = _Parser(
        prog="python -m balancer",
        description="A reverse proxy for HTTP/1.1. It drops no request while backends come and go.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )

    def add(group: Any, name: str, check: Callable[[str], Any], text: str, **more: Any) -> None:  # noqa: ANN401
        group.add_argument(name, type=_option(check), help=text, **more)

    main = parser.add_argument_group("main options")
    listen = lambda text: parse_address(text, any_port=True)  # noqa: E731 - used in one place
    admin = lambda text: parse_address(text, unix=True, any_port=True)  # noqa: E731
    add(main, "--listen", listen, "address for clients, port 0: the system chooses; repeatable",
        action="append", required=True, metavar="HOST:PORT")  # fmt: skip
    add(main, "--backend", parse_backend, "[ID=]HOST:PORT[,version=V][,weight=W]; repeatable",
        action="append", default=[], metavar="BACKEND")  # fmt: skip
    add(main, "--admin", admin, "address of the admin API", metavar="HOST:PORT|unix:/PATH")
    add(
        main,
        "--admin-token-file",
        Path,
        f"file with the token of the admin API; or set {_TOKEN_VARIABLE}",
    )
    add(
        main,
        "--handover",
        Path,
        "unix socket over which the next process with this option takes over",
    )
    add(main, "--access-log", Path, "file for the access log, one JSON line for each exchange")
    add(main, "--trust", _network, "clients whose X-Forwarded-* fields are believed; repeatable",
        action="append", default=[], metavar="NETWORK")  # fmt: skip
    add(main, "--affinity-cookie", _cookie, "name of a cookie that keeps a user on one version")

    main.add_argument(
        "--underscores", action="store_true", help="pass on fields with _ in their name"
    )

    health = parser.add_argument_group("health checks")
    add(health, "--health-path", _path, "path of the check, a GET", default="/")
    add(health, "--health-interval", _positive, "seconds between checks", default="1.0")
    add(
        health,
        "--health-fast-interval",
        _positive,
        "seconds between checks while the state may change",
        default="0.25",
    )
    add(
        health,
        "--health-timeout",
        _positive,
        "seconds after which a check has failed",
        default="1.0",
    )
    add(
        health,
        "--rise",
        _at_least_one,
        "checks that must pass in a row to bring a backend up",
        default="2",
    )
    add(
        health,
        "--fall",
        _at_least_one,
        "checks that must fail in a row to take a backend down",
        default="3",
    )
    add(
        health,
        "--health-expect",
        _statuses,
        "statuses with which a check passes",
        default="200-299",
    )
    add(
        health,
        "--health-leaving",
        _status,
        "status with which a backend announces its shutdown; it is then drained",
    )

    health.add_argument(
        "--no-active-checks",
        action="store_true",
        help="check a backend until it is up, and then no more",
    )

    passive = parser.add_argument_group(
        "passive health checks (eject a backend that fails live requests)"
    )
    add(
        passive,
        "--eject-consecutive",
        _whole,
        "eject after so many failures in a row; 0: never",
        default="5",
    )
    add(passive, "--eject-failure-rate", _share,
        "eject at this share of failures in 10 s, if twice that of the others; 0: never",
        default="0.5")  # fmt: skip
    add(passive, "--eject-latency-factor", _number,
        "eject at this multiple of the median latency of the others; 0: never",
        default="0")  # fmt: skip
    add(passive, "--eject-seconds", _positive,
        "seconds of the first ejection; the n-th is n times as long", default="10")  # fmt: skip
    add(
        passive,
        "--eject-share",
        _share,
        "largest share of the backends that may be ejected at once",
        default="0.5",
    )
    passive.add_argument(
        "--eject-on-5xx", action="store_true", help="count 5xx responses as failures"
    )

    passive.add_argument(
        "--no-passive-checks",
        action="store_true",
        help="learn nothing from live requests: only health checks take a backend out",
    )

    holding = parser.add_argument_group("when no backend is up")
    add(
        holding,
        "--hold-seconds",
        _number,
        "seconds that a request waits for a backend; 0: answer 503 at once",
        default="0",
    )
    add(holding, "--hold-count", _whole, "requests that may wait at once", default="1000")
    add(
        holding,
        "--hold-bytes",
        _whole,
        "bytes of requests that may wait at once",
        default="16777216",
    )

    retry = parser.add_argument_group("retries")
    retry.add_argument(
        "--no-retry",
        action="store_true",
        help="answer 502 when a backend refuses or loses a request, instead of trying again",
    )
    add(retry, "--retry-ratio", _share, "retries per request, over ten seconds", default="0.2")
    add(
        retry,
        "--retry-minimum",
        _whole,
        "retries that are always allowed in ten seconds",
        default="3",
    )
    add(
        retry,
        "--replay-bytes",
        _whole,
        "largest request body that is kept for a retry",
        default="65536",
    )

    retry.add_argument(
        "--reuse-post",
        action="store_true",
        help="send POST and PATCH on kept connections, as other proxies do; some then fail "
        "when a backend closes an idle connection",
    )

    limits = parser.add_argument_group("limits")
    add(limits, "--max-header-bytes", _at_least_one, "largest head of a request", default="32768")
    add(limits, "--max-header-count", _at_least_one, "most fields of a request", default="100")
    add(limits, "--max-target-bytes", _at_least_one, "largest target of a request", default="8192")
    add(limits, "--min-body-rate", _whole,
        "least bytes per second of a request's body, on average; 0: no limit",
        default="500")  # fmt: skip
    add(limits, "--max-backend-requests", _whole,
        "most requests under way with one backend; 0: no limit", default="1024")  # fmt: skip
    add(limits, "--max-body-bytes", _whole, "largest body of a request; 0: no limit", default="0")
    add(
        limits,
        "--max-connections",
        _at_least_one,
        "most connections of clients; the limit of open files may lower this",
    )
    add(
        limits,
        "--max-client-connections",
        _whole,
        "most connections of one client address; 0: no limit",
        default="0",
    )

    timeouts = parser.add_argument_group("timeouts, in seconds (0: no limit)")
    for one in fields(Timeouts):
        name = f"--timeout-{one.name.replace('_', '-')}"
        # What must end for the balancer to be safe has no "never".
        must_end = one.name in ("connect", "head", "reuse", "stop")
        add(timeouts, name, _positive if must_end else _number, _TIMEOUTS[one.name],
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
    for one in given.backend:
        check_not_own(one.address, given.listen)
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
            active=not given.no_active_checks,
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
            body_rate=given.min_body_rate,
            backend_requests=given.max_backend_requests,
            connections=given.max_connections or Limits().connections,
            client_connections=given.max_client_connections,
        ),
        timeouts=Timeouts(
            **{one.name: getattr(given, f"timeout_{one.name}") for one in fields(Timeouts)}
        ),
        access_log=given.access_log,
        trust=tuple(given.trust),
        affinity=given.affinity_cookie,
        retry=not given.no_retry,
        passive_checks=not given.no_passive_checks,
        retry_ratio=given.retry_ratio,
        retry_minimum=given.retry_minimum,
        replay_bytes=given.replay_bytes,
        connections_given=given.max_connections is not None,
        reuse_post=given.reuse_post,
        underscores=given.underscores,
    )
