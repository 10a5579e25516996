"""Scenario files are read, merged and refused as their authors would wish."""

from pathlib import Path

import pytest

from scenarios.cli.main import status
from scenarios.errors import ScenarioError
from scenarios.scenario.paths import migrations_directory
from scenarios.scenario.reader import builtin_names, load

OWN = """
name = "own"

[versions.one]
command = ["serve", "{port}"]

[versions.two]
command = ["serve", "--new", "{port}"]

[release]
from = "one"
steps = [{ deploy = "two" }]

[[traffic.journeys]]
name = "look"
steps = [{ path = "/" }]
"""


def written(folder: Path, text: str) -> str:
    path = folder / "scenario.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", builtin_names())
def test_every_builtin_scenario_loads(name: str) -> None:
    """Each built-in scenario is valid, says what it teaches, and its directories are there."""
    loaded = load(name)
    scenario = loaded.scenario
    assert scenario.name == name
    assert scenario.title
    assert scenario.teaches
    for step in scenario.release.steps:
        if isinstance(step.migrate, str):
            directory = migrations_directory(step.migrate)
            assert list(directory.glob("*.sql")) + list(directory.glob("*.py"))
            if step.through is not None:
                assert [path for path in directory.iterdir() if path.stem == step.through]


def test_the_design_s_four_plans_come_first() -> None:
    """The list begins with the four plans, in the order in which the book meets them."""
    assert builtin_names()[:4] == ["big-bang", "code-first", "with-default", "expand-contract"]


def test_a_file_of_one_s_own(tmp_path: Path) -> None:
    """A scenario without a database and with only the required keys is enough."""
    loaded = load(written(tmp_path, OWN))
    assert loaded.scenario.database is None
    assert loaded.scenario.policy.replicas == 3
    assert list(loaded.scenario.versions) == ["one", "two"]


