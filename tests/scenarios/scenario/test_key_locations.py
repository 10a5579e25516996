"""A mistake in a scenario is reported at the line, or at the flag, that makes it."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.errors import ScenarioError
from scenarios.scenario.key_locations import file_locations
from scenarios.scenario.reader import load

HEAD = """name = "own"
versions.one.command = ["serve", "{port}"]
versions.two = { command = [
    "serve",  # [[traffic.journeys]] in a comment is none
    "{port}",
] }
title = '''
[[traffic.journeys]]
name = "this is text"
'''

[release]
from = "one"
steps = [{ deploy = "two" }]
"""


def refused(folder: Path, text: str, *settings: str) -> str:
    """What is said of a scenario, without the folder."""
    path = folder / "own.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load(str(path), settings)
    return str(caught.value).removeprefix(f"{folder}/")


@pytest.mark.parametrize(
    ("traffic", "line", "key"),
    [
        ('[traffic]\njourneys = [\n{ name = "a", stepz = [] },\n]', 3, "journeys.stepz"),
        (
            (
                '[traffic]\njourneys = [\n{ name = "a", steps = [{ path = "/" }] },\n'
                '{ name = "b", steps = [\n  { path = "/" },\n  { path = "no" },\n] },\n]'
            ),
            6,
            "journeys.steps.path",
        ),
        (
            'traffic = { journeys = [\n{ name = "a", steps = [{ path = "/{idd}" }] }] }',
            2,
            "journeys.steps.path",
        ),
        (
            '[traffic]\njourneys = [{ name = "a", steps = [\n{ path = "/", expect = "200" }] }]',
            3,
            "journeys.steps.expect",
        ),
        (
            (
                '[traffic]\nset_up = [\n{ path = "/" },\n{ path = "x" }]\n'
                'journeys = [{ name = "a", steps = [{ path = "/" }] }]'
            ),
            4,
            "set_up.path",
        ),
    ],
)
def test_a_mistake_inside_an_inline_array(
    traffic: str, line: int, key: str, tmp_path: Path
) -> None:
    """Elements of arrays that are written inline are told apart by their own lines."""
    if traffic.startswith("traffic"):
        text, above = f"{traffic}\n{HEAD}", 0
    else:
        text, above = f"{HEAD}{traffic}\n", HEAD.count("\n")
    assert refused(tmp_path, text).startswith(f"own.toml:{above + line}: key 'traffic.{key}': ")


RIGHT = HEAD + '[[traffic.journeys]]\nname = "a"\nsteps = [{ path = "/" }]\n'


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ('traffic.journeys=[{name="a", steps=[{path="no"}]}]', "traffic.journeys.steps.path"),
        ('traffic.journeys=[{name="a", stepz=[]}]', "traffic.journeys.stepz"),
        ("traffic.journeys=[]", "traffic.journeys"),
        ("policy.max_surge=many", "policy.max_surge"),
        ("policy.replica=3", "policy.replica"),
        ("policy.termination.order=soon", "policy.termination.order"),
        (
            "policy.termination.registration_lag_seconds=[3, 1]",
            "policy.termination.registration_lag_seconds",
        ),
    ],
)
def test_a_mistake_of_a_flag_names_the_flag(setting: str, key: str, tmp_path: Path) -> None:
    """What `--set` sets wrong is not reported at a line of the file that it overrides."""
    assert refused(tmp_path, RIGHT, setting).startswith(f"--set {setting}: key '{key}': ")


def test_the_wrong_one_of_several_tables_is_named(tmp_path: Path) -> None:
    """Of several versions, the message names the one whose setting is wrong."""
    text = RIGHT + "[versions.three]\ncwd = 3\n"
    number = text.splitlines().index("cwd = 3") + 1
    assert refused(tmp_path, text).startswith(f"own.toml:{number}: key 'versions.three.cwd': ")


def test_a_mistake_in_the_extended_file_is_reported_there(tmp_path: Path) -> None:
    """A value that the upper file does not replace is reported in the file that has it."""
    (tmp_path / "base.toml").write_text(RIGHT.replace('path = "/"', 'path = "no"'))
    number = RIGHT.splitlines().index('steps = [{ path = "/" }]') + 1
    assert f"base.toml:{number}: key 'traffic.journeys.steps.path': " in refused(
        tmp_path, 'extends = "base.toml"\n'
    )


def test_a_missing_directory_is_reported_at_its_line(tmp_path: Path) -> None:
    """Of several steps, the one whose directory of migrations is missing is named by its line."""
    steps = 'steps = [\n{ migrate = "there" },\n{ migrate = "missing" },\n{ deploy = "two" }]'
    (tmp_path / "there").mkdir()
    text = RIGHT.replace('steps = [{ deploy = "two" }]', steps) + "[database]\n"
    number = text.splitlines().index('{ migrate = "missing" },') + 1
    message = refused(tmp_path, text)
    assert message.startswith(f"own.toml:{number}: key 'release.steps.migrate': step 2: ")
    assert f"there is no directory {tmp_path}/missing" in message


def test_an_unknown_last_migration_is_found_before_anything_starts(tmp_path: Path) -> None:
    """A `through` that names no migration of the directory is refused as the file is read."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "0001.sql").write_text("SELECT 1")
    step = 'steps = [{ migrate = "there", through = "0002" }, { deploy = "two" }]'
    message = refused(tmp_path, RIGHT.replace('steps = [{ deploy = "two" }]', step) + "[database]")
    assert "there is no migration '0002' in " in message


NAMES = st.sampled_from(["a", "b-2", "_c", '"quoted . key"', "'literal [key]'"])
SCALARS = st.sampled_from(
    ["1", "true", '"x # ] }"', "'x, y'", '"""two\n[lines]\n"""', "'''a = 1\n\n'''", "1979-05-27"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: "[" + ",\n".join(parts) + "]"),
        st.dictionaries(NAMES, inner, max_size=3).map(
            lambda parts: "{" + ", ".join(f"{k} = {v}" for k, v in parts.items()) + "}"
        ),
    ),
    max_leaves=8,
)


@given(tables=st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=4))
def test_every_key_of_a_document_is_located(tables: dict[str, dict[str, str]]) -> None:
    """The scanner finds exactly the keys that `tomllib` finds, each on a line that has its name."""
    lines = []
    for number, (table, pairs) in enumerate(tables.items()):
        lines.append(f"[[{table}]]  # {number}" if number % 2 else f"[{table}]")
        lines += [f"{key} = {value}" for key, value in pairs.items()]
    text = "\n".join(lines)
    document = tomllib.loads(text)
    found = file_locations("file", text).found
    assert set(found) == set(paths(document, ()))
    for keys, location in found.items():
        if not keys[-1].isdecimal():
            assert location.line is not None
            assert keys[-1] in text.split("\n")[location.line - 1]


def paths(value: object, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The paths to all keys and elements below a value."""
    parts = (
        value.items()
        if isinstance(value, dict)
        else ((str(index), part) for index, part in enumerate(value))
        if isinstance(value, list)
        else ()
    )
    for key, part in parts:
        yield (*above, key)
        yield from paths(part, (*above, key))
