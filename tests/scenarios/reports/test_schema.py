"""The published formats are what the program writes."""

import json

import jsonschema
import pytest

from scenarios.cli.main import status
from scenarios.cli.schema import SCHEMAS
from scenarios.reports.verdict_schema import verdict_schema
from scenarios.verdict import Verdict, encode


def test_verdicts_fit_their_schema(failed: Verdict, passed: Verdict, invalid: Verdict) -> None:
    """What `verdict.json` holds fits its JSON Schema, and every field of it is described."""
    schema = json.loads(verdict_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    for verdict in (failed, passed, invalid):
        jsonschema.validate(json.loads(encode(verdict)), schema)
    top = schema["$defs"]["Verdict"]["properties"]
    assert top["origin_ns"]["description"].startswith("the instant 0.0")
    assert (
        schema["$defs"]["Cause"]["description"]
        == "Why some requests failed, or why some took too long."
    )


@pytest.mark.parametrize("of", SCHEMAS)
def test_every_schema_is_one(of: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`hitless schema` prints a valid JSON Schema of each published format, all of it described."""
    assert status(["schema", of]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert all(definition["description"] for definition in schema["$defs"].values())


def test_the_list_fits_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """What `hitless list --json` prints fits what `hitless schema list` says."""
    assert status(["schema", "list"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert status(["list", "--json"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), schema)
