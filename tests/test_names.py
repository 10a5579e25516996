"""One name stands for one thing within a package."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("balancer", "newsletter_app", "orchestrator", "scenarios")

SAME_CONCEPT = {
    # A command has the name of what it runs or shows.
    "matrix", "report", "run", "story", "watch", "machine",
    # The record, and the module that makes or judges it.
    "locks", "manifest", "probed", "jobs", "control_run", "control_comparison",
    "counted", "pooler",
    # The errors of a package, and of one within it.
    "errors",
    # A command, and what carries it out.
    "probe", "sweep",
    # How numbers and findings are worded.
    "words",
    # A router, and its log.
    "haproxy", "envoy", "nginx", "traefik", "caddy",
    # A platform, and the persona that stops replicas as it does.
    "kubernetes",
}  # fmt: skip
"""Module names that a package may have twice, since both are about the same thing."""


def modules(package: str) -> list[Path]:
    return [path for path in sorted((ROOT / package).rglob("*.py")) if path.stem[0] != "_"]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_class_name_stands_for_two_classes(package: str) -> None:
    """Within a package, a public class name tells which class is meant."""
    names = Counter(
        node.name
        for path in (ROOT / package).rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert names
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_name_stands_for_two_concepts(package: str) -> None:
    """Within a package, two modules share a name only where they are about the same thing."""
    names = Counter(path.stem for path in modules(package))
    assert names
    assert {name for name, count in names.items() if count > 1} <= SAME_CONCEPT
