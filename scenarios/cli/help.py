"""The examples and exit statuses of `--help`, the flag `--version`, and shell completion."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "run": (
        "hitless run",
        "hitless run scenario.toml --dry-run",
        "hitless run big-bang --strategy rolling --seed 7",
        "hitless run scenario.toml --strategy canary --replicas 4 --rate 500",
        "hitless run --persona kubernetes --set policy.termination.pre_stop_seconds=5",
        "hitless run scenario.toml --junit results.xml --json > verdict.json",
        "hitless run good --platform simulated --replicas 10000 --rate 100000",
    ),
    "check": (
        "hitless check big-bang",
        "hitless check scenario.toml --strategy canary --junit check.xml",
        "hitless check with-default --graph mermaid",
    ),
    "matrix": (
        "hitless matrix",
        "hitless matrix big-bang expand-contract --rate 100",
        "hitless matrix expand-contract --persona kubernetes --persona ecs",
        "hitless matrix --platform simulated",
    ),
    "demo": ("hitless demo", "hitless demo --rate 200"),
    "sweep": (
        "hitless sweep good --vary policy.max_surge=1,25%,100% --vary balancer.rise=1,2,3",
        "hitless sweep --vary policy.max_surge=1,50%,100% --vary policy.min_ready_seconds=0,1,5",
        "hitless sweep good --vary traffic.rate=100..2000 --random 200 --plot sweep.svg",
    ),
    "calibrate": (
        "hitless calibrate runs/20260101-120000-big-bang-rolling --compare",
        "hitless calibrate runs/20260101-120000-big-bang-rolling --out calibrated.toml",
    ),
    "fuzz": (
        "hitless fuzz",
        "hitless fuzz --seconds 600 --seed 100000",
        "hitless fuzz --replay runs/fuzz-17.json",
    ),
    "clean": ("hitless clean --cluster", "hitless clean --cluster kind-dev"),
    "help": ("hitless help exit-status", "hitless help run"),
    "list": ("hitless list", "hitless list --json", "hitless list --personas"),
    "report": (
        "hitless report runs/20260101-120000-big-bang-rolling",
        "hitless report runs/20260101-120000-big-bang-rolling --json",
    ),
    "explain": ("hitless explain runs/20260101-120000-big-bang-rolling s1-000119-1",),
    "watch": (
        "hitless watch --url http://127.0.0.1:8080/ -- ./deploy.sh",
        "hitless watch --url https://shop.test/ --bearer TOKEN -- ./deploy.sh",
        "hitless watch --url https://shop.test/ --logs '/var/log/nginx/*.log' -- ./deploy.sh",
        "hitless watch --url http://shop.test/ --compose shop -- docker compose -p shop up -d",
        "hitless watch --url http://127.0.0.1:8080/health --rate 100",
    ),
    "probe": (
        "hitless probe -- uvicorn app:app --port {port}",
        "hitless probe --persona nomad --behind alb -- node server.js",
        "hitless probe --slow '/slow?t={seconds}' --upload /files -- ./server -addr {host}:{port}",
        "hitless probe scenario.toml --version b --junit probe.xml",
    ),
    "ctl": (
        "hitless ctl runs/20260101-120000-big-bang-rolling pause",
        "hitless ctl runs/20260101-120000-big-bang-rolling promote",
        "hitless ctl runs/20260101-120000-big-bang-rolling status --json",
    ),
    "init": (
        "hitless init",
        "hitless init --old 'node server.js' --old-cwd old --new-cwd new --health /health",
        "hitless init --old '{python} app.py' --postgres --migrate 'alembic upgrade head'",
        "hitless init --from openapi.json --old 'node server.js' --health /health",
    ),
    "schema": ("hitless schema > scenario.schema.json", "hitless schema verdict"),
    "compare": (
        "hitless compare runs/20260101-120000-big-bang-naive runs/20260101-120100-big-bang-rolling",
        "hitless compare runs/*-rolling runs/*-canary --html compare.html",
    ),
}


def epilog(name: str) -> str:
    """The examples of a command, for the end of its help."""
    examples = "\n".join(f"  {example}" for example in EXAMPLES.get(name, ()))
    return f"\b\nExamples:\n{examples}" if examples else ""


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls it with the flag's value
    if asked:
        from importlib.metadata import version  # noqa: PLC0415 - its import takes a while

        sys.stdout.write(f"hitless {version('hitless')}\n")
        raise typer.Exit


def root(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Deploy a release under traffic, and judge whether it dropped any request or data."""


def complete_scenario(incomplete: str) -> Iterable[str]:
    """The built-in scenarios and the scenario files in this folder that begin with this text."""
    from scenarios.scenario.reader import builtin_names  # noqa: PLC0415 - only when a shell asks

    files = (str(path) for path in Path().glob("*.toml"))
    return [name for name in (*builtin_names(), *files) if name.startswith(incomplete)]


def complete_persona(incomplete: str) -> Iterable[str]:
    """The personas that begin with this text."""
    from orchestrator.personas import PERSONAS  # noqa: PLC0415 - only when a shell asks

    return [name for name in PERSONAS if name.startswith(incomplete)]


def complete_strategy(incomplete: str) -> Iterable[str]:
    """The strategies that begin with this text."""
    from scenarios.scenario.experiment import ALL_STRATEGIES  # noqa: PLC0415 - only when a shell asks

    return [name for name in ALL_STRATEGIES if name.startswith(incomplete)]
