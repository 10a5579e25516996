"""The published schema of scenario files agrees with what the program reads."""

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from scenarios.cli.main import status
from scenarios.scenario.file_schema import scenario_schema
from scenarios.scenario.reader import CATALOG

FILES = sorted(
    [*CATALOG.glob("*.toml"), *(Path(__file__).parents[3] / "examples").glob("*/*.toml")]
)


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads(scenario_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_scenario_fits_the_schema(path: Path, validator: Any) -> None:
    """Built-in scenarios and examples fit, those that extend others and those that do not."""
    validator.validate(tomllib.loads(path.read_text()))


@pytest.mark.parametrize(
    "text",
    [
        'name = "x"',
        'extends = "big-bang"\n[policy]\nreplica = 3',
        'extends = "big-bang"\n[traffic]\nrate = -1',
        'extends = "big-bang"\n[release]\nsteps = []',
        'extends = "big-bang"\n[application]\nhealth_path = "up"',
    ],
)
def test_a_mistake_does_not_fit(text: str, validator: Any) -> None:
    """What the program would refuse, an editor marks."""
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(tomllib.loads(text))


def test_every_key_is_described(validator: Any) -> None:
    """An editor can show what each key means."""
    for name, definition in validator.schema["$defs"].items():
        for key, field in definition.get("properties", {}).items():
            assert field.get("description"), f"{name}.{key}"


def test_the_command_prints_it(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """`hitless schema` prints the schema, and of nothing else that has none."""
    assert status(["schema"]) == 0
    assert capfdbinary.readouterr().out == scenario_schema()
    assert status(["schema", "verdict"]) == 0
    assert b"verdict.json" in capfdbinary.readouterr().out
    assert status(["schema", "verdit"]) == 2
    assert b"did you mean 'verdict'?" in capfdbinary.readouterr().err
