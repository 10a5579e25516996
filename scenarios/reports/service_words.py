"""Services behind the application in words: the same sentences in every view."""

from scenarios.reports.words import MISSING
from scenarios.verdict.model import ServiceCalled

SERVICES = ("service", "versions", "replicas", "calls", "failed", "by version", "followed")
"""The columns of the table of services."""


def service_text(one: ServiceCalled) -> str:
    """A service in one line."""
    failed = f", {one.failed:,} failed" if one.failed else ""
    return f"{one.service} {versions(one)}: {one.calls:,} calls{failed} ({by_version(one)})"


def versions(one: ServiceCalled) -> str:
    """The version that served before the release, and those that were deployed."""
    return " → ".join(one.versions)


def by_version(one: ServiceCalled) -> str:
    """How many calls each version answered."""
    return (
        ", ".join(
            f"{part.version or 'no replica'}: {part.calls:,}"
            + (f", {part.failed:,} failed" if part.failed else "")
            for part in one.by_version
        )
        or MISSING
    )


def service_row(one: ServiceCalled) -> tuple[str, ...]:
    """A service in the table of services."""
    return (
        one.service,
        versions(one),
        f"{one.replicas:,}",
        f"{one.calls:,}",
        f"{one.failed:,}",
        by_version(one),
        f"{one.followed:,}",
    )
