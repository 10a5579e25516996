"""The keep-alive race behind each router: 502s on POST, by cause, and how they go away.

An application that closes idle connections before its router stops using them loses requests: the
router sends one at the moment when the application closes the connection. A GET may be sent again;
a POST may not. Each router runs twice in front of `router_apps/closing_app.py`: once with a
keep-alive timeout of 0.1 s, and once with one that is longer than the router keeps idle connections
(`backend_idle_seconds` of its capabilities). Our balancer is there twice: as it is, and with
`balancer.reuse_post = true`.

    python -m benchmarks.keep_alive [--only nginx,envoy] [--seconds 10] [--rate 40]
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec

from benchmarks.recorded import Recorded, machine, recorded, title
from orchestrator.routers.capabilities import Kind
from orchestrator.routers.registry import capabilities_of

APP = Path(__file__).with_name("router_apps") / "closing_app.py"
SHORT_SECONDS = 0.1
SUBJECTS: dict[str, tuple[str, ...]] = {
    "hitless": ("--router", "hitless"),
    "hitless-reuse-post": ("--router", "hitless", "--set", "balancer.reuse_post=true"),
    **{kind: ("--router", kind) for kind in ("haproxy", "envoy", "nginx", "traefik", "caddy")},
}
SCENARIO = """
name = "keep-alive"
title = "An application that closes idle connections after {seconds:g} s"

[application]
command = [{python}, {app}, "{{port}}", "{seconds:g}"]
health_path = "/health"

[versions]
a = {{}}
b = {{}}

[release]
from = "a"
steps = [{{ deploy = "b" }}]

[policy]
replicas = 1

[phases]
baseline_seconds = 0.0
settle_seconds = {settle:g}

[objectives]
schedule_lag_p99_seconds = 10.0
schedule_lag_max_seconds = 30.0

[[traffic.journeys]]
name = "order"
steps = [{{ method = "POST", path = "/orders", body = "one", connection = "any" }}]

[[traffic.journeys]]
name = "look"
steps = [{{ path = "/orders", connection = "any" }}]
"""
HEAD = (
    "| router | keep-alive timeout, s | POST failed | GET failed | causes |\n|---|--:|--:|--:|---|"
)


def scenario(folder: Path, seconds: float, settle: float) -> Path:
    """Write the scenario of an application with this keep-alive timeout."""
    quoted = {"python": sys.executable, "app": str(APP)}
    path = folder / f"keep-alive-{seconds:g}.toml"
    path.write_text(
        SCENARIO.format(
            seconds=seconds,
            settle=settle,
            **{name: msgspec.json.encode(text).decode() for name, text in quoted.items()},
        )
    )
    return path


def row(name: str, seconds: float, run: Recorded) -> str:
    """A line of the table."""
    planned, failed = Counter[str](), Counter[str]()
    for one in run.folder.requests.read():
        method = one.endpoint.partition(" ")[0]
        planned[method] += 1
        failed[method] += not one.ok
    lost = [f"{failed[method]} of {planned[method]:,}" for method in ("POST", "GET")]
    causes = [f"`{one.cause}` {one.count} ({one.confidence})" for one in run.verdict.causes]
    cells = (title(name, run), f"{seconds:g}", *lost, ", ".join(causes))
    return f"| {' | '.join(cells)} |"


def rows(names: list[str], settle: float, rate: float) -> Iterator[str]:
    """Run each router twice."""
    with tempfile.TemporaryDirectory(prefix="hitless-bench-") as folder:
        for name in names:
            kind = cast("Kind", name.partition("-")[0])
            for seconds in (SHORT_SECONDS, capabilities_of(kind).backend_idle_seconds * 1.5):
                with recorded(
                    scenario(Path(folder), seconds, settle),
                    *("--strategy", "rolling", "--rate", f"{rate:g}", *SUBJECTS[name]),
                ) as run:
                    yield row(name, seconds, run)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default=",".join(SUBJECTS), help="some of the subjects")
    parser.add_argument("--seconds", type=float, default=10, help="of traffic after the release")
    parser.add_argument("--rate", type=float, default=40, help="arrivals per second")
    given = parser.parse_args()
    before = machine()
    print(HEAD, flush=True)
    for line in rows(given.only.split(","), given.seconds, given.rate):
        print(line, flush=True)
    print(f"\nbefore: {before}; after: {machine()}")


if __name__ == "__main__":
    main()
