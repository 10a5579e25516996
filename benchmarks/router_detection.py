"""What it costs if nobody tells a router that a replica leaves, for each router in one table.

With `policy.termination.order = "checks-only"`, a leaving replica gets its stop signal, and the
router has to find out by its own health checks. *Detection* is the time from when a replica's port
is closed until the router's own checks say that it is down. All routers check once a second
(`[balancer]` of the scenario). Our balancer is there twice: as it is, and without its retries and
its passive checks, with POST on kept connections. So is HAProxy: as its documentation recommends,
and with `retries 0` (`router_apps/no-retries.cfg`).

    python -m benchmarks.router_detection [--only haproxy,envoy] [--rate 100] [--seed 1]

A router without health checks (nginx) never detects anything, so it is not in the default list.
"""

import argparse
from collections import Counter
from pathlib import Path

from benchmarks.recorded import Recorded, machine, recorded, title
from scenarios.verdict.timeline import Timeline

UNKIND = (
    *("--set", "balancer.retry=false", "--set", "balancer.passive_checks=false"),
    *("--set", "balancer.reuse_post=true"),
)
SUBJECTS: dict[str, tuple[str, ...]] = {
    "hitless": ("--router", "hitless"),
    "hitless-checks-alone": ("--router", "hitless", *UNKIND),
    "haproxy": ("--router", "haproxy"),
    "haproxy-no-retries": (
        *("--router", "haproxy"),
        *("--set", f'router.config="{Path(__file__).parent / "router_apps" / "no-retries.cfg"}"'),
    ),
    "envoy": ("--router", "envoy"),
    "traefik": ("--router", "traefik"),
    "caddy": ("--router", "caddy"),
}
DEFAULT = tuple(name for name in SUBJECTS if name != "caddy")
HEAD = (
    "| router | replicas | detection, s: mean, longest | failed | failed per s of detection "
    "| causes |\n|---|--:|--:|--:|--:|---|"
)


def detections(run: Recorded) -> list[float]:
    """For each replica that left: how long its router took to find out, in seconds."""
    found = []
    for life in Timeline(run.folder.events.read()).lives.values():
        left = life.departure
        if left is None or left.router_noticed_ns is None:
            continue
        gone_ns = left.stopped_listening_ns or left.ended_ns
        if gone_ns is not None:
            found.append(max(left.router_noticed_ns - gone_ns, 0) / 1e9)
    return found


def row(name: str, run: Recorded) -> str:
    """A line of the table."""
    seconds, verdict = detections(run), run.verdict
    failed = verdict.requests.failed
    causes = Counter({cause.cause: cause.count for cause in verdict.causes})
    said = ", ".join(f"`{cause}` {count}" for cause, count in causes.most_common(3))
    if seconds:
        took = f"{sum(seconds) / len(seconds):.2f}, {max(seconds):.2f}"
        per_second = f"{failed / sum(seconds):.1f}"
    else:
        took, per_second = "not detected", ""
    lost = f"{failed} of {verdict.requests.planned:,}"
    kind = title(name, run) + (", retries 0" if name == "haproxy-no-retries" else "")
    return f"| {kind} | {len(seconds)} | {took} | {lost} | {per_second} | {said} |"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default=",".join(DEFAULT), help="some of the subjects")
    parser.add_argument("--rate", type=float, default=100, help="arrivals per second")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(HEAD, flush=True)
    before = machine()
    for name in given.only.split(","):
        with recorded(
            "expand-contract",
            *("--strategy", "rolling", "--rate", f"{given.rate:g}", "--seed", str(given.seed)),
            *("--replicas", "2", "--existing-rows", "2000", "--settle", "1"),
            *("--set", 'policy.termination.order="checks-only"'),
            *SUBJECTS[name],
        ) as run:
            print(row(name, run), flush=True)
    print(f"\nbefore: {before}; after: {machine()}")


if __name__ == "__main__":
    main()
