"""What a scenario must say, and must not say, to run on a cluster."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.kubernetes.target import is_dns_label
from orchestrator.placeholders import PlaceholderError, fill
from scenarios.errors import ScenarioError, near
from scenarios.scenario.placeholders import OF_A_REPLICA, PLACEHOLDERS
from scenarios.scenario.platform_spec import PlatformSpec
from scenarios.scenario.simulation_checks import At
from scenarios.scenario.spec import ReleaseStep, Scenario

IN_MANIFESTS = ("namespace", "version", *(one for one in PLACEHOLDERS if one not in OF_A_REPLICA))
"""The placeholders of manifests."""

IN_COMMANDS = (*IN_MANIFESTS, "context")
"""The placeholders of commands that make or apply manifests."""

_LATE = ("smtp_url", "base_url")
"""Those that depend on the address of the Service."""

IN_JOBS = ("version", "migrations", "through", *IN_MANIFESTS)
"""The placeholders of the Job of a migration."""


def check_platform(scenario: Scenario, at: At) -> None:
    """Refuse what a run on a cluster cannot do, and keys of a cluster where there is none.

    Raises:
        ScenarioError: something does not fit.
    """
    spec = scenario.platform
    if not spec.on_cluster:
        for key in spec.__struct_fields__:
            if getattr(spec, key) != getattr(PlatformSpec(), key):
                raise ScenarioError(f'{at(["platform", key])}needs platform.kind = "kubernetes"')
        return
    _check_left_out(scenario, at)
    _check_sources(scenario, at)
    for number, step in enumerate(scenario.release.steps):
        _check_step(step, spec, f"{at(['release', 'steps', str(number)])}step {number + 1}")
    if spec.namespace is not None and not is_dns_label(spec.namespace):
        raise ScenarioError(
            f"{at(['platform', 'namespace'])}expected at most 63 lower-case letters, digits and "
            f"dashes, got {spec.namespace!r}"
        )
    if spec.url is not None:
        _check_url(spec.url, at(["platform", "url"]))
    if spec.migrations is not None:
        where = ["platform", "migrations"]
        known = dict.fromkeys(IN_JOBS, "")
        _check_filled([spec.migrations.image], known, at([*where, "image"]))
        _check_filled(spec.migrations.command or (), known, at([*where, "command"]))
        _check_filled(spec.migrations.env.values(), known, at([*where, "env"]))


def _check_left_out(scenario: Scenario, at: At) -> None:
    """Refuse tables that are about processes of this machine."""
    database = scenario.database
    tables = {
        ("application", "processes"): bool(scenario.application.processes),
        ("services",): bool(scenario.services),
        ("faults",): bool(scenario.faults),
        ("jobs",): scenario.jobs is not None,
        ("cache",): scenario.cache is not None,
        ("database", "pooler"): database is not None and database.pooler is not None,
    }
    for keys, given in tables.items():
        if given:
            raise ScenarioError(
                f'{at(list(keys))}has no meaning with platform.kind = "kubernetes"; leave it out'
            )
    for key in ("subjects", "settled_when"):
        if isinstance(getattr(scenario.integrity, key, None), tuple):
            raise ScenarioError(
                f"{at(['integrity', key])}on a cluster this must be a query of the database"
            )
    if scenario.router.kind != "hitless":
        raise ScenarioError(
            f"{at(['router', 'kind'])}on a cluster its Service sends the requests to the pods; "
            "leave it out"
        )


def _check_sources(scenario: Scenario, at: At) -> None:
    """See that each version of the release has manifests, or a command that applies it."""
    spec = scenario.platform
    for key in ("manifests", "apply"):
        given = getattr(spec, key)
        for version in given if isinstance(given, Mapping) else ():
            if version not in scenario.versions:
                raise ScenarioError(
                    f"{at(['platform', key, version])}unknown version {version!r}; "
                    f"{near(version, scenario.versions)}"
                )
    deployed = [scenario.release.serving]
    deployed += [step.deploy for step in scenario.release.steps if step.deploy is not None]
    for version in dict.fromkeys(deployed):
        manifests, command = spec.manifests_of(version), spec.applies(version)
        if (manifests is None) == (command is None):
            what = "neither has" if manifests is None else "both have"
            raise ScenarioError(
                f"{at(['platform'])}'manifests' and 'apply': {what} the version {version!r}; "
                "exactly one of them must say how it is applied"
            )
        where = at(["platform", "manifests" if command is None else "apply"])
        if isinstance(manifests, str):
            if not Path(filled_path(manifests, version)).exists():
                raise ScenarioError(
                    f"{where}there is no file or folder {filled_path(manifests, version)}"
                )
        else:
            words = command or manifests or ()
            _check_filled(words, dict.fromkeys(IN_COMMANDS, ""), where)
            early = version == scenario.release.serving and spec.url is None
            for name in _LATE if early else ():
                if any(f"{{{name}}}" in word for word in words):
                    raise ScenarioError(
                        f"{where}{{{name}}} is known only once there is a Service; name its "
                        "address in platform.url"
                    )


def filled_path(path: str, version: str) -> str:
    """The path of a version's manifests: it may contain `{version}`."""
    return path.replace("{version}", version)


def _check_step(step: ReleaseStep, spec: PlatformSpec, where: str) -> None:
    for key in ("migrate_down", "undo"):
        if getattr(step, key):
            raise ScenarioError(f"{where}: {key!r} is not possible on a cluster")
    if step.migrate is None:
        return
    if spec.migrations is None:
        raise ScenarioError(
            f"{where}: 'migrate' on a cluster needs [platform.migrations] with the image of its Job"
        )
    if isinstance(step.migrate, tuple):
        _check_filled(step.migrate, dict.fromkeys(IN_JOBS, ""), f"{where}: ")
    elif spec.migrations.command is None:
        raise ScenarioError(
            f"{where}: a directory of migrations needs platform.migrations.command, which applies "
            "it inside of the image; or let 'migrate' be a command (an array)"
        )


def _check_url(url: str, where: str) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or parts.path not in ("", "/") or parts.query or parts.username is not None:
        raise ScenarioError(f"{where}expected a URL without a path, such as http://shop.test:8080/")


def _check_filled(texts: Iterable[str], known: Mapping[str, str], where: str) -> None:
    for text in texts:
        try:
            fill(text, known)
        except PlaceholderError as error:
            raise ScenarioError(f"{where}{error}") from error