def test_extending_merges_tables_and_replaces_values(tmp_path: Path) -> None:
    """`extends` takes over what the file does not say itself, key by key."""
    text = 'extends = "big-bang"\nname = "mine"\n[policy]\nreplicas = 5\n[versions.a]\ncwd = "/"\n'
    scenario = load(written(tmp_path, text)).scenario
    assert (scenario.name, scenario.policy.replicas) == ("mine", 5)
    assert scenario.versions["a"].cwd == "/"
    assert scenario.versions["a"].command == load("big-bang").scenario.versions["a"].command


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'extends = "_newsletr"',
            "key 'extends': scenario '_newsletr' does not exist; did you mean",
        ),
        ('extends = "scenario.toml"', "these files extend each other in a circle"),
        ('extends = "big-bang"\n[policy]\nreplica = 3', ":3: key 'policy.replica': unknown key; "),
        ('extends = "big-bang"\n[policy]\nreplicas = "3"', ":3: key 'policy.replicas': expected "),
        ('extends = "big-bang"\n[policy]\nreplicas = 0', ":3: key 'policy.replicas': expected int"),
        ('extends = "big-bang"\n[versions.c]\ncomand = ["x"]', ":3: key 'versions.c.comand': "),
        ('extends = "big-bang"\n[traffic]\nrate = -2', ":3: key 'traffic.rate': expected float > "),
        ('extends = "big-bang"\n[release]\nsteps = []', ":3: key 'release.steps': expected array"),
        ('extends = "big-bang"\n[release]\nsteps = [{}]', "step 1 needs exactly one of 'migrate'"),
        (
            'extends = "big-bang"\n[release]\nsteps = [{ deploy = "b" }, { migrate_down = "m" }]',
            "step 2: 'migrate_down' needs [application] readiness_path",
        ),
        (
            'extends = "good"\n[release]\nsteps = [{ migrate_down = ["back"] }]',
            "step 1: 'migrate_down' needs a [database] table",
        ),
        (
            'extends = "good"\n[release]\nsteps = [{ undo = true }, { deploy = "b" }]',
            "step 1: 'undo' comes after a 'deploy'",
        ),
        (
            'extends = "undo"\n[release]\nsteps = [{ deploy = "b" }, { migrate_down = "nowhere" }]',
            ":3: key 'release.steps.migrate_down': step 2: '",
        ),
        (
            (
                'extends = "undo"\n[release]\nsteps = [\n{ deploy = "bridge" },\n'
                '{ migrate = "newsletter_app:migrations/expand_contract", through = "0099" }]'
            ),
            "step 2: 'newsletter_app:migrations/expand_contract': there is no migration '0099' in ",
        ),
        (
            (
                'extends = "good"\n[traffic]\njourneys = [{ name = "s", users = 0, '
                'every_seconds = 1, steps = [{ path = "/" }] }]'
            ),
            ":3: key 'traffic.journeys.users': journey s: users must be from 1 to 100000, not 0",
        ),
        (
            'extends = "good"\n[traffic]\nmail_domain = "a b"',
            ":3: key 'traffic.mail_domain': mail_domain 'a b' is not a domain",
        ),
        (
            'extends = "good"\n[[traffic.profile]]\nat_seconds = 1\nrate = 5',
            ":3: key 'traffic.profile.at_seconds': profile must begin at at_seconds = 0",
        ),
        (
            'extends = "undo"\n[release]\nsteps = [{ migrate_down = ["{what}"] }]',
            "step 1: no placeholder {what}",
        ),
        ('extends = "big-bang"\n[release]\nsteps = [{ deploy = "c" }]', "unknown version 'c'"),
        ('extends = "big-bang"\n[release]\nfrom = "z"', ":3: key 'release.from': unknown version"),
        ('extends = "big-bang"\n[policy]\nmax_surge = 0', "are both 0"),
        ('extends = "big-bang"\n[policy]\ncanary_steps = [50, 5]', "their weights must rise"),
        (
            'extends = "big-bang"\n[policy]\nmax_surge = "many"',
            ":3: key 'policy.max_surge': max_surge is 'many'; it must be a number or a percentage",
        ),
        (
            'extends = "good"\n[policy]\npreview = { paths = ["health"] }',
            ":3: key 'policy.preview.paths': expected a path, which begins with /",
        ),
        ("name = 'x'", "key 'versions': this key is required, but absent"),
        ("x = [", "not TOML: "),
        (OWN.replace("from =", "form ="), "key 'release.form': unknown key; did you mean 'from'?"),
        (
            OWN + '[integrity]\nsubjects = "SELECT 1"',
            "key 'integrity.subjects': a query needs a [database] table",
        ),
        (OWN.replace('"{port}"', '"{prot}"', 1), ":5: key 'versions.one.command': no placeholder"),
        (OWN + "[application.env]\nA = '{url}'", "key 'application.env.A': no placeholder {url} "),
        (OWN.replace('command = ["serve", "{port}"]', ""), "'versions.one': neither this version"),
        (
            OWN + '[application]\nhealth_path = "up"',
            "'application.health_path': expected a path, ",
        ),
        (
            OWN + '[application]\nstop_signal = "TERM"',
            "'application.stop_signal': unknown value 'TERM'; did you mean 'SIGTERM'?",
        ),
        (
            OWN + "[objectives]\navailability = 99.9",
            "'objectives.availability': expected a share above 0 and at most 1, such as 0.999, got",
        ),
        (
            OWN + "[objectives]\nreconnect_seconds = -1",
            "'objectives.reconnect_seconds': expected a number, 0 or more, got -1",
        ),
        (
            OWN + "[objectives]\nlatency_seconds = 0",
            "'objectives.latency_seconds': expected a number, above 0, got 0",
        ),
        (OWN.replace('path = "/"', 'path = "/{usr}"'), "nothing fills {usr}; did you mean {user}?"),
        (OWN + '[database]\nmigrate = ["x"]\nusing = "on"', "unknown version 'on'; did you mean"),
        (OWN + '[database]\nmigrate = "x"\nusing = "one"', "belongs to a 'migrate' that is a com"),
        (
            OWN.replace("steps = [{", 'steps = [{ migrate = ["x"], through = "y" }, {', 1),
            "step 1: 'through' belongs to a step with a directory",
        ),
        (
            OWN.replace("steps = [{", 'steps = [{ migrate = "x" }, {', 1),
            "step 1: 'migrate' needs a [database] table",
        ),
    ],
)
def test_a_mistake_is_one_line_that_says_where(tmp_path: Path, text: str, message: str) -> None:
    """A mistake is one line with the file, the line, the key and what would be right."""
    path = written(tmp_path, text)
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_names_the_near_ones() -> None:
    """An unknown scenario is answered with the name that was meant."""
    with pytest.raises(ScenarioError, match="did you mean 'expand-contract'"):
        load("expand-contact")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A path that leads nowhere is said to."""
    with pytest.raises(ScenarioError, match="this scenario file does not exist"):
        load(str(tmp_path / "none.toml"))


def test_a_directory_that_is_not_there() -> None:
    """A missing directory or package of migrations is named."""
    with pytest.raises(ScenarioError, match="there is no directory"):
        migrations_directory("migrations")
    with pytest.raises(ScenarioError, match="no package 'nowhere'"):
        migrations_directory("nowhere:migrations")


TABLES = """
[[traffic.set_up]]
path = "/login"

