"""The command line, read and checked. Nothing is opened here."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from balancer.addresses import check_not_own, parse_address
from balancer.config import Config, Limits, Timeouts
from balancer.errors import ConfigError
from balancer.health import HealthPolicy
from balancer.hold_queue import HoldPolicy
from balancer.option_values import (
    at_least_one,
    cookie,
    network,
    number,
    parse_backend,
    path,
    positive,
    share,
    status,
    statuses,
    whole,
)
from balancer.outlier_detection import OutlierPolicy

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
    add(main, "--trust", network, "clients whose X-Forwarded-* fields are believed; repeatable",
        action="append", default=[], metavar="NETWORK")  # fmt: skip
    add(main, "--affinity-cookie", cookie, "name of a cookie that keeps a user on one version")

    main.add_argument(
        "--underscores", action="store_true", help="pass on fields with _ in their name"
    )

    health = parser.add_argument_group("health checks")
    add(health, "--health-path", path, "path of the check, a GET", default="/")
    add(health, "--health-interval", positive, "seconds between checks", default="1.0")
    add(
        health,
        "--health-fast-interval",
        positive,
        "seconds between checks while the state may change",
        default="0.25",
    )
    add(
        health,
        "--health-timeout",
        positive,
        "seconds after which a check has failed",
        default="1.0",
    )
    add(
        health,
        "--rise",
        at_least_one,
        "checks that must pass in a row to bring a backend up",
        default="2",
    )
    add(
        health,
        "--fall",
        at_least_one,
        "checks that must fail in a row to take a backend down",
        default="3",
    )
    add(
        health,
        "--health-expect",
        statuses,
        "statuses with which a check passes",
        default="200-299",
    )
    add(
        health,
        "--health-leaving",
        status,
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
        whole,
        "eject after so many failures in a row; 0: never",
        default="5",
    )
    add(passive, "--eject-failure-rate", share,
        "eject at this share of failures in 10 s, if twice that of the others; 0: never",
        default="0.5")  # fmt: skip
    add(passive, "--eject-latency-factor", number,
        "eject at this multiple of the median latency of the others; 0: never",
        default="0")  # fmt: skip
    add(passive, "--eject-seconds", positive,
        "seconds of the first ejection; the n-th is n times as long", default="10")  # fmt: skip
    add(
        passive,
        "--eject-share",
        share,
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
        number,
        "seconds that a request waits for a backend; 0: answer 503 at once",
        default="0",
    )
    add(holding, "--hold-count", whole, "requests that may wait at once", default="1000")
    add(
        holding,
        "--hold-bytes",
        whole,
        "bytes of requests that may wait at once",
        default="16777216",
    )

    parser.add_argument(
        "--shuffle",
        action="store_true",
        help="take the backends of equal weight in another order in each round, so that two "
        "balancers in a row do not choose in step",
    )

    retry = parser.add_argument_group("retries")
    retry.add_argument(
        "--no-retry",
        action="store_true",
        help="answer 502 when a backend refuses or loses a request, instead of trying again",
    )
    add(retry, "--retry-ratio", share, "retries per request, over ten seconds", default="0.2")
    add(
        retry,
        "--retry-minimum",
        whole,
        "retries that are always allowed in ten seconds",
        default="3",
    )
    add(
        retry,
        "--replay-bytes",
        whole,
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
    add(limits, "--max-header-bytes", at_least_one, "largest head of a request", default="32768")
    add(limits, "--max-header-count", at_least_one, "most fields of a request", default="100")
    add(limits, "--max-target-bytes", at_least_one, "largest target of a request", default="8192")
    add(limits, "--min-body-rate", whole,
        "least bytes per second of a request's body, on average; 0: no limit",
        default="500")  # fmt: skip
    add(limits, "--max-backend-requests", whole,
        "most requests under way with one backend; 0: no limit", default="1024")  # fmt: skip
    add(limits, "--max-body-bytes", whole, "largest body of a request; 0: no limit", default="0")
    add(
        limits,
        "--max-connections",
        at_least_one,
        "most connections of clients; the limit of open files may lower this",
    )
    add(
        limits,
        "--max-client-connections",
        whole,
        "most connections of one client address; 0: no limit",
        default="0",
    )

    timeouts = parser.add_argument_group("timeouts, in seconds (0: no limit)")
    for one in fields(Timeouts):
        name = f"--timeout-{one.name.replace('_', '-')}"
        # What must end for the balancer to be safe has no "never".
        must_end = one.name in ("connect", "head", "reuse", "stop")
        add(timeouts, name, positive if must_end else number, _TIMEOUTS[one.name],
            default=str(one.default))  # fmt: skip
    return parser


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(_TOKEN_VARIABLE) or None
    try:
        token = file.read_text().strip()
    except OSError as error:
        raise ConfigError(f"--admin-token-file {file}: {error.strerror}") from error
    if not token:
        raise ConfigError(f"--admin-token-file {file} is empty")
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
        shuffle=given.shuffle,
        retry_ratio=given.retry_ratio,
        retry_minimum=given.retry_minimum,
        replay_bytes=given.replay_bytes,
        connections_given=given.max_connections is not None,
        reuse_post=given.reuse_post,
        underscores=given.underscores,
    )
