"""The published formats are what the program writes."""

import json

import jsonschema

from scenarios.schemas import verdict_schema
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