[[traffic.journeys]]
name = "first"
steps = [{ path = "/" }, { path = "/{id}" }]

[[traffic.journeys]]
name = "second"

[[traffic.journeys.steps]]
path = "/a"

[[traffic.journeys.steps]]
path = "/b"
expect = "200"
"""


@pytest.mark.parametrize(
    ("wrong", "right", "line", "key"),
    [
        ("", "", 'expect = "200"', "traffic.journeys.steps.expect"),
        ('expect = "200"', "methd = 1", "methd = 1", "traffic.journeys.steps.methd"),
        (
            'expect = "200"',
            "",
            'steps = [{ path = "/" }, { path = "/{id}" }]',
            "nothing fills {id}",
        ),
        ('"/{id}" }]\n', '"/" }]\nweight = "x"\n', 'weight = "x"', "traffic.journeys.weight"),
        ('path = "/login"', 'pth = "/login"', 'pth = "/login"', "traffic.set_up.pth"),
    ],
)
def test_the_line_is_that_of_the_element(
    wrong: str, right: str, line: str, key: str, tmp_path: Path
) -> None:
    """Of several journeys and steps, a mistake names the line of the one that has it."""
    text = OWN[: OWN.index("[[traffic")] + TABLES.replace(wrong, right)
    path = written(tmp_path, text)
    with pytest.raises(ScenarioError) as caught:
        load(path)
    number = text.splitlines().index(line) + 1
    assert key in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{number}: "), caught.value


MALFORMED = [
    "",
    "name = ",
    "name = 7",
    OWN.replace("[versions.one]", "[version.one]"),
    OWN.replace("command", "comand", 1),
    OWN.replace('from = "one"', 'from = "none"'),
    OWN.replace("steps = [{ deploy", "steps = [{ deply", 1),
    OWN.replace('path = "/"', 'path = "here"'),
    OWN.replace('"{port}"', '"{prt}"'),
    OWN + "[policy]\nreplicas = -1",
    OWN + "[objectives]\nfailed_requests = 'none'",
    OWN + "[traffic.arrivals]\n",
]


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_file_is_one_line_and_status_2(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`hitless run` of a malformed file is one line that names it, status 2, and no run."""
    path = written(tmp_path, text)
    assert status(["run", path, "--out", str(tmp_path / "runs")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"hitless: {path}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not (tmp_path / "runs").exists()


def test_a_setting_moves_no_path(tmp_path: Path) -> None:
    """What a flag sets leaves the paths of the file where they were: beside the file."""
    (tmp_path / "users.py").write_text("async def come(user): ...\n")
    text = OWN.replace('steps = [{ path = "/" }]', 'python = "users.py:come"')
    loaded = load(written(tmp_path, text), ["policy.replicas=2"])
    assert loaded.scenario.policy.replicas == 2
    assert loaded.scenario.traffic.journeys[0].python == f"{tmp_path.resolve()}/users.py:come"
