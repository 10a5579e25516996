"""What a scenario says of a cluster is checked before anything is made there."""

from pathlib import Path

import pytest

from scenarios.errors import ScenarioError, UsageError
from scenarios.scenario.overrides import Changes
from scenarios.scenario.reader import load

PLATFORM = '[platform]\nkind = "kubernetes"\n'
MANIFESTS = 'manifests = "web.yaml"\n'
JOB = '[platform.migrations]\nimage = "web:{version}"\ncommand = ["migrate", "{migrations}"]\n'
NEWSLETTER = 'extends = "big-bang"\n'
GOOD = 'extends = "good"\n'
URL = "postgresql://u:p@h/n"


def written(folder: Path, text: str) -> str:
    (folder / "web.yaml").write_text("")
    path = folder / "scenario.toml"
    path.write_text(text)
    return str(path)


def test_each_version_has_its_manifests_or_its_command(tmp_path: Path) -> None:
    """One source for all versions, or one for each; paths start from the file's folder."""
    text = GOOD + PLATFORM + 'manifests = { a = "web.yaml" }\napply = { b = ["./b.sh"] }\n'
    spec = load(written(tmp_path, text)).scenario.platform
    assert spec.manifests_of("a") == str(tmp_path / "web.yaml")
    assert (spec.manifests_of("b"), spec.applies("a"), spec.applies("b")) == (
        None,
        None,
        ("./b.sh",),
    )
    command = 'manifests = ["kubectl", "kustomize", "{version}"]\n'
    spec = load(written(tmp_path, GOOD + PLATFORM + command)).scenario.platform
    assert spec.manifests_of("b") == ("kubectl", "kustomize", "{version}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "[platform]\nservice = 'web'\n", 'service\': needs platform.kind = "kubernetes"'),
        (GOOD + PLATFORM, "neither has the version 'a'"),
        (GOOD + PLATFORM + MANIFESTS + "apply = ['x']\n", "both have the version 'a'"),
        (GOOD + PLATFORM + "manifests = { a = 'web.yaml' }\n", "neither has the version 'b'"),
        (GOOD + PLATFORM + "apply = { a = ['x'], c = ['x'] }\n", "unknown version 'c'"),
        (GOOD + PLATFORM + "manifests = 'wed.yaml'\n", "there is no file or folder"),
        (GOOD + PLATFORM + "apply = ['x', '{port}']\n", "no placeholder {port}"),
        (GOOD + PLATFORM + "apply = ['x', '{base_url}']\n", "{base_url} is known only once"),
        (
            GOOD + PLATFORM + MANIFESTS + "namespace = 'A b'\n",
            "expected at most 63 lower-case letters",
        ),
        (GOOD + PLATFORM + MANIFESTS + "url = 'https://x'\n", "expected a URL without a path"),
        (GOOD + PLATFORM + MANIFESTS + "url = 'http://x/y'\n", "expected a URL without a path"),
        (GOOD + PLATFORM + MANIFESTS + "url = 'http://x:a'\n", "expected a URL without a path"),
        (GOOD + PLATFORM + MANIFESTS + "[router]\nkind = 'haproxy'\n", "its Service sends"),
        (
            GOOD + PLATFORM + MANIFESTS + "[[faults]]\ndo = 'kill'\n",
            "key 'faults': has no meaning with platform.kind",
        ),
        (NEWSLETTER + PLATFORM + MANIFESTS, "step 1: 'migrate' on a cluster needs"),
        (
            NEWSLETTER + PLATFORM + MANIFESTS + "[platform.migrations]\nimage = 'x'\n",
            "step 1: a directory of migrations needs platform.migrations.command",
        ),
        (
            NEWSLETTER + PLATFORM + MANIFESTS + JOB.replace("{migrations}", "{python}"),
            "no placeholder {python}",
        ),
        (
            NEWSLETTER.replace("big-bang", "undo") + PLATFORM + MANIFESTS + JOB,
            "'undo' is not possible on a cluster",
        ),
        (
            NEWSLETTER
            + PLATFORM
            + MANIFESTS
            + JOB
            + "[release]\nsteps = [{ deploy = 'b' }, { migrate_down = ['x'] }]\n"
            + "[application]\nreadiness_path = '/ready'\n",
            "'migrate_down' is not possible on a cluster",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    """The line names the key, and what would be right."""
    with pytest.raises(ScenarioError) as caught:
        load(written(tmp_path, text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_migration_may_be_only_in_its_image(tmp_path: Path) -> None:
    """The directory of a step need not be on this machine, and neither need a program."""
    text = (
        PLATFORM
        + MANIFESTS
        + JOB
        + "[release]\nsteps = [{ migrate = 'db/none' }, { migrate = ['rake', '{version}'] },"
        " { deploy = 'b' }]\n"
    )
    scenario = load(written(tmp_path, NEWSLETTER + text)).scenario
    assert scenario.release.steps[0].migrate == str(tmp_path / "db" / "none")


def changes(**flags: object) -> Changes:
    return Changes(database=URL, **flags)  # type: ignore[arg-type]


def test_the_strategy_is_that_of_the_platform(tmp_path: Path) -> None:
    """Without a flag it is `deployment` on a cluster, and `rolling` with processes."""
    path = written(tmp_path, NEWSLETTER + PLATFORM + MANIFESTS + JOB)
    experiment = changes(context="kind-dev").experiment(path, None, 1)
    assert (experiment.strategy, experiment.on_cluster) == ("deployment", True)
    assert "--context kind-dev" in experiment.replay
    assert Changes().experiment("good", None, 1).strategy == "rolling"
    simulated = Changes(platform="simulated").experiment(path, "rolling", 1)
    assert not simulated.on_cluster


@pytest.mark.parametrize(
    ("flags", "strategy", "said"),
    [
        ({"replicas": 3}, None, "--replicas has no meaning on a cluster"),
        ({"persona": "ecs"}, None, "--persona has no meaning on a cluster"),
        ({"router": "nginx"}, None, "--set router.kind=nginx: key 'router.kind': on a cluster"),
        ({"faults": ("kill",)}, None, "--fault has no meaning on a cluster"),
        ({"hold": True}, None, "--hold has no meaning on a cluster"),
        ({"control": True}, None, "--control has no meaning on a cluster"),
        ({"database": None}, None, "give a server that they and this machine reach"),
        ({}, "deploiment", "did you mean 'deployment'?"),
    ],
)
def test_flags_that_do_not_fit_a_cluster_are_refused(
    flags: dict[str, object], strategy: str | None, said: str, tmp_path: Path
) -> None:
    """Nobody believes then that they had an effect."""
    path = written(tmp_path, NEWSLETTER + PLATFORM + MANIFESTS + JOB)
    with pytest.raises((UsageError, ScenarioError)) as caught:
        Changes(**{"database": URL, **flags}).experiment(path, strategy, 1)  # type: ignore[arg-type]
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "strategy", "said"),
    [
        ({"context": "kind-dev"}, None, "--context needs a scenario with platform.kind"),
        ({}, "deployment", "--strategy deployment is for scenarios with platform.kind"),
    ],
)
def test_flags_of_a_cluster_are_refused_elsewhere(
    flags: dict[str, object], strategy: str | None, said: str
) -> None:
    """Nobody believes then that a cluster was used."""
    with pytest.raises(UsageError) as caught:
        Changes(**flags).experiment("good", strategy, 1)  # type: ignore[arg-type]
    assert said in str(caught.value)
